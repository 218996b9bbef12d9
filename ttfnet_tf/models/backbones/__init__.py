"""Backbones: functions from a normalised image to feature maps of stages 2 to 5 (strides 4, 8, 16, 32).

One with its own decoder gives a single map of stride 4 instead and needs no neck.

A backbone is a file of this folder and a row of `BACKBONES`. The table is read before settings are checked, so it imports no TensorFlow.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Backbone:
    """How a backbone is built, its own rule of freezing, and what it does not support."""

    build: str  # "module:function": (inputs, *, width, synchronized, seed, zero_init_residual, **settings) -> [c2, c3, c4, c5]
    stem: tuple[str, ...]  # prefixes of the names of the stem's layers
    stages: tuple[tuple[str, ...], ...]  # the same of stage 1, 2, ...
    settings: Mapping[str, Any] = field(default_factory=dict)  # keywords of `build` that make this backbone
    own_decoder: bool = False  # whether `build` takes `neck` and `sampler` too and returns one map of stride 4
    frozen_statistics: bool = True  # whether frozen normalisations use their running statistics in training and do not change them
    synchronizes: bool = True  # whether its normalisations can have statistics of all replicas
    ignores: tuple[str, ...] = ()  # keywords of `build_model` that change nothing in a network with this backbone

    def frozen_prefixes(self, frozen_stages: int) -> tuple[str, ...]:
        """Prefixes of the layer names that `frozen_stages` freezes: the stem from 0 on, stages 1 to n from n on."""
        if frozen_stages < 0:
            return ()
        return self.stem + tuple(prefix for stage in self.stages[:frozen_stages] for prefix in stage)


_RESNET: dict[str, Any] = {
    "build": "ttfnet_tf.models.backbones.resnet:resnet",
    "stem": ("backbone.conv1", "backbone.bn1"),
    "stages": tuple((f"backbone.layer{stage}.",) for stage in range(1, 5)),
}

BACKBONES = {
    "resnet18": Backbone(**_RESNET, settings={"blocks": (2, 2, 2, 2)}),
    "resnet34": Backbone(**_RESNET, settings={"blocks": (3, 4, 6, 3)}),
    # Stage 1 has stride 2 here and stride 4 in a ResNet. The reference stops gradients only: frozen normalisations keep updating
    # their statistics.
    "darknet53": Backbone(
        build="ttfnet_tf.models.backbones.darknet:darknet",
        stem=("backbone.stem.",),
        stages=tuple((f"backbone.layer{stage}.",) for stage in range(1, 6)),
        settings={"blocks": (1, 2, 8, 8, 4)},
        frozen_statistics=False,
        ignores=("zero_init_residual",),  # the reference starts every scale at 1
    ),
    # The reference freezes nothing of it; its recipes have frozen_stages -1. Stages count as in a ResNet: 1 has stride 4.
    "dla34": Backbone(
        build="ttfnet_tf.models.backbones.dla:dla34",
        stem=("backbone.base.base_layer.", "backbone.base.level0.", "backbone.base.level1."),
        stages=tuple((f"backbone.base.level{level}.",) for level in range(2, 6)),
        own_decoder=True,
        ignores=("neck_channels", "shortcut", "upsampling"),
    ),
    **{
        f"keras_cv/{network}": Backbone(
            build="ttfnet_tf.models.backbones.keras_cv:keras_cv_backbone",
            stem=("backbone.stem.",),
            stages=tuple((f"backbone.stage{stage}.",) for stage in range(1, 5)),
            settings={"network": network},
            synchronizes=False,
            ignores=("zero_init_residual",),
        )
        for network in ("resnet50", "csp_darknet_s", "efficientnet_v2_s", "mobilenet_v3_small")
    },
}


def build_backbone(name: str, inputs, **keywords) -> list:
    """Feature maps [c2, c3, c4, c5] of the backbone `name`, or [stride 4] of one with its own decoder.

    Args:
        name: one of `BACKBONES`.
        inputs: [B, H, W, 3] Keras tensor, normalised.
        keywords: as of `resnet`, without `blocks`; `neck` and `sampler` too, which only a backbone with its own decoder reads.

    Raises:
        ValueError: unknown name.
    """
    backbone = backbone_named(name)
    unused = {*backbone.ignores, *(() if backbone.own_decoder else ("neck", "sampler"))}
    keywords = {key: value for key, value in keywords.items() if key not in unused}
    return pkgutil.resolve_name(backbone.build)(inputs, **backbone.settings, **keywords)


def backbone_named(name: str) -> Backbone:
    """The row of `BACKBONES`.

    Raises:
        ValueError: unknown name.
    """
    if name not in BACKBONES:
        raise ValueError(f"backbone must be one of {sorted(BACKBONES)}, received {name!r}")
    return BACKBONES[name]
