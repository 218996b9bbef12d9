"""The neck: from the backbone's deepest map up to stride 4.

Layer names are the module paths of the official code. Reference: `mmdet/models/anchor_heads/ttf_head.py` of ZJULearning/ttfnet 700ad90
(`build_upsample`, `ShortcutConv2d`); for "transposed", `resnet_dcn.py` of xingyizhou/CenterNet.
"""

from __future__ import annotations

from ttfnet_tf.keras2 import layers
from ttfnet_tf.layers.batch_norm import batch_norm
from ttfnet_tf.layers.deform_conv import DeformableConv2D
from ttfnet_tf.layers.initializers import fan_in_uniform, he_normal
from ttfnet_tf.layers.upsample import UpsampleBilinear2x


def build_neck(
    features: list,
    *,
    kind: str = "deformable",
    sampler: str = "crop_and_resize",
    channels=(256, 128, 64),
    shortcut=(3, 2, 1),
    upsampling: str = "bilinear",
    synchronized: bool = False,
    seed: int = 0,
):
    """Three times: convolution, normalisation, x2 upsampling, and the sum with the backbone's map of that stride.

    Args:
        features: [c2, c3, c4, c5], Keras tensors of strides 4 to 32.
        kind: `deformable`, or `plain` for ordinary 3x3 convolutions.
        sampler: form of the deformable convolution.
        channels: after each upsampling (strides 16, 8, 4).
        shortcut: numbers of 3x3 convolutions between c2, c3, c4 and their sums; 0 is no shortcut.
        upsampling: `bilinear`, or `transposed` for a learned 4x4 convolution with normalisation.
        synchronized: whether batch statistics cover all replicas.
        seed: of the initial values.

    Returns:
        [B, H/4, W/4, channels[2]].

    Raises:
        ValueError: unknown kind or upsampling.
    """
    for name, value, choices in (("kind", kind, ("deformable", "plain")), ("upsampling", upsampling, ("bilinear", "transposed"))):
        if value not in choices:
            raise ValueError(f"{name} of the neck must be one of {choices}, received {value!r}")
    x = features[-1]
    sources = zip(reversed(features[:-1]), reversed(tuple(shortcut)))  # c4 first
    for step, (filters, (source, count)) in enumerate(zip(channels, sources)):
        name = f"bbox_head.deconv_layers.{step}"
        kernel = fan_in_uniform(9 * x.shape[-1], seed, f"{name}.0")
        if kind == "deformable":
            x = DeformableConv2D(filters, sampler=sampler, kernel_initializer=kernel, name=f"{name}.0")(x)
        else:
            x = layers.Conv2D(filters, 3, padding="same", kernel_initializer=kernel, name=f"{name}.0")(x)
        x = layers.ReLU(name=f"{name}.2")(batch_norm(f"{name}.1", synchronized=synchronized)(x))
        x = UpsampleBilinear2x(name=f"{name}.3")(x) if upsampling == "bilinear" else _transposed(x, filters, name, synchronized, seed)
        if count:
            x = layers.Add(name=f"bbox_head.sum.{step}")([x, _shortcut(source, filters, count, step, seed)])
    return x


def _transposed(x, filters, name, synchronized, seed):
    """PyTorch's default initial values: its fan-in of a transposed convolution counts the outputs."""
    kernel = fan_in_uniform(16 * filters, seed, f"{name}.3")
    x = layers.Conv2DTranspose(filters, 4, 2, "same", use_bias=False, kernel_initializer=kernel, name=f"{name}.3")(x)
    return layers.ReLU(name=f"{name}.5")(batch_norm(f"{name}.4", synchronized=synchronized)(x))


def _shortcut(x, filters, count, step, seed):
    """`count` 3x3 convolutions with ReLU between them, none after the last."""
    for i in range(count):
        if i:
            x = layers.ReLU(name=f"bbox_head.shortcut_layers.{step}.layers.{2 * i - 1}")(x)
        name = f"bbox_head.shortcut_layers.{step}.layers.{2 * i}"
        x = layers.Conv2D(filters, 3, padding="same", kernel_initializer=he_normal(seed, name), name=name)(x)
    return x
