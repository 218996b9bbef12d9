"""What makes a detector of a network's maps: targets, losses and decoding, with their settings bound.

Pipeline, training step, evaluation and prediction know a `Method` and nothing of what lies inside, so another detector on the same
backbone and neck is another value of it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ttfnet_tf.methods import decode, losses, targets, targets_tf

Maps = dict[str, tf.Tensor]


@dataclass(frozen=True)
class Method:
    """Pure functions of one detector.

    `paint` and `render` draw the same maps; `normalizers` depend on them alone, so that they can be added up over replicas first.
    """

    paint: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]  # boxes [N, 4], labels [N] -> maps of one image, in NumPy
    render: Callable[[tf.Tensor, tf.Tensor], Maps]  # boxes [B, M, 4], labels [B, M] -> maps of a batch
    target_shapes: Mapping[str, tuple[int, ...]]  # of one image's maps, all float32
    normalizers: Callable[[Maps], Maps]  # targets -> counts [] that the losses are divided by
    samples: Callable[[tf.Tensor, tf.Tensor, Maps], Maps]  # boxes, labels, targets -> counts [], see `targets_tf.sample_counts`
    losses: Callable[..., Maps]  # (outputs, targets, **counts) -> "loss" [] and its parts; without counts those of the batch itself
    loss_names: tuple[str, ...]  # the parts
    decode: Callable[[Maps], Maps]  # outputs -> "boxes" [B, K, 4] xyxy input pixels, "scores" [B, K] falling, "classes" [B, K]


def ttfnet(
    *,
    image_size: tuple[int, int],
    num_classes: int,
    box_per_class: bool = False,
    heatmap_weight: float = 1.0,
    box_weight: float = 5.0,
    top_k: int = 100,
    **target_settings,
) -> Method:
    """TTFNet: Gaussian samples, focal and GIoU loss.

    Args:
        image_size: height and width of the input in pixels.
        num_classes: C, channels of the heatmap.
        box_per_class: whether each class has its own box in a cell.
        heatmap_weight: factor of the focal loss.
        box_weight: factor of the GIoU loss.
        top_k: detections of an image at most.
        target_settings: further keywords of `targets.paint_targets`.
    """
    settings = {"image_size": image_size, "num_classes": num_classes, "box_per_class": box_per_class, **target_settings}
    cells = tuple(side // targets.STRIDE for side in image_size)
    groups = num_classes if box_per_class else 1
    return Method(
        paint=functools.partial(targets.paint_targets, **settings),
        render=functools.partial(targets_tf.render_targets, **settings),
        target_shapes={"heatmap": (*cells, num_classes), "box_target": (*cells, 4 * groups), "box_weight": (*cells, groups)},
        normalizers=losses.normalizers,
        samples=functools.partial(targets_tf.sample_counts, **settings),
        losses=functools.partial(losses.detection_losses, heatmap_weight=heatmap_weight, box_weight=box_weight),
        loss_names=("heatmap_loss", "box_loss"),
        decode=functools.partial(decode.decode, image_size=image_size, top_k=top_k),
    )
