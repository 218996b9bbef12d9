"""One head: 3x3 convolutions, then a 1x1 convolution to the channels of a map.

Layer names are the official module paths, so weights map by name. Reference: `mmdet/models/anchor_heads/ttf_head.py` of
ZJULearning/ttfnet 700ad90.
"""

from __future__ import annotations

from collections.abc import Callable

from ttfnet_tf.keras2 import keras, layers
from ttfnet_tf.layers.initializers import fan_in_uniform, normal

Size = tuple[int, int]  # channels of each 3x3 convolution, number of them before the last 1x1
KernelInitializer = Callable[[int, str], keras.initializers.Initializer]  # of (fan-in, layer name)


def build_head(x, size: Size, channels: int, name: str, kernel: KernelInitializer, bias="zeros"):
    """The layers `<name>.<i>.conv`, `<name>.<i>.activate` and `<name>.<depth>`.

    Args:
        x: [B, h, w, D] Keras tensor.
        size: width and depth.
        channels: of the result.
        name: how the layers' names begin.
        kernel: initial values of a convolution.
        bias: initial value of the last bias; the others start at 0.

    Returns:
        [B, h, w, channels].
    """
    width, depth = size
    for i in range(depth):
        conv = f"{name}.{i}.conv"
        x = layers.Conv2D(width, 3, padding="same", kernel_initializer=kernel(9 * x.shape[-1], conv), name=conv)(x)
        x = layers.ReLU(name=f"{name}.{i}.activate")(x)
    last = f"{name}.{depth}"
    return layers.Conv2D(channels, 1, kernel_initializer=kernel(x.shape[-1], last), bias_initializer=bias, name=last)(x)


def normal_kernels(stddev: float, seed: int) -> KernelInitializer:
    """N(0, stddev^2)."""
    return lambda fan_in, name: normal(stddev, seed, name)


def fan_in_kernels(seed: int) -> KernelInitializer:
    """PyTorch's default for convolutions."""
    return lambda fan_in, name: fan_in_uniform(fan_in, seed, name)
