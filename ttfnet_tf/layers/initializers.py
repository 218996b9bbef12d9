"""Initial values as in the reference, each a function of (seed, layer name) alone.

A layer that is added or removed therefore changes no other layer's values.
"""

from __future__ import annotations

import math
import zlib

from ttfnet_tf.keras2 import keras


def he_normal(seed: int, name: str) -> keras.initializers.Initializer:
    """N(0, 2 / fan_out), not truncated (mmcv `kaiming_init`)."""
    return keras.initializers.VarianceScaling(2.0, "fan_out", "untruncated_normal", seed=_seed(seed, name))


def normal(stddev: float, seed: int, name: str) -> keras.initializers.Initializer:
    """N(0, stddev^2), not truncated (mmcv `normal_init`)."""
    return keras.initializers.RandomNormal(stddev=stddev, seed=_seed(seed, name))


def fan_in_uniform(fan_in: int, seed: int, name: str) -> keras.initializers.Initializer:
    """U(-1/sqrt(fan_in), 1/sqrt(fan_in)) (mmdetection `ModulatedDeformConv.reset_parameters`)."""
    limit = 1.0 / math.sqrt(fan_in)
    return keras.initializers.RandomUniform(-limit, limit, seed=_seed(seed, name))


def bias_of_probability(probability: float) -> keras.initializers.Initializer:
    """The logit at which a sigmoid gives `probability` (mmcv `bias_init_with_prob`)."""
    return keras.initializers.Constant(-math.log((1.0 - probability) / probability))


def _seed(seed, name):
    return zlib.crc32(f"{seed}/{name}".encode()) & 0x7FFFFFFF


def seeded(initializer: keras.initializers.Initializer, seed: int, name: str) -> keras.initializers.Initializer:
    """The same distribution, drawn as a function of (seed, name); for layers of another library."""
    return type(initializer).from_config({**initializer.get_config(), "seed": _seed(seed, name)})
