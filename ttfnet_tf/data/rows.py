"""Rows of batches in TensorFlow operations: the boxes of an image resized, mirrored and padded, beside its pixels.

The same rows, bit for bit, as `data.samples` makes in NumPy.
"""

from __future__ import annotations

import tensorflow as tf

from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.opencv_resize import fitted_size


class Rows:
    """Makes rows of a split; the dictionaries of `samples.example_signature`.

    Args:
        split: whose boxes to use.
        image_size: (H, W) of the rows' images in pixels.
        keep_ratio: whether images keep their ratio, see `boxes.fitted_size`.
    """

    def __init__(self, split: CocoSplit, image_size: tuple[int, int], keep_ratio: bool = False):
        images = split.images
        self._size, self._keep_ratio, self._max_boxes = image_size, keep_ratio, split.max_boxes
        self._ids, self._offsets = tf.constant(images.ids, tf.int64), tf.constant(images.offsets, tf.int64)
        self._boxes, self._labels = tf.constant(images.boxes), tf.constant(images.labels)

    def of_image(self, index: tf.Tensor, image: tf.Tensor, original_size: tf.Tensor, is_flipped: tf.Tensor) -> dict[str, tf.Tensor]:
        """The row of an image.

        Args:
            index: int64 [] of the image in the split.
            image: uint8 [H, W, 3], resized, and mirrored if `is_flipped`.
            original_size: int32 [2] height and width before.
            is_flipped: bool [].
        """
        start, end = self._offsets[index], self._offsets[index + 1]
        boxes, labels = self._resized(self._boxes[start:end], original_size), self._labels[start:end]
        last = tf.constant(self._size[1] - 1, tf.float32)
        boxes = tf.where(is_flipped, tf.stack([last - boxes[:, 2], boxes[:, 1], last - boxes[:, 0], boxes[:, 3]], axis=1), boxes)
        spare = self._max_boxes - tf.shape(labels)[0]
        return {
            "image": tf.ensure_shape(image, [*self._size, 3]),
            "boxes": tf.ensure_shape(tf.pad(boxes, [[0, spare], [0, 0]]), [self._max_boxes, 4]),
            "labels": tf.ensure_shape(tf.pad(labels, [[0, spare]], constant_values=-1), [self._max_boxes]),
            "image_id": self._ids[index],
            "original_size": original_size,
        }

    def _resized(self, boxes, original_size):
        """`boxes.resize_boxes` as operations."""
        fitted = tf.constant(self._size) if not self._keep_ratio else fitted_size(original_size, self._size)
        scale = tf.cast(fitted[::-1], tf.float64) / tf.cast(original_size[::-1], tf.float64)
        scaled = boxes * tf.cast(tf.tile(scale, [2]), tf.float32)
        return tf.clip_by_value(scaled, 0.0, tf.cast(tf.tile(fitted[::-1] - 1, [2]), tf.float32))
