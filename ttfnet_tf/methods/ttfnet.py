"""TTFNet: one Gaussian kernel a box on the heatmap, distances to the box's sides in the cells around its centre, focal and GIoU loss.

Reference: Liu et al., "Training-Time-Friendly Network for Real-Time Object Detection", arXiv:1909.00700; ZJULearning/ttfnet 700ad90,
`mmdet/models/anchor_heads/ttf_head.py`. What differs is in docs/deviations.md.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence

import tensorflow as tf

from ttfnet_tf.boxes import STRIDE
from ttfnet_tf.keras2 import layers
from ttfnet_tf.layers.initializers import bias_of_probability
from ttfnet_tf.layers.recovering_relu import RecoveringReLU
from ttfnet_tf.methods import targets, targets_tf
from ttfnet_tf.methods.base import Method
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.methods.centres import centre_difference
from ttfnet_tf.methods.decode import scores_of, top_peaks
from ttfnet_tf.methods.heads import Size, build_head, normal_kernels
from ttfnet_tf.methods.losses import box_giou_sum, heatmap_focal_sum, normalizers
from ttfnet_tf.methods.teacher import teacher_losses, teacher_targets

BOX_SCALE = 16.0  # the network learns distances in units of 16 input pixels (`wh_offset_base`)
START = 0.01  # probability of every class in every cell before training (`bias_init_with_prob`)


def ttfnet(
    *,
    image_size: tuple[int, int],
    num_classes: int,
    box_per_class: bool = False,
    heatmap_weight: float = 1.0,
    box_weight: float = 5.0,
    quality: float = 0.0,
    class_weights: Sequence[float] = (),
    teacher: str | None = None,
    teacher_heatmap_weight: float = 1.0,
    teacher_box_weight: float = 5.0,
    top_k: int = 100,
    **target_settings,
) -> Method:
    """TTFNet's targets, losses and decoding.

    Args:
        image_size: height and width of the input in pixels.
        num_classes: C, channels of the heatmap.
        box_per_class: whether each class has its own box in a cell.
        heatmap_weight: factor of the focal loss.
        box_weight: factor of the GIoU loss.
        quality, class_weights: see `centres.centre_difference`.
        teacher: None, or the name of a run whose maps are learned too.
        teacher_heatmap_weight, teacher_box_weight: factors of the losses to it.
        top_k: detections of an image at most.
        target_settings: further keywords of `targets.paint_targets`.
    """
    drawn = {**target_settings, "box_per_class": box_per_class}
    settings = {"image_size": image_size, "num_classes": num_classes, **drawn}
    cells = tuple(side // STRIDE for side in image_size)
    groups = num_classes if box_per_class else 1
    return Method(
        paint=functools.partial(targets.paint_targets, **settings),
        render=functools.partial(targets_tf.render_targets, **settings),
        target_shapes={"heatmap": (*cells, num_classes), "box_target": (*cells, 4 * groups), "box_weight": (*cells, groups)},
        normalizers=ttfnet_normalizers,
        samples=functools.partial(targets_tf.sample_counts, **settings),
        losses=functools.partial(
            ttfnet_losses,
            heatmap_weight=heatmap_weight,
            box_weight=box_weight,
            quality=quality,
            class_weights=class_weights,
            teacher_heatmap_weight=teacher_heatmap_weight,
            teacher_box_weight=teacher_box_weight,
        ),
        loss_names=(*METHODS["ttfnet"].losses, *(() if teacher is None else METHODS["ttfnet"].teacher_losses)),
        decode=functools.partial(decode_distances, image_size=image_size, top_k=top_k),
        target_settings=drawn,
        teacher_targets=teacher_targets,
    )


def ttfnet_normalizers(targets: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """`losses.normalizers`, and with a teacher "teacher_weight_sum" [], the sum of the weights of its boxes."""
    weight = targets.get("teacher_box_weight")
    return {**normalizers(targets), **({} if weight is None else {"teacher_weight_sum": tf.reduce_sum(weight)})}


def ttfnet_heads(
    x,
    num_classes: int,
    *,
    heatmap_head: Size = (128, 2),
    box_head: Size = (64, 1),
    box_per_class: bool = False,
    box_gradient: str = "relu",
    seed: int = 0,
) -> dict:
    """Heatmap and distances to the four sides of the box.

    Args:
        x: [B, h, w, D] Keras tensor.
        num_classes: channels C of the heatmap.
        heatmap_head: size of the heatmap's head.
        box_head: size of the head of the distances.
        box_per_class: whether each class has its own four distances.
        box_gradient: of the ReLU after the distances, `relu`, or `recover` for that of `RecoveringReLU`; both give the same distances.
        seed: of the initial values.

    Returns:
        heatmap: float32 [B, h, w, C] logits.
        box: float32 [B, h, w, 4] distances left, top, right, bottom of the cell's point in input pixels, 0 or more; with
            `box_per_class` [B, h, w, 4 C], channel 4 class + side.
    """
    names = METHODS["ttfnet"].head_layers
    heatmap = build_head(x, heatmap_head, num_classes, names["heatmap"], normal_kernels(0.01, seed), bias_of_probability(START))
    box = build_head(x, box_head, 4 * (num_classes if box_per_class else 1), names["box"], normal_kernels(0.001, seed))
    relu = {"relu": layers.ReLU, "recover": RecoveringReLU}[box_gradient](name=f"{names['box']}.relu")
    return {
        "heatmap": layers.Activation("linear", dtype="float32", name="heatmap")(heatmap),
        "box": layers.Rescaling(BOX_SCALE, dtype="float32", name="box")(relu(box)),
    }


def ttfnet_losses(
    outputs: dict[str, tf.Tensor],
    targets: dict[str, tf.Tensor],
    *,
    heatmap_weight: float = 1.0,
    box_weight: float = 5.0,
    quality: float = 0.0,
    class_weights: Sequence[float] = (),
    teacher_heatmap_weight: float = 1.0,
    teacher_box_weight: float = 5.0,
    num_centres: tf.Tensor | None = None,
    weight_sum: tf.Tensor | None = None,
    teacher_weight_sum: tf.Tensor | None = None,
    static_shapes: bool = False,
) -> dict[str, tf.Tensor]:
    """The training loss of a batch and its two parts.

    Args:
        outputs: "heatmap" [B, h, w, C] logits and "box" [B, h, w, 4 G] distances in input pixels.
        targets: "heatmap" [B, h, w, C], "box_target" [B, h, w, 4 G] and "box_weight" [B, h, w, G], see `targets.paint_targets`;
            with a teacher those of `teacher.teacher_targets` too.
        heatmap_weight: factor of the heatmap loss.
        box_weight: factor of the box loss.
        quality, class_weights: see `centres.centre_difference`.
        teacher_heatmap_weight, teacher_box_weight, teacher_weight_sum: see `teacher.teacher_losses`.
        num_centres: [] what the focal sum is divided by (by 1 if 0); None counts the centres of this batch.
        weight_sum: [] what the box sum is divided by (plus 1e-4); None adds up the box weights of this batch.
        static_shapes: see `losses.box_giou_sum`.

    Returns:
        "loss" [], the sum of "heatmap_loss" [] and "box_loss" [], both with their factor, and of the losses to a teacher.

    Raises:
        ValueError: if the shapes of outputs and targets differ, at trace time.
    """
    heatmap_sum, batch_centres = heatmap_focal_sum(outputs["heatmap"], targets["heatmap"], sum_in_float64=static_shapes)
    box_sum, batch_weight = box_giou_sum(outputs["box"], targets["box_target"], targets["box_weight"], static_shapes=static_shapes)
    if quality or class_weights:
        heatmap_sum += centre_difference(outputs, targets, quality=quality, class_weights=class_weights, static_shapes=static_shapes)
    num_centres = batch_centres if num_centres is None else num_centres
    weight_sum = batch_weight if weight_sum is None else weight_sum
    heatmap_loss = heatmap_weight * heatmap_sum / tf.where(num_centres > 0, num_centres, 1.0)
    box_loss = box_weight * box_sum / (weight_sum + 1e-4)
    parts = {"heatmap_loss": heatmap_loss, "box_loss": box_loss}
    if "teacher_heatmap" in targets:
        parts |= teacher_losses(
            outputs,
            targets,
            heatmap_weight=teacher_heatmap_weight,
            box_weight=teacher_box_weight,
            num_centres=num_centres,
            teacher_weight_sum=teacher_weight_sum,
            static_shapes=static_shapes,
        )
    return {"loss": functools.reduce(operator.add, parts.values()), **parts}


def decode_distances(outputs: dict[str, tf.Tensor], *, image_size: tuple[int, int], top_k: int = 100) -> dict[str, tf.Tensor]:
    """Takes the best peaks of each image's heatmap.

    A peak is a cell that no neighbour (3 x 3, same class) exceeds; all cells of a plateau are peaks.

    Args:
        outputs: "heatmap" [B, h, w, C] logits and "box" [B, h, w, 4] or [B, h, w, 4 C] distances in input pixels; h, w, C are static.
        image_size: height H and width W of the input in pixels.
        top_k: detections of an image at most; K = min(top_k, h w C) are returned.

    Returns:
        "boxes": float32 [B, K, 4] corners x1, y1, x2, y2 in input pixels, limited to [0, W - 1] x [0, H - 1].
        "scores": float32 [B, K] descending; 0 where an image has fewer than K peaks.
        "classes": int32 [B, K] from 0.

    Raises:
        ValueError: if h, w or C is unknown or the box channels fit neither 4 nor 4 C, at trace time.
    """
    logits, box = outputs["heatmap"], tf.cast(outputs["box"], tf.float32)
    scores, cell, label = top_peaks(logits, top_k)  # [B, K] each
    height, width, num_classes = logits.shape[1:]
    if box.shape[-1] not in (4, 4 * num_classes):
        raise ValueError(f"box {box.shape} must have 4 channels, or 4 for each of the {num_classes} classes")
    cells = height * width
    per_class = box.shape[-1] != 4
    place = cell * num_classes + label if per_class else cell
    distances = tf.gather(tf.reshape(box, [-1, cells * num_classes if per_class else cells, 4]), place, batch_dims=1)  # [B, K, 4]
    x, y = tf.cast(cell % width, tf.float32) * STRIDE, tf.cast(cell // width, tf.float32) * STRIDE
    left, top, right, bottom = tf.unstack(distances, axis=-1)
    boxes = tf.stack([x - left, y - top, x + right, y + bottom], axis=-1)
    limit = tf.constant([image_size[1] - 1, image_size[0] - 1] * 2, tf.float32)
    return {"boxes": tf.clip_by_value(boxes, 0.0, limit), "scores": scores_of(scores), "classes": label}
