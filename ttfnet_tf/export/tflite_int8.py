"""int8 quantisation of TFLite models: which parts are quantised, and the images that their scales come from.

Three parts stay float32, because eight bits cost too much accuracy there:
- the normalisation, so that pixels are rounded once and not three times;
- offsets, masks and sampling of the deformable convolutions: a rounded offset samples elsewhere, and one byte for position plus offset
  would be a quarter of a pixel on a large map. The product with the kernel before the sampling is int8;
- the last 1x1 convolution of each head, and the decoding: a heatmap with 256 levels is full of plateaus, and every cell of a plateau is a
  peak.

Reference: TensorFlow Lite's quantisation debugger (`tf.lite.experimental.QuantizationDebugger`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Union

import numpy as np
import tensorflow as tf
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from ttfnet_tf import build
from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.data.transforms import resize
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.tflite_predictor import interpreter_class, without_interpreter_warning
from ttfnet_tf.layers.deform_conv import DeformableConv2D
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.runs.checkpoint import LoadedRun

REPRESENTATIVE_COUNT = 100  # images; more change the scales little and take longer
Images = Union[Iterable[np.ndarray], Callable[[], Iterable[np.ndarray]]]
# The quantiser identifies an operation by its output, which fails for operations with several: these are excluded by type.
_NEVER_INT8 = ["TOPK_V2", "UNPACK", "SPLIT"]


def representative_images(config, *, count: int = REPRESENTATIVE_COUNT, seed: int = 0) -> Iterator[np.ndarray]:
    """Draws images of the training set without repetition, resized as in evaluation and not augmented.

    Args:
        config: settings of the run.
        count: how many; all if the set has fewer.
        seed: the same seed gives the same images in the same order.

    Yields:
        uint8 [1, H, W, 3].

    Raises:
        UserError: the training annotations or an image are missing; raised at the first image.
    """
    split = build.load_split(config, "train")
    chosen = np.random.default_rng(seed).permutation(len(split.images))[:count]
    for index in chosen:
        pixels = split.images.part(index, read_rgb(split.images[index].path))
        image, _ = resize(pixels, np.zeros([0, 4], np.float32), config.data.size, keep_ratio=config.data.keep_ratio)
        yield image[None]


def calibration_images(run: LoadedRun, representative: Images | None) -> list[np.ndarray]:
    """The images for the scales, checked, as a list: the converter reads them several times, and a missing one must be reported first.

    Args:
        run: what is exported.
        representative: uint8 [1, H, W, 3] images, or a function that returns them; None draws them from the training set.
    """
    if representative is None:
        try:
            return list(representative_images(run.config, seed=run.config.train.seed))
        except UserError as error:
            raise UserError(f"precision int8 needs training images for its scales: {error}; or choose dynamic") from None
    images = list(representative() if callable(representative) else representative)
    expected = (1, *run.config.data.image_size, 3)
    if not images:
        raise ValueError("representative must give at least one image, received none")
    for image in images:
        if image.dtype != np.uint8 or image.shape != expected:
            raise ValueError(f"representative images must be uint8 {expected}, received {image.dtype} {image.shape}")
    return images


def convert_int8(saved_model: str, run: LoadedRun, images: list[np.ndarray]) -> bytes:
    """Converts to an int8 model.

    Args:
        saved_model: folder of the frozen graph, with operations named "network/..." and "decode/...".
        run: what the graph was made from.
        images: from `calibration_images`.
    """
    # The quantiser identifies operations by the names of their outputs in the float model.
    float_model = tf.lite.TFLiteConverter.from_saved_model(saved_model).convert()
    names = [tensor["name"] for tensor in interpreter_class("tensorflow")(model_content=float_model).get_tensor_details()]
    keeps = stays_float(run)
    options = tf.lite.experimental.QuantizationDebugOptions(
        denylisted_ops=_NEVER_INT8, denylisted_nodes=[name for name in names if keeps(name)]
    )
    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model)
    converter.representative_dataset = lambda: ([image] for image in images)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    with without_interpreter_warning():
        debugger = tf.lite.experimental.QuantizationDebugger(converter=converter, debug_options=options)
    return _without_needless_rounding(debugger.get_nondebug_quantized_model())


def stays_float(run: LoadedRun) -> Callable[[str], bool]:
    """A function that returns whether the tensor of a name stays float32."""
    method = METHODS[run.config.model.method]
    sampling = tuple(f"/{module.name}/" for module in run.model.submodules if isinstance(module, DeformableConv2D))
    scales = tuple(f"/{name}/" for name in ("normalization", *method.float_layers))
    head_end = re.compile(f"{method.last_layers()}/")  # "bbox_head.hm.2/", not "bbox_head.hm.0.conv/"

    def stays(name: str) -> bool:
        if not name.startswith("network/") or any(scale in name for scale in scales) or head_end.search(name):
            return True
        return any(scope in name for scope in sampling) and "/project/" not in name

    return stays


def _without_needless_rounding(content: bytes) -> bytes:
    """The model without values that are rounded to int8 only to become float32 again; the converter has no option for it.

    The quantiser rounds the results of operations whose scale TFLite fixes, such as sigmoid, even where everything around them is float32:
    scores would come in steps of 1/256, and equal scores would lose their order.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for number, graph in enumerate(model.subgraphs):
        names = [flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) for operator in graph.operators]
        source = {
            int(operator.outputs[0]): int(operator.inputs[0])
            for name, operator in zip(names, graph.operators)
            if name == "QUANTIZE" and graph.tensors[operator.inputs[0]].type == schema.TensorType.FLOAT32
        }
        replaced, kept = {}, []
        for name, operator in zip(names, graph.operators):
            if name == "DEQUANTIZE" and int(operator.inputs[0]) in source:
                replaced[int(operator.outputs[0])] = source[int(operator.inputs[0])]
            else:
                kept.append(operator)
        for operator in kept:
            operator.inputs = _renumbered(operator.inputs, replaced)
        graph.outputs = _renumbered(graph.outputs, replaced)
        for signature in model.signatureDefs:
            if signature.subgraphIndex == number:
                for entry in signature.outputs:
                    entry.tensorIndex = replaced.get(entry.tensorIndex, entry.tensorIndex)
        used = {int(index) for operator in kept for index in operator.inputs} | {int(index) for index in graph.outputs}
        graph.operators = [operator for operator in kept if int(operator.outputs[0]) in used or int(operator.outputs[0]) not in source]
    return flatbuffer_utils.convert_object_to_bytearray(model)


def _renumbered(indices, replaced):
    return np.array([replaced.get(int(index), int(index)) for index in indices], np.int32)
