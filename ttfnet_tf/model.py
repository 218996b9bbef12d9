"""TTFNet: backbone, upsampling neck with deformable convolutions and shortcuts, heatmap head and box head.

Reference: Liu et al., "Training-Time-Friendly Network for Real-Time Object Detection", arXiv:1909.00700, section 4;
`mmdet/models/anchor_heads/ttf_head.py` of the official code.
"""

from __future__ import annotations

import tensorflow as tf
from tensorflow.keras import layers

from ttfnet_tf.backbones import backbone_named, build_backbone
from ttfnet_tf.batch_norm import batch_norm
from ttfnet_tf.deform_conv import DeformableConv2D
from ttfnet_tf.initializers import bias_of_probability, fan_in_uniform, he_normal, normal
from ttfnet_tf.parameters import set_trainable
from ttfnet_tf.upsample import UpsampleBilinear2x

MEAN = (123.675, 116.28, 103.53)  # of ImageNet, for pixels 0..255
STD = (58.395, 57.12, 57.375)
BOX_SCALE = 16.0  # the box head learns distances in units of 16 input pixels (`wh_offset_base`)
START_PROBABILITY = 0.01  # of every class in every cell before training (`bias_init_with_prob`)


def build_model(
    num_classes: int,
    *,
    backbone: str = "resnet18",
    neck: str = "deformable",
    sampler: str = "crop_and_resize",
    neck_channels=(256, 128, 64),
    shortcut=(3, 2, 1),
    heatmap_head=(128, 2),
    box_head=(64, 1),
    box_per_class: bool = False,
    frozen_stages: int = 1,
    zero_init_residual: bool = True,
    batch_norm: str = "local",
    width: int = 64,
    seed: int = 0,
    image_size=None,
) -> tf.keras.Model:
    """The detector as a functional Keras model; layer names are the module paths of the official code.

    Args:
        num_classes: channels of the heatmap.
        backbone: a name in `backbones.BACKBONES`.
        neck: `deformable`, or `plain` for ordinary 3x3 convolutions in the same places.
        sampler: form of the deformable convolution.
        neck_channels: channels after each of the three x2 upsamplings (strides 16, 8, 4).
        shortcut: number of 3x3 convolutions on the way from stages 2, 3 and 4 into the neck; 0 is no shortcut.
        heatmap_head, box_head: (width, depth), `depth` 3x3 convolutions of `width` channels before the last 1x1.
        box_per_class: whether each class has its own four distances.
        frozen_stages: -1 nothing, 0 the stem, n the stem and stages 1..n: not trained. Frozen normalisations use their running
            statistics, or go on collecting them, as the reference does in this backbone (`backbones.Backbone`).
        zero_init_residual: whether the last scale of each residual branch starts at 0.
        batch_norm: `local` statistics of each replica or `synchronized` over all.
        width: channels of the backbone's first stage; 64 in the published systems, less in tests.
        seed: of the initial values; each layer's depend on it and on the layer's name only.
        image_size: (H, W) in pixels, multiples of 32, to fix the shapes; None leaves them open.

    Returns:
        A model from [B, H, W, 3] RGB 0..255 (uint8 or float) to a dictionary, float32 under every precision policy:
        heatmap: [B, H/4, W/4, num_classes] logits.
        box: [B, H/4, W/4, 4] distances left, top, right, bottom of the cell's point in input pixels, 0 or more; with
            `box_per_class` [B, H/4, W/4, 4 num_classes], channel 4 class + side.

    Raises:
        ValueError: an unknown backbone, neck, sampler or batch_norm, or an image_size that is no multiple of 32.
    """
    _check_choice("neck", neck, ("deformable", "plain"))
    _check_choice("batch_norm", batch_norm, ("local", "synchronized"))
    if image_size is not None and any(side % 32 for side in image_size):
        raise ValueError(f"image_size must be multiples of 32, received {tuple(image_size)}")
    synchronized = batch_norm == "synchronized"
    inputs = tf.keras.Input([*(image_size or (None, None)), 3], name="image")  # Keras casts uint8 to this float32
    x = layers.Rescaling([1.0 / std for std in STD], [-mean / std for mean, std in zip(MEAN, STD)], name="normalization", dtype="float32")(
        inputs
    )
    features = build_backbone(
        backbone,
        x,
        width=width,
        zero_init_residual=zero_init_residual,
        synchronized=synchronized,
        seed=seed,
        neck=neck,
        sampler=sampler,
    )
    x = features[0] if len(features) == 1 else _neck(features, neck, sampler, neck_channels, shortcut, synchronized, seed)
    heatmap = _head(x, heatmap_head, num_classes, "bbox_head.hm", 0.01, bias_of_probability(START_PROBABILITY), seed)
    box = _head(x, box_head, 4 * (num_classes if box_per_class else 1), "bbox_head.wh", 0.001, "zeros", seed)
    outputs = {
        "heatmap": layers.Activation("linear", dtype="float32", name="heatmap")(heatmap),
        "box": layers.Rescaling(BOX_SCALE, dtype="float32", name="box")(layers.ReLU(name="bbox_head.wh.relu")(box)),
    }
    model = tf.keras.Model(inputs, outputs, name="ttfnet")
    freeze(model, backbone, frozen_stages)
    return model


