"""Exports a trained run as one TFLite file: network and decoding in built-in operations, for one image at a time.

There are four precisions. `fp32` is the network as trained. `fp16` stores the weights in half the size and computes in float32. `dynamic`
stores the weights as int8 and rounds the inputs of each convolution while it runs. `int8` computes convolutions in int8, see `tflite_int8`.

Reference: TensorFlow Lite's converter.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from ttfnet_tf.errors import UserError
from ttfnet_tf.export import model_card
from ttfnet_tf.export.forms import PRECISIONS
from ttfnet_tf.export.signatures import detection_function
from ttfnet_tf.export.task_metadata import LABELS_BY_ID, labels_by_id, with_task_metadata
from ttfnet_tf.export.tflite_int8 import Images, calibration_images, convert_int8
from ttfnet_tf.files import write_bytes
from ttfnet_tf.inference.tflite_metadata import with_files
from ttfnet_tf.models.normalization import MEAN, STD
from ttfnet_tf.runs.checkpoint import LoadedRun


def export_tflite(run: LoadedRun, folder: Path, *, precision: str = "fp32", representative: Images | None = None) -> Path:
    """Writes `model_<precision>.tflite`.

    Its signature `serving_default` takes `image`, uint8 [1, H, W, 3] RGB in every precision: the image resized as `data.resize` says.
    It returns, all float32 and with K = `decode.top_k`:
        detection_boxes [1, K, 4]: ymin, xmin, ymax, xmax as fractions of the input's height and width;
        detection_scores [1, K]: descending;
        detection_classes [1, K]: category ids of the training annotations;
        num_detections [1]: the number of detections, those with scores above `decode.score_threshold`; the other rows are 0.
    The file contains its labels and model card, see `tflite_metadata`, and TFLite's metadata table, see `task_metadata`.

    Args:
        run: from `checkpoint.load_run`.
        folder: for the file; created if missing.
        precision: of `forms.PRECISIONS["tflite"]`.
        representative: for int8: uint8 [1, H, W, 3] images of the training set, or a function that returns them; by default
            `representative_images` with the seed of the run.

    Returns:
        The path of the file.

    Raises:
        UserError: the precision is unknown, int8 finds no training images, TFLite lacks operations of the network, or the file cannot be
            written.
    """
    if precision not in PRECISIONS["tflite"]:
        raise UserError(f"precision {precision!r} of a TFLite file is unknown; choose {', '.join(PRECISIONS['tflite'])}")
    images = calibration_images(run, representative) if precision == "int8" else []
    with tempfile.TemporaryDirectory() as saved, _quiet():
        _save(run, saved)
        try:
            content = convert_int8(saved, run, images) if precision == "int8" else _convert(saved, precision)
        except Exception as error:  # the class of the converter's errors is not public
            if type(error).__name__ != "ConverterError":
                raise
            raise UserError(
                f"{run.folder}: model.backbone={run.config.model.backbone} with model.method={run.config.model.method} needs operations "
                f"that TFLite does not have ({_first_line(error)}); export it as saved_model"
            ) from None
    card = _card(run, precision, len(images))
    texts = model_card.texts(card)
    if labels := labels_by_id(card):
        texts[LABELS_BY_ID] = labels
    path = Path(folder) / f"model_{precision}.tflite"
    write_bytes(path, with_files(with_task_metadata(content, card), texts))
    return path


def _save(run: LoadedRun, folder: str) -> None:
    """Saves the frozen graph for the converter; saving the Keras model would trace each of its layers."""
    module = tf.Module()
    module.serve = _frozen(detection_function(run, batch=1, name="image").get_concrete_function())
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve}, options=options)


def _frozen(concrete):
    """The function with its weights as constants."""
    frozen = convert_variables_to_constants_v2(concrete)
    graph = frozen.graph.as_graph_def()
    names = sorted(concrete.structured_outputs)  # the order in which TensorFlow flattens a dictionary
    (image,), outputs = frozen.inputs, [output.name for output in frozen.outputs]

    @tf.function(input_signature=[tf.TensorSpec(image.shape, image.dtype, name="image")], autograph=False)
    def serve(image):
        return dict(zip(names, tf.graph_util.import_graph_def(graph, {frozen.inputs[0].name: image}, outputs, name="")))

    return serve.get_concrete_function()


def _convert(saved: str, precision: str) -> bytes:
    """The model in fp32, fp16 or dynamic precision."""
    converter = tf.lite.TFLiteConverter.from_saved_model(saved)
    if precision != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    return converter.convert()


def _card(run: LoadedRun, precision: str, num_images: int) -> dict:
    height, width = run.config.data.image_size
    resizing = model_card.resizing({"image_size": (height, width), "resize": run.config.data.resize})
    about = f"image: uint8 [1, {height}, {width}, 3], RGB, 0..255, {resizing}; normalised inside"
    card = model_card.model_card(run, name="model", kind="tflite", inputs={"serving_default": about}, precision=precision)
    card["normalization"] = {"mean": list(MEAN), "std": list(STD), "inside": True}
    if precision == "int8":
        card["representative_images"] = num_images
    return card


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides what the converter's C++ code prints to standard error."""
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
