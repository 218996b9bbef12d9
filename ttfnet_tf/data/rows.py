"""Rows of batches in TensorFlow operations: the boxes of an image resized, mirrored and padded, beside its pixels.

The same rows, bit for bit, as `data.samples` makes in NumPy.
"""

from __future__ import annotations

import numpy as np
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
        # The last one is that of padding.
        self._boxes = tf.constant(np.concatenate([images.boxes, np.zeros([1, 4], np.float32)]))
        self._labels = tf.constant(np.concatenate([images.labels, np.full([1], -1, np.int32)]))

    def of_image(self, index: tf.Tensor, image: tf.Tensor, original_size: tf.Tensor, is_flipped: tf.Tensor) -> dict[str, tf.Tensor]:
        """The row of one image: `of_images` without the first axis."""
        rows = self.of_images(*(value[None] for value in (index, image, original_size, is_flipped)))
        return {name: values[0] for name, values in rows.items()}

    def of_images(self, indices: tf.Tensor, images: tf.Tensor, original_sizes: tf.Tensor, are_flipped: tf.Tensor) -> dict[str, tf.Tensor]:
        """The rows of some images.

        Args:
            indices: int64 [B] of the images in the split.
            images: uint8 [B, H, W, 3], resized, and mirrored if `are_flipped`.
            original_sizes: int32 [B, 2] heights and widths before.
            are_flipped: bool [B].
        """
        starts, ends = tf.gather(self._offsets, indices), tf.gather(self._offsets, indices + 1)
        places = starts[:, None] + tf.range(self._max_boxes, dtype=tf.int64)  # [B, M]
        is_box = places < ends[:, None]
        places = tf.where(is_box, places, tf.shape(self._labels, tf.int64) - 1)
        boxes = self._resized(tf.gather(self._boxes, places), original_sizes)
        last = tf.constant(self._size[1] - 1, tf.float32)
        x1, y1, x2, y2 = tf.unstack(boxes, axis=-1)
        mirrored = tf.where(is_box[..., None], tf.stack([last - x2, y1, last - x1, y2], axis=-1), 0.0)
        return {
            "image": tf.ensure_shape(images, [None, *self._size, 3]),
            "boxes": tf.where(are_flipped[:, None, None], mirrored, boxes),
            "labels": tf.gather(self._labels, places),
            "image_id": tf.gather(self._ids, indices),
            "original_size": original_sizes,
        }

    def _resized(self, boxes, original_sizes):
        """`boxes.resize_boxes` as operations, [B, M, 4]."""
        fitted = tf.constant([self._size]) if not self._keep_ratio else fitted_size(original_sizes, self._size)  # [1 or B, 2]
        scale = tf.cast(fitted[:, ::-1], tf.float64) / tf.cast(original_sizes[:, ::-1], tf.float64)
        scaled = boxes * tf.cast(tf.tile(scale, [1, 2]), tf.float32)[:, None]
        return tf.clip_by_value(scaled, 0.0, tf.cast(tf.tile(fitted[:, ::-1] - 1, [1, 2]), tf.float32)[:, None])
