"""The convolution that all backbones are made of: no bias, PyTorch's padding, the reference's initial values."""

from __future__ import annotations

from ttfnet_tf.keras2 import layers
from ttfnet_tf.layers.conv2d import Conv2D
from ttfnet_tf.layers.initializers import he_normal


def conv2d(x, filters: int, size: int, stride: int, name: str, seed: int):
    """Convolution without bias that pads `size // 2` cells on every side.

    With stride 2 Keras' "same" pads only the far side of even maps, which shifts every feature against PyTorch.

    Args:
        x: [B, H, W, C] Keras tensor.
        filters: output channels.
        size: odd side of the window in cells.
        stride: distance of the output cells in input cells.
        name: of the layer.
        seed: of the initial values.

    Returns:
        [B, ceil(H / stride), ceil(W / stride), filters].
    """
    padding = "same" if stride == 1 else "valid"
    if padding == "valid" and size > 1:
        x = layers.ZeroPadding2D(size // 2, name=f"{name}.pad")(x)
    return Conv2D(filters, size, stride, padding, use_bias=False, kernel_initializer=he_normal(seed, name), name=name)(x)
