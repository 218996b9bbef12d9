"""The order of images: one permutation for each epoch, a function of (seed, epoch) alone."""

from __future__ import annotations

import tensorflow as tf


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Batches until every image was seen; the last one is filled up from the start of the epoch's order."""
    return -(-num_images // batch_size)


def epoch_order(seed: tf.Tensor, epoch: tf.Tensor, positions: tf.Tensor, num_images: int) -> tf.Tensor:
    """Indices of the images at `positions` of an epoch.

    Args:
        seed: of the run.
        epoch: from 0.
        positions: int64 [P], from 0; positions from `num_images` on start over at the first image.
        num_images: images of the split.

    Returns:
        int64 [P], indices into the images of the split.
    """
    key = tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)])
    last = tf.constant(num_images - 1, tf.int64)
    return tf.random.experimental.index_shuffle(tf.math.floormod(positions, last + 1), key, last)
