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


def bfloat16_model(run: LoadedRun) -> tuple[keras.Model, list[tf.Variable]]:
    """A copy of the network of a run, whose inputs and outputs are float32 too, and its variables in the order of the original's."""
    model = build.model_of(run.config, len(run.labels.class_names), precision="mixed_bfloat16")
    model.set_weights(run.model.get_weights())
    variables, smaller = list(model.variables), {}
    for layer in model.submodules:
        for name in _KERNELS:
            kernel = getattr(layer, name, None)
            if kernel is not None and getattr(layer, "compute_dtype", None) == "bfloat16":
                smaller[kernel.ref()] = tf.Variable(tf.cast(kernel, tf.bfloat16), trainable=False, name=name)
                setattr(layer, name, smaller[kernel.ref()])
    return model, [smaller.get(variable.ref(), variable) for variable in variables]
