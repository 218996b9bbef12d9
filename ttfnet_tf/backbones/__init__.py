"""Backbones: functions from a normalised picture to feature maps of stages 2 to 5 (strides 4, 8, 16, 32)."""

from __future__ import annotations

from ttfnet_tf.backbones.resnet import resnet

BACKBONES = {
    "resnet18": (resnet, {"blocks": (2, 2, 2, 2)}),
    "resnet34": (resnet, {"blocks": (3, 4, 6, 3)}),
}


def build_backbone(name: str, inputs, **keywords) -> list:
    """Feature maps [c2, c3, c4, c5] of the backbone `name`.

    Args:
        name: one of `BACKBONES`.
        inputs: [B, H, W, 3] Keras tensor, normalised.
        keywords: as of `resnet`, without `blocks`.

    Raises:
        ValueError: unknown name.
    """
    if name not in BACKBONES:
        raise ValueError(f"backbone must be one of {sorted(BACKBONES)}, received {name!r}")
    build, settings = BACKBONES[name]
    return build(inputs, **settings, **keywords)


def frozen_prefixes(frozen_stages: int) -> tuple[str, ...]:
    """Prefixes of the layer names that `frozen_stages` freezes: the stem from 0 on, stages 1 to n from n on."""
    stem = ("backbone.conv1", "backbone.bn1") if frozen_stages >= 0 else ()
    return stem + tuple(f"backbone.layer{stage}." for stage in range(1, frozen_stages + 1))
