"""The interface of a method: targets, losses and decoding of a detector, as functions with their settings bound.

Pipeline, training step, evaluation and prediction use a `Method` and know no detector by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from ttfnet_tf.methods.targets import Paint

Maps = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Method:
    """Pure functions of one detector.

    `paint` and `render` draw the same maps; `normalizers` depend on these alone, so that they can be summed over replicas first.
    """

    paint: Paint
    render: Callable[[tf.Tensor, tf.Tensor], Maps]  # boxes [B, M, 4], labels [B, M] -> targets of a batch
    target_shapes: Mapping[str, tuple[int, ...]]  # of one image's targets, all float32; one is "heatmap" [h, w, C]
    normalizers: Callable[[Maps], Maps]  # targets -> counts [] that the losses are divided by; one is "num_centres"
    samples: Callable[[tf.Tensor, tf.Tensor, Maps], Maps]  # boxes, labels, targets -> counts [], see `targets_tf.sample_counts`
    # (outputs, targets, **counts) -> "loss" [] and its parts; without counts those of the batch itself. With train.jit_compile also
    # static_shapes=True: no shape in it may depend on values, such as that of `tf.where(condition)`.
    losses: Callable[..., Maps]
    loss_names: tuple[str, ...]  # the parts
    decode: Callable[[Maps], Maps]  # outputs -> "boxes" [B, K, 4] xyxy input pixels, "scores" [B, K] descending, "classes" [B, K]
    target_settings: Mapping[str, Any] | None  # keywords of `targets.paint_targets` that draw the targets; None if it does not draw them
    # Outputs of a teacher -> further targets, which `normalizers` and `losses` know by their names; None for a method without.
    teacher_targets: Callable[[Maps], Maps] | None = None