def freeze(model: tf.keras.Model, backbone: str, frozen_stages: int) -> None:
    """Freezes the stem and the first stages of the backbone, and nothing else of it.

    A frozen layer gets no gradient. What its batch normalisation does with the statistics is the backbone's own rule.
    """
    rule = backbone_named(backbone)
    prefixes = rule.frozen_prefixes(frozen_stages)
    for layer in model.layers:
        if layer.name.startswith("backbone."):
            set_trainable(layer, not layer.name.startswith(prefixes), frozen_statistics=rule.frozen_statistics)


def _neck(features, kind, sampler, neck_channels, shortcut, synchronized, seed):
    """From c5 up to stride 4; at each step the map of the backbone with that stride is added."""
    x = features[-1]
    sources = zip(reversed(features[:-1]), reversed(tuple(shortcut)))  # c4 first
    for step, (filters, (source, count)) in enumerate(zip(neck_channels, sources)):
        name = f"bbox_head.deconv_layers.{step}"
        kernel = fan_in_uniform(9 * x.shape[-1], seed, f"{name}.0")
        if kind == "deformable":
            x = DeformableConv2D(filters, sampler=sampler, kernel_initializer=kernel, name=f"{name}.0")(x)
        else:
            x = layers.Conv2D(filters, 3, padding="same", kernel_initializer=kernel, name=f"{name}.0")(x)
        x = layers.ReLU(name=f"{name}.2")(batch_norm(f"{name}.1", synchronized=synchronized)(x))
        x = UpsampleBilinear2x(name=f"{name}.3")(x)
        if count:
            x = layers.Add(name=f"bbox_head.sum.{step}")([x, _shortcut(source, filters, count, step, seed)])
    return x


def _shortcut(x, filters, count, step, seed):
    """`count` 3x3 convolutions with ReLU between them, none after the last."""
    for i in range(count):
        if i:
            x = layers.ReLU(name=f"bbox_head.shortcut_layers.{step}.layers.{2 * i - 1}")(x)
        name = f"bbox_head.shortcut_layers.{step}.layers.{2 * i}"
        x = layers.Conv2D(filters, 3, padding="same", kernel_initializer=he_normal(seed, name), name=name)(x)
    return x


def _head(x, size, channels, name, stddev, bias, seed):
    width, depth = size
    for i in range(depth):
        conv = f"{name}.{i}.conv"
        x = layers.Conv2D(width, 3, padding="same", kernel_initializer=normal(stddev, seed, conv), name=conv)(x)
        x = layers.ReLU(name=f"{name}.{i}.activate")(x)
    last = f"{name}.{depth}"
    return layers.Conv2D(channels, 1, kernel_initializer=normal(stddev, seed, last), bias_initializer=bias, name=last)(x)


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"{name} must be one of {choices}, received {value!r}")
