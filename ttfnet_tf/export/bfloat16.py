"""A trained network that computes in bfloat16, for processors and GPUs with bfloat16 units.

Kernels are stored in bfloat16, so that nothing is cast at a call; normalisation, sampling coordinates, the heads' last maps and decoding
stay float32, as in training with `train.precision: mixed_bfloat16`.
"""

from __future__ import annotations

import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.keras2 import keras
from ttfnet_tf.runs.checkpoint import LoadedRun

_KERNELS = ("kernel", "depthwise_kernel")


def bfloat16_model(run: LoadedRun) -> keras.Model:
    """A copy of the network of a run; its inputs and outputs are those of the original, float32."""
    model = build.model_of(run.config, len(run.labels.class_names), precision="mixed_bfloat16")
    model.set_weights(run.model.get_weights())
    for layer in model.submodules:
        for name in _KERNELS:
            if getattr(layer, "compute_dtype", None) == "bfloat16" and getattr(layer, name, None) is not None:
                setattr(layer, name, tf.Variable(tf.cast(getattr(layer, name), tf.bfloat16), trainable=False, name=name))
    return model
