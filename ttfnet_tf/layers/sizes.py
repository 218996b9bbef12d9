"""Sizes of a map."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


class Size(NamedTuple):
    """Sizes as integers where they are known while tracing, else as scalar tensors."""

    batch: int | tf.Tensor
    height: int | tf.Tensor
    width: int | tf.Tensor
    channels: int


def size_of(x) -> Size:
    """Of x: [B, H, W, C]."""
    dynamic = tf.shape(x)
    return Size(*(dynamic[i] if n is None else n for i, n in enumerate(x.shape)))
