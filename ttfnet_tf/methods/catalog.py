"""The methods by name, with what others know of them before TensorFlow is imported.

A method is a module of this folder and a row of `METHODS`. Settings, network, training, TensorBoard, cost tables, weights and export read
the row and know no method by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MethodInfo:
    """One detector.

    Settings are those of `ttfnet_tf.config`, by their dotted keys. One that another method reads and this one does not is refused.
    """

    title: str  # for people
    build: str  # "module:function": (*, image_size, num_classes, **settings) -> `base.Method`
    heads: str  # "module:function": (x [B, h, w, D], num_classes, *, seed, **head_settings) -> {name: map [B, h, w, ...]}
    settings: Mapping[str, str]  # setting -> keyword of `build`
    head_settings: Mapping[str, str]  # setting -> keyword of `heads`; a section is given as the tuple of its values
    losses: Mapping[str, str]  # key in metrics.jsonl, ending in "_loss" -> what it is; the parts of the loss
    head_layers: Mapping[str, str]  # head -> how the names of its layers begin; "heatmap" is the one with a channel for each class
    teacher_losses: Mapping[str, str] = field(default_factory=dict)  # likewise, with `train.teacher`
    sides_head: str | None = None  # the head that ends in a ReLU with four channels a group: left, top, right, bottom
    float_layers: tuple[str, ...] = ()  # layers after the heads, which int8 export leaves in float32
    official_names: bool = False  # whether the official code of TTFNet has this network

    @property
    def reads(self) -> frozenset[str]:
        """The settings that make a difference."""
        return frozenset({*self.settings, *self.head_settings})

    def last_layers(self) -> str:
        """A regular expression for the names of the last layers of the heads, whose channels may depend on the classes."""
        return rf"(?:{'|'.join(map(re.escape, self.head_layers.values()))})\.\d+"

    def side_bias(self, parameters: Iterable[str]) -> str | None:
        """The parameter that is the bias of the four sides, of the official names of all; None for a method without."""
        if self.sides_head is None:
            return None
        name = re.compile(rf"{re.escape(self.head_layers[self.sides_head])}\.\d+\.bias")
        return next(filter(name.fullmatch, parameters), None)


_POINT_HEADS = {"model.heatmap_head": "heatmap_head", "model.box_head": "box_head", "model.box_per_class": "box_per_class"}

METHODS: dict[str, MethodInfo] = {
    "ttfnet": MethodInfo(
        title="TTFNet",
        build="ttfnet_tf.methods.ttfnet:ttfnet",
        heads="ttfnet_tf.methods.ttfnet:ttfnet_heads",
        settings={
            "targets.alpha": "alpha",
            "targets.beta": "beta",
            "targets.area": "area",
            "targets.weight": "weight",
            "targets.kernel": "kernel",
            "losses.heatmap_weight": "heatmap_weight",
            "losses.box_weight": "box_weight",
            "losses.quality": "quality",
            "losses.class_weights": "class_weights",
            "train.teacher": "teacher",
            "losses.teacher_heatmap_weight": "teacher_heatmap_weight",
            "losses.teacher_box_weight": "teacher_box_weight",
            "model.box_per_class": "box_per_class",
            "decode.top_k": "top_k",
        },
        head_settings={**_POINT_HEADS, "model.box_gradient": "box_gradient"},
        losses={"heatmap_loss": "Focal loss with its factor.", "box_loss": "GIoU loss with its factor."},
        teacher_losses={
            "teacher_heatmap_loss": "Quality focal loss to the teacher's heatmap with its factor.",
            "teacher_box_loss": "GIoU loss to the teacher's boxes with its factor.",
        },
        head_layers={"heatmap": "bbox_head.hm", "box": "bbox_head.wh"},
        sides_head="box",
        float_layers=("box",),
        official_names=True,
    ),
    "centernet": MethodInfo(
        title="CenterNet",
        build="ttfnet_tf.methods.centernet:centernet",
        heads="ttfnet_tf.methods.centernet:centernet_heads",
        settings={
            "losses.heatmap_weight": "heatmap_weight",
            "losses.box_weight": "size_weight",
            "losses.offset_weight": "offset_weight",
            "model.box_per_class": "box_per_class",
            "decode.top_k": "top_k",
        },
        head_settings=_POINT_HEADS,
        losses={
            "heatmap_loss": "Focal loss with its factor.",
            "size_loss": "CenterNet's L1 loss of width and height with its factor.",
            "offset_loss": "CenterNet's L1 loss of the centre with its factor.",
        },
        head_layers={"heatmap": "bbox_head.hm", "box": "bbox_head.wh", "offset": "bbox_head.reg"},
    ),
}


def shared_settings() -> list[str]:
    """Settings that some method reads, in the order of the table; each method refuses those that it does not read itself."""
    return list(dict.fromkeys(key for info in METHODS.values() for key in (*info.settings, *info.head_settings)))
