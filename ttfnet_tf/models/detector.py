"""The network: normalisation, backbone, neck, heads.

Reference: Liu et al., "Training-Time-Friendly Network for Real-Time Object Detection", arXiv:1909.00700, section 4;
`mmdet/models/anchor_heads/ttf_head.py` of the official code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ttfnet_tf.keras2 import keras, layers
from ttfnet_tf.models.backbones import backbone_named, build_backbone
from ttfnet_tf.models.neck import build_neck
from ttfnet_tf.models.normalization import MEAN, STD
from ttfnet_tf.models.parameters import set_trainable


def build_model(
    num_classes: int,
    *,
    heads: Callable[..., dict],
    backbone: str = "resnet18",
    neck: str = "deformable",
    sampler: str = "crop_and_resize",
    neck_channels=(256, 128, 64),
    shortcut=(3, 2, 1),
    upsampling: str = "bilinear",
    frozen_stages: int = 1,
    zero_init_residual: bool = True,
    batch_norm: str = "local",
    width: int = 64,
    seed: int = 0,
    image_size=None,
) -> keras.Model:
    """The detector as a functional Keras model; layer names are the module paths of the official code.

    Args:
        num_classes: channels C of the heatmap.
        heads: the method's, such as `methods.ttfnet.ttfnet_heads`: from (map of stride 4, num_classes, seed=) to the outputs by name.
        backbone: a name in `backbones.BACKBONES`.
        neck: `deformable`, or `plain` for ordinary 3x3 convolutions in the same places.
        sampler: form of the deformable convolution.
        neck_channels: channels after each of the three x2 upsamplings (strides 16, 8, 4).
        shortcut: numbers of 3x3 convolutions from stages 2, 3 and 4 into the neck; 0 is no shortcut.
        upsampling: of the neck, see `neck.build_neck`.
        frozen_stages: what is not trained: -1 nothing, 0 the stem, n the stem and stages 1..n. Frozen normalisations use their running
            statistics, or keep updating them where the reference does (`backbones.Backbone.frozen_statistics`).
        zero_init_residual: whether the last scale of each residual branch starts at 0.
        batch_norm: `local` statistics of each replica or `synchronized` over all.
        width: channels of the backbone's first stage; 64 in the published networks, less in tests.
        seed: of the initial values; each layer's depend on it and on the layer's name only.
        image_size: (H, W) in pixels, multiples of 32; None accepts any.

    Returns:
        A model from [B, H, W, 3] RGB 0..255 (uint8 or float) to what `heads` gives, float32 under every precision policy: "heatmap"
        [B, H/4, W/4, C] logits, and "box" or other maps of the method.

    Raises:
        ValueError: an unknown backbone, neck, upsampling, sampler or batch_norm, or an image_size that is no multiple of 32.
    """
    _check(batch_norm, image_size)
    shared: dict[str, Any] = {"synchronized": batch_norm == "synchronized", "seed": seed, "sampler": sampler}
    inputs = keras.Input([*(image_size or (None, None)), 3], name="image")  # Keras casts uint8 to this float32
    features = build_backbone(backbone, _normalized(inputs), width=width, zero_init_residual=zero_init_residual, neck=neck, **shared)
    if len(features) == 1:  # a backbone with its own decoder
        x = features[0]
    else:
        x = build_neck(features, kind=neck, channels=neck_channels, shortcut=shortcut, upsampling=upsampling, **shared)
    model = keras.Model(inputs, heads(x, num_classes, seed=seed), name="ttfnet")
    freeze(model, backbone, frozen_stages)
    return model


def _check(batch_norm, image_size):
    if batch_norm not in ("local", "synchronized"):
        raise ValueError(f"batch_norm must be one of ('local', 'synchronized'), received {batch_norm!r}")
    if image_size is not None and any(side % 32 for side in image_size):
        raise ValueError(f"image_size must be multiples of 32, received {tuple(image_size)}")


def _normalized(inputs):
    """(pixel - mean) / std of each colour, float32 under every precision policy."""
    scale, offset = [1.0 / std for std in STD], [-mean / std for mean, std in zip(MEAN, STD)]
    return layers.Rescaling(scale, offset, name="normalization", dtype="float32")(inputs)


def freeze(model: keras.Model, backbone: str, frozen_stages: int) -> None:
    """Freezes the stem and the first stages of the backbone, and nothing else of it.

    A frozen layer gets no gradient. Whether its batch normalisation updates the running statistics depends on the backbone.
    """
    rule = backbone_named(backbone)
    prefixes = rule.frozen_prefixes(frozen_stages)
    for layer in model.layers:
        if layer.name.startswith("backbone."):
            set_trainable(layer, not layer.name.startswith(prefixes), frozen_statistics=rule.frozen_statistics)
