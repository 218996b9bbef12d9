"""The precision of a network: Keras' global policy, set while the network is built and for no longer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ttfnet_tf.keras2 import keras


@contextlib.contextmanager
def built_in(precision: str) -> Iterator[None]:
    """Layers that are made inside the block compute in `precision`, whatever the global policy is; that one is restored.

    Args:
        precision: "float32", "mixed_float16" or "mixed_bfloat16".
    """
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(precision)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
