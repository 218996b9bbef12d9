"""The network and its decoding in one compiled call, and boxes from input pixels to pixels of the image.

Evaluation and the Python API share both, so that what is measured is what is used.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from ttfnet_tf.boxes import fitted_size
from ttfnet_tf.keras2 import keras


def predict_function(
    model: keras.Model, decode: Callable, *, image_size: tuple[int, int], batch_size: int, weights: str = "variables"
) -> Callable:
    """Compiles a model and its decoding into one graph of fixed shapes.

    Args:
        model: from uint8 or float32 [B, H, W, 3] RGB 0..255 to the maps that `decode` takes, see `build_model`.
        decode: `methods.Method.decode`.
        image_size: (H, W) of the model's input in pixels.
        batch_size: B; it is fixed, because the short last batch of a data set would be traced again.
        weights: "variables" are read at each call, so that one function serves a whole training run; "constants" keep the
            values of the first call, which saves a CPU an eighth of its time: kernels are brought into its memory layout only once.

    Returns:
        Function of uint8 [B, H, W, 3] -> {"boxes": float32 [B, K, 4] xyxy input pixels, "scores": float32 [B, K] descending,
        "classes": int32 [B, K] 0-based}.

    Raises:
        ValueError: unknown `weights`.
    """
    if weights not in ("variables", "constants"):
        raise ValueError(f"weights must be variables or constants, received {weights!r}")
    height, width = image_size

    @tf.function(input_signature=[tf.TensorSpec([batch_size, height, width, 3], tf.uint8)], autograph=False)
    def predict(images):
        return decode(model(images, training=False))

    return predict if weights == "variables" else _with_constants(predict)


def _with_constants(predict) -> Callable:
    """The function with its variables as constants, compiled at its first call: what is wrong with the images is seen before."""

    @functools.cache
    def compiled():
        function = predict.get_concrete_function()
        return convert_variables_to_constants_v2(function), function.structured_outputs

    def call(images):
        frozen, structure = compiled()
        return tf.nest.pack_sequence_as(structure, frozen(tf.convert_to_tensor(images)))

    return call


def in_original(
    found: dict[str, np.ndarray], *, image_size: tuple[int, int], original_size: tuple[int, int], keep_ratio: bool = False
) -> dict[str, np.ndarray]:
    """The detections of one image with "boxes" in pixels of the original image.

    With `keep_ratio`, detections that begin beside the image, in its padding, are dropped, and the others are clipped to it; the graph of
    a SavedModel does the same, see `export.signatures.inside`.

    Args:
        found: "boxes" [N, 4] xyxy in input pixels, and other arrays [N].
        image_size: (H, W) of the model's input.
        original_size: (H, W) of the image.
        keep_ratio: whether the image was resized with its ratio, see `boxes.fitted_size`.
    """
    fitted = fitted_size(original_size, image_size, keep_ratio)
    boxes = np.asarray(found["boxes"], np.float32)
    if fitted != tuple(image_size):
        last = np.array([fitted[1] - 1, fitted[0] - 1] * 2, np.float32)
        kept = (boxes[:, :2] <= last[:2]).all(axis=1)
        found = {name: np.asarray(value)[kept] for name, value in found.items()}
        boxes = np.minimum(boxes[kept], last)
    return {**found, "boxes": to_original(boxes, image_size=fitted, original_size=original_size)}


def to_original(boxes: np.ndarray, *, image_size: tuple[int, int], original_size: tuple[int, int]) -> np.ndarray:
    """[N, 4] xyxy in input pixels -> xyxy in pixels of the original image.

    Corners are divided by the ratio of the sizes, one ratio per axis, in float32 and without another clip.

    Args:
        image_size: (H, W) of the model's input.
        original_size: (H, W) of the image.

    Reference:
        mmdetection 1.0 `ttf_head.get_bboxes`: `det_bboxes / scale_factor`, a float32 array of (w, h, w, h) ratios.
    """
    scale_x, scale_y = image_size[1] / original_size[1], image_size[0] / original_size[0]
    return np.asarray(boxes, np.float32) / np.array([scale_x, scale_y, scale_x, scale_y], np.float32)
