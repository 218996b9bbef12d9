"""Batches of training as arrays, and their comparison bit for bit."""

from __future__ import annotations

import tensorflow as tf

from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.pipeline import build_train_dataset, iterate
from ttfnet_tf.methods.ttfnet import ttfnet

SIZE, BATCH = (32, 64), 4


def train(split: CocoSplit, **changes) -> tf.data.Dataset:
    """Training batches of a split of three classes."""
    settings = {"image_size": SIZE, "batch_size": BATCH, "seed": 3, "backend": "device", "method": ttfnet(image_size=SIZE, num_classes=3)}
    return build_train_dataset(split, **{**settings, **changes})


def take(dataset: tf.data.Dataset, count: int = 10**9) -> list[dict]:
    """The first batches as arrays."""
    return [{name: value.numpy() for name, value in batch.items()} for batch in iterate(dataset.take(count))]


def assert_same(first: list[dict], second: list[dict]) -> None:
    """The same batches: names, types, shapes and bits."""
    assert len(first) == len(second) > 0
    for one, other in zip(first, second):
        assert one.keys() == other.keys()
        for name in one:
            assert (one[name].dtype, one[name].shape) == (other[name].dtype, other[name].shape)
            assert one[name].tobytes() == other[name].tobytes(), name
