"""The signatures of the served model: the graphs from a request to detections."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.data.opencv_resize import fit, resize
from ttfnet_tf.errors import UserError
from ttfnet_tf.export import image_decoder
from ttfnet_tf.keras2 import keras
from ttfnet_tf.layers.deform_conv import DeformableConv2D
from ttfnet_tf.runs.checkpoint import LoadedRun

_LARGEST_ID = 2**24  # category ids leave the graph as float32, which is exact for integers up to here


def serving_functions(
    model: keras.Model,
    decode: Callable,
    *,
    category_ids: Sequence[int],
    image_size: tuple[int, int],
    score_threshold: float,
    max_pixels: int,
    keep_ratio: bool = False,
) -> dict[str, Callable]:
    """Builds the function of each signature.

    Args:
        model: see `detector.build_model`.
        decode: see `methods.Method.decode`.
        category_ids: of the channels of the heatmap.
        image_size: (H, W) of the model's input in pixels.
        score_threshold: detections with higher scores are returned.
        max_pixels: larger image files are refused.
        keep_ratio: whether images are resized with their ratio, see `boxes.fitted_size`. Then boxes of `preprocessed` are fractions of its
            whole input, padding included.

    Returns:
        serving_default: uint8 [N, any, any, 3] "input_tensor".
        image_bytes: string [N] "image_bytes", JPEG and PNG files of any size.
        preprocessed: float32 [N, H, W, 3] "images", RGB 0..255.
        All return the outputs that `model_card.OUTPUTS` describes. As everywhere in this package, a box ends with the last pixel that
        it covers; multiplied by the image's width and height, boxes are the pixels that `Detector` returns.
    """
    height, width = image_size

    @tf.function(input_signature=[tf.TensorSpec([None, height, width, 3], tf.float32, name="images")], autograph=False)
    def detect(images):
        return decode(model(images, training=False))

    def outputs(found, fitted=None):
        ids = np.array(category_ids, np.float32)
        return detection_outputs(found, category_ids=ids, image_size=image_size, threshold=score_threshold, fitted=fitted)

    @tf.function(input_signature=[tf.TensorSpec([None, height, width, 3], tf.float32, name="images")], autograph=False)
    def preprocessed(images):
        return outputs(detect(images))

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="input_tensor")], autograph=False)
    def serving_default(input_tensor):
        shape = tf.shape(input_tensor)
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(shape[1:3] > 0), ["input_tensor is an empty image", shape])]):
            images, fitted = tf.identity(input_tensor), None
        if keep_ratio:
            images, fitted = fit(images, image_size)
        else:
            images = resize(images, image_size)
        return outputs(detect(tf.cast(images, tf.float32)), fitted)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")], autograph=False)
    def image_bytes(image_bytes):
        images, fitted = image_decoder.decode_and_resize(image_bytes, image_size, max_pixels=max_pixels, keep_ratio=keep_ratio)
        return outputs(detect(tf.cast(images, tf.float32)), fitted[:, None] if keep_ratio else None)

    return {"serving_default": serving_default, "image_bytes": image_bytes, "preprocessed": preprocessed}


def check_category_ids(run: LoadedRun) -> None:
    """Raises UserError if an id of a run would leave a graph as another number."""
    if (largest := max(run.labels.category_ids)) > _LARGEST_ID:
        raise UserError(f"{run.folder}: category id {largest} is above {_LARGEST_ID}, the largest that an exported model can return")


def inside(found: dict[str, tf.Tensor], fitted: tf.Tensor) -> dict[str, tf.Tensor]:
    """`inference.predictor.in_original` in a graph: detections on the image, clipped to it; those beside it come last, with score 0.

    Args:
        found: of `Method.decode`.
        fitted: int32 [N, 1, 2] or [2] height and width of the images in the input.
    """
    last = tf.cast(fitted, tf.float32)[..., ::-1] - 1.0
    is_inside = tf.reduce_all(found["boxes"][..., :2] <= last, axis=-1)
    scores, order = tf.math.top_k(tf.where(is_inside, found["scores"], 0.0), tf.shape(is_inside)[1])  # equal scores keep their order
    boxes, classes = (tf.gather(found[name], order, batch_dims=1) for name in ("boxes", "classes"))
    return {"boxes": tf.minimum(boxes, tf.concat([last, last], -1)), "scores": scores, "classes": classes}


def detection_outputs(
    found, *, category_ids: np.ndarray, image_size: tuple[int, int], threshold: float, fitted: tf.Tensor | None = None
) -> dict[str, tf.Tensor]:
    """Decoded detections as the four outputs of an exported model, see `model_card.OUTPUTS`; rows without a detection are 0.

    Args:
        found: of `Method.decode`: "boxes" [N, K, 4] xyxy in input pixels, "scores" [N, K] descending, "classes" [N, K].
        category_ids: [C] of the channels of the heatmap; int32 or float32.
        image_size: (H, W) of the model's input in pixels.
        threshold: detections with higher scores are returned.
        fitted: see `inside`; None: images fill the input.
    """
    height, width = image_size
    sides = np.array([height, width, height, width], np.float32)
    if fitted is not None:
        found, sides = inside(found, fitted), tf.cast(tf.concat([fitted, fitted], -1), tf.float32)
    keep = found["scores"] > threshold  # the first rows, because scores descend
    return {
        "detection_boxes": tf.where(keep[..., None], tf.gather(found["boxes"], [1, 0, 3, 2], axis=-1) / sides, 0.0),
        "detection_scores": tf.where(keep, found["scores"], 0.0),
        "detection_classes": tf.where(keep, tf.cast(tf.gather(category_ids, found["classes"]), tf.float32), 0.0),
        "num_detections": tf.reduce_sum(tf.cast(keep, tf.float32), axis=-1),
    }


def detection_function(run: LoadedRun, *, batch: int | None, name: str) -> Any:
    """The one function of a .tflite or .onnx file: uint8 [batch, H, W, 3] RGB of the network's size to `model_card.OUTPUTS`.

    It is a `tf.function` that is not yet traced. Names of its operations start with "network/" or "decode/".

    Args:
        run: from `checkpoint.load_run`.
        batch: images of a call; None is any number.
        name: of the input.
    """
    height, width = run.config.data.image_size
    decode = build.method_of(run.config, len(run.labels.class_names)).decode
    category_ids = np.array(run.labels.category_ids, np.int32)  # as float32 they would be rounded to float16

    @tf.function(input_signature=[tf.TensorSpec([batch, height, width, 3], tf.uint8, name=name)], autograph=False)
    def serve(images):
        with tf.name_scope("network"), _gather_sampling(run.model):
            maps = run.model(images, training=False)
        with tf.name_scope("decode"):
            threshold = run.config.decode.score_threshold
            return detection_outputs(decode(maps), category_ids=category_ids, image_size=(height, width), threshold=threshold)

    return serve


@contextlib.contextmanager
def _gather_sampling(model: keras.Model) -> Iterator[None]:
    """Traces deformable convolutions with gathers: TFLite has no crop_and_resize, and ONNX none with dynamic boxes."""
    layers = [module for module in model.submodules if isinstance(module, DeformableConv2D)]
    before = [layer.sampler for layer in layers]
    try:
        for layer in layers:
            layer.sampler = "gather"
        yield
    finally:
        for layer, sampler in zip(layers, before):
            layer.sampler = sampler
