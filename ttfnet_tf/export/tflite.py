"""From a trained run to one TFLite file: network and decoding in built-in operations, for images one at a time.

Four precisions. `fp32` keeps everything. `fp16` stores weights in half the size and computes in float32. `dynamic` stores weights as int8
and rounds the inputs of each convolution as it runs. `int8` computes convolutions on int8, with scales from images of the training set.

What int8 leaves in float32, because eight bits cost too much there:
- the normalisation, so that pixels are rounded once and not three times;
- offsets, masks and the sampling of the deformable convolutions: an offset that is rounded samples elsewhere, and one byte for base plus
  offset would be a quarter of a pixel on a large map. The product with the kernel before the sampling is int8;
- the last 1x1 convolution of each head and all of the decoding: a heatmap of 256 levels is full of plateaus, each of whose cells is a peak.

Reference: TensorFlow Lite's converter and its quantisation debugger (`tf.lite.experimental.QuantizationDebugger`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Union

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from ttfnet_tf import build
from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.data.transforms import resize
from ttfnet_tf.errors import UserError
from ttfnet_tf.export import model_card
from ttfnet_tf.export.forms import PRECISIONS
from ttfnet_tf.export.task_metadata import LABELS_BY_ID, labels_by_id, with_task_metadata
from ttfnet_tf.export.tflite_graph import without_needless_rounding
from ttfnet_tf.files import cannot_write
from ttfnet_tf.inference.tflite_metadata import with_files
from ttfnet_tf.layers.deform_conv import DeformableConv2D
from ttfnet_tf.methods.catalog import METHODS, MethodInfo
from ttfnet_tf.models.normalization import MEAN, STD
from ttfnet_tf.runs.checkpoint import LoadedRun

REPRESENTATIVE_COUNT = 100  # images; more move the scales little and take their time
Images = Union[Iterable[np.ndarray], Callable[[], Iterable[np.ndarray]]]
# Operations with several outputs have no name that the quantiser compares, so they are kept out of int8 by kind.
_NEVER_INT8 = ["TOPK_V2", "UNPACK", "SPLIT"]


def export_tflite(run: LoadedRun, folder: Path, *, precision: str = "fp32", representative: Images | None = None) -> Path:
    """Writes `model_<precision>.tflite`.

    Its signature `serving_default` takes `image`, uint8 [1, H, W, 3] RGB in every precision, the image resized to (H, W) without keeping
    its ratio, and gives, all float32, with K = `decode.top_k`:
        detection_boxes [1, K, 4]: ymin, xmin, ymax, xmax as fractions of the height and width of the image;
        detection_scores [1, K]: falling;
        detection_classes [1, K]: category ids of the training annotations;
        num_detections [1]: how many rows are detections, with scores above `decode.score_threshold`; the other rows are 0.
    The file carries its labels and model card, see `tflite_metadata`, and TFLite's metadata table, see `task_metadata`.

    Args:
        run: from `checkpoint.load_run`.
        folder: where the file goes; made if missing.
        precision: one of `PRECISIONS`.
        representative: for int8: uint8 [1, H, W, 3] images of the training set, or a function that gives them; default
            `representative_images` with the seed of the run.

    Returns:
        The path of the file.

    Raises:
        UserError: unknown precision, no training images for int8, a network that TFLite has no operations for, or a folder that cannot
            be written to.
    """
    if precision not in PRECISIONS:
        raise UserError(f"precision {precision!r} is none of TFLite's: choose {', '.join(PRECISIONS)}")
    images = _calibration(run, representative) if precision == "int8" else []
    with tempfile.TemporaryDirectory() as saved, _quiet():
        _save(run, saved)
        try:
            content = _convert(saved, precision, images, _float_scopes(run.model, METHODS[run.config.model.method]))
        except Exception as error:  # the converter's own class is not public
            if type(error).__name__ != "ConverterError":
                raise
            raise UserError(
                f"{run.folder}: model.backbone={run.config.model.backbone} with model.method={run.config.model.method} needs operations "
                f"that TFLite does not have ({_first_line(error)}); export it as saved_model"
            ) from None
    about = _card(run, precision, len(images))
    texts = model_card.texts(about)
    if labels := labels_by_id(about):
        texts[LABELS_BY_ID] = labels
    path = Path(folder) / f"model_{precision}.tflite"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(with_files(with_task_metadata(content, about), texts))
    except OSError as error:
        raise cannot_write(path, error) from None
    return path


def representative_images(config, *, count: int = REPRESENTATIVE_COUNT, seed: int = 0) -> Iterator[np.ndarray]:
    """Images of the training set for int8, drawn without repetition, resized as in evaluation and not augmented.

    Args:
        config: settings of the run.
        count: how many, or all where the set has fewer.
        seed: which; the same seed gives the same images in the same order.

    Yields:
        uint8 [1, H, W, 3].

    Raises:
        UserError: the training annotations or an image are missing, at the first image.
    """
    split = build.load_split(config, "train")
    chosen = np.random.default_rng(seed).permutation(len(split.images))[:count]
    for index in chosen:
        image, _ = resize(read_rgb(split.images[index].path), np.zeros([0, 4], np.float32), config.data.size)
        yield image[None]


def _calibration(run: LoadedRun, representative: Images | None) -> list[np.ndarray]:
    """The images as a list: they are gone through more than once, and a missing one shows before the work."""
    if representative is None:
        try:
            return list(representative_images(run.config, seed=run.config.train.seed))
        except UserError as error:
            raise UserError(f"precision int8 takes its scales from training images: {error}; or choose dynamic") from None
    images = list(representative() if callable(representative) else representative)
    expected = (1, *run.config.data.image_size, 3)
    if not images:
        raise ValueError("representative gave no image")
    for image in images:
        if image.dtype != np.uint8 or image.shape != expected:
            raise ValueError(f"representative images must be uint8 {expected}, received {image.dtype} {image.shape}")
    return images


def _save(run: LoadedRun, folder: str) -> None:
    """A SavedModel of the frozen graph, for the converter only; saving the Keras model would trace each of its layers."""
    module = tf.Module()
    module.serve = _frozen(_serve(run))
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve}, options=options)


def _serve(run: LoadedRun):
    """The signature, traced. Names of operations begin with "network/" or "decode/"."""
    height, width = run.config.data.image_size
    decode = build.method_of(run.config, len(run.labels.class_names)).decode
    category_ids = np.array(run.labels.category_ids, np.int32)  # as float32 they would be rounded to float16
    size, threshold = np.array([height, width, height, width], np.float32), run.config.decode.score_threshold

    @tf.function(input_signature=[tf.TensorSpec([1, height, width, 3], tf.uint8, name="image")])
    def serve(image):
        with tf.name_scope("network"), _gather_form(run.model):
            maps = run.model(image, training=False)
        with tf.name_scope("decode"):
            found = decode(maps)
            keep = found["scores"] > threshold  # the first rows, for scores fall
            return {
                "detection_boxes": tf.where(keep[..., None], tf.gather(found["boxes"], [1, 0, 3, 2], axis=-1) / size, 0.0),
                "detection_scores": tf.where(keep, found["scores"], 0.0),
                "detection_classes": tf.where(keep, tf.cast(tf.gather(category_ids, found["classes"]), tf.float32), 0.0),
                "num_detections": tf.reduce_sum(tf.cast(keep, tf.float32), axis=-1),
            }

    return serve.get_concrete_function()


@contextlib.contextmanager
def _gather_form(model: tf.keras.Model) -> Iterator[None]:
    """Traces the deformable convolutions in their other form: TFLite has no crop_and_resize."""
    layers = [module for module in model.submodules if isinstance(module, DeformableConv2D)]
    before = [layer.sampler for layer in layers]
    try:
        for layer in layers:
            layer.sampler = "gather"
        yield
    finally:
        for layer, sampler in zip(layers, before):
            layer.sampler = sampler


def _frozen(concrete):
    """The function with its weights as constants."""
    frozen = convert_variables_to_constants_v2(concrete)
    graph = frozen.graph.as_graph_def()
    names = sorted(concrete.structured_outputs)  # the order in which TensorFlow flattens a dictionary
    (image,), outputs = frozen.inputs, [output.name for output in frozen.outputs]

    @tf.function(input_signature=[tf.TensorSpec(image.shape, image.dtype, name="image")])
    def serve(image):
        return dict(zip(names, tf.graph_util.import_graph_def(graph, {frozen.inputs[0].name: image}, outputs, name="")))

    return serve.get_concrete_function()


def _float_scopes(model: tf.keras.Model, method: MethodInfo) -> Callable[[str], bool]:
    """Whether a tensor of this name stays float32 under int8."""
    sampling = tuple(f"/{module.name}/" for module in model.submodules if isinstance(module, DeformableConv2D))
    scales = tuple(f"/{name}/" for name in ("normalization", *method.float_layers))
    head_end = re.compile(f"{method.last_layers()}/")  # "bbox_head.hm.2/", not "bbox_head.hm.0.conv/"

    def stays_float(name: str) -> bool:
        if not name.startswith("network/") or any(scale in name for scale in scales) or head_end.search(name):
            return True
        return any(scope in name for scope in sampling) and "/project/" not in name

    return stays_float


def _convert(saved: str, precision: str, images: list[np.ndarray], stays_float: Callable[[str], bool]) -> bytes:
    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    if precision == "fp32":
        return converter.convert()
    if precision == "int8":
        # The quantiser knows operations by the names of their outputs, which are those of the float model.
        names = [tensor["name"] for tensor in tf.lite.Interpreter(model_content=converter.convert()).get_tensor_details()]
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        converter.representative_dataset = lambda: ([image] for image in images)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if precision != "int8":
        return converter.convert()
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_ops=_NEVER_INT8, denylisted_nodes=[name for name in names if stays_float(name)]
    )
    debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_options=options)
    return without_needless_rounding(debugger.get_nondebug_quantized_model())


def _card(run: LoadedRun, precision: str, num_images: int) -> dict:
    height, width = run.config.data.image_size
    about = f"image: uint8 [1, {height}, {width}, 3], RGB, 0..255, resized to this size; normalised inside"
    found = model_card.model_card(run, name="model", kind="tflite", inputs={"serving_default": about}, precision=precision)
    found["normalization"] = {"mean": list(MEAN), "std": list(STD), "inside": True}
    if precision == "int8":
        found["representative_images"] = num_images
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the converter's tables, which C++ prints past Python, off the terminal; shows them where it fails."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as notes:
        os.dup2(notes.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


def _first_line(error: Exception) -> str:
    return functools.reduce(
        lambda text, pattern: re.sub(pattern, "", text), (r"\x1b\[[0-9;]*m", r"<unknown>:0: "), str(error)
    ).splitlines()[0][:200]
