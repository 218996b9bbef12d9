"""The order of images: one permutation for each epoch, a function of (seed, epoch) alone."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from ttfnet_tf.data.balance import ClassBalance
from ttfnet_tf.data.numpy_random import first_random


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


def balanced(balance: ClassBalance, epoch: tf.Tensor, entries: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The image of each entry of an epoch, and how many earlier entries are the same image.

    Args:
        balance: how often images are seen.
        epoch: int64 [].
        entries: int64 [N], each 0..I-1.

    Returns:
        int64 [N] and int64 [N].
    """
    offset = first_random(balance.seed, epoch[None], tf.constant([len(balance.ends)], tf.int64))[0]
    places = tf.cast(entries, tf.float64) + offset
    index = tf.searchsorted(tf.constant(balance.ends), places, side="right", out_type=tf.int64)
    first = tf.cast(tf.math.ceil(tf.gather(tf.constant(balance.starts), index) - offset), tf.int64)
    return index, entries - tf.maximum(first, 0)


def rows_of_step(seed: int, num_images: int, batch_size: int, rows: int, first_row: int, balance: ClassBalance | None = None) -> Callable:
    """step -> (epoch, position in its order, image index), int64 [rows] each, of the rows of a global batch from `first_row` on.

    With a balance also which copy of the image it is, from 0.
    """
    epoch_steps = steps_per_epoch(num_images, batch_size)

    def of_step(step):
        epoch, step_in_epoch = step // epoch_steps, step % epoch_steps
        positions = step_in_epoch * batch_size + first_row + tf.range(rows, dtype=tf.int64)
        entries = epoch_order(seed, epoch, positions, num_images)
        return tf.fill([rows], epoch), positions, *((entries,) if balance is None else balanced(balance, epoch, entries))

    return tf.autograph.experimental.do_not_convert(of_step)
