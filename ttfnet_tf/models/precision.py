"""The precision of a network: Keras' global policy, set only while the network is built."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ttfnet_tf.keras2 import keras


@contextlib.contextmanager
def precision_policy(precision: str) -> Iterator[None]:
    """Layers made inside the block compute in `precision`; the global policy is restored after it.

    Args:
        precision: "float32", "mixed_float16" or "mixed_bfloat16".
    """
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
