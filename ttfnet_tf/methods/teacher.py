"""Distillation: the maps of a trained network as further targets of the same maps, cell by cell.

Both networks give the same maps, so nothing is assigned to objects. The heatmap follows the teacher's probabilities by the quality focal
loss (arXiv:2006.04388, equation 6, exponent 2), which is 0 where both agree; boxes follow the teacher's by the GIoU loss where the
teacher is sure of an object.
"""

from __future__ import annotations

import tensorflow as tf

from ttfnet_tf.boxes import STRIDE
from ttfnet_tf.methods.losses import box_giou_sum

LEAST_SCORE = 0.1  # of the teacher, for its box to count
PREFIX = "teacher_"  # of the teacher's maps among the targets


def teacher_targets(outputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """What is learned from a teacher's outputs.

    Args:
        outputs: "heatmap" [B, h, w, C] logits and "box" [B, h, w, 4 G] distances in input pixels; h and w are static.

    Returns:
        "teacher_heatmap": [B, h, w, C] probabilities.
        "teacher_box_target": [B, h, w, 4 G] corners in input pixels.
        "teacher_box_weight": [B, h, w, G] the score of the cell and group, the largest of all classes for one group; 0 below .1.
    """
    heatmap = tf.sigmoid(tf.cast(outputs["heatmap"], tf.float32))
    box = tf.cast(outputs["box"], tf.float32)
    groups = box.shape[-1] // 4
    score = tf.reduce_max(heatmap, axis=-1, keepdims=True) if groups == 1 else heatmap
    columns, rows = tf.meshgrid(tf.range(box.shape[2]), tf.range(box.shape[1]))
    x, y = (tf.cast(number, tf.float32)[:, :, None] * STRIDE for number in (columns, rows))  # [h, w, 1]
    point, sign = tf.tile(tf.concat([x, y, x, y], -1), [1, 1, groups]), tf.tile(tf.constant([-1.0, -1, 1, 1]), [groups])
    return {
        "teacher_heatmap": heatmap,
        "teacher_box_target": point + sign * box,
        "teacher_box_weight": tf.where(score >= LEAST_SCORE, score, 0.0),
    }


def teacher_losses(
    outputs: dict[str, tf.Tensor],
    targets: dict[str, tf.Tensor],
    *,
    heatmap_weight: float,
    box_weight: float,
    num_centres: tf.Tensor,
    teacher_weight_sum: tf.Tensor | None = None,
    static_shapes: bool = False,
) -> dict[str, tf.Tensor]:
    """The two losses of distillation, with their factors.

    Args:
        outputs: of the student, as in `ttfnet.ttfnet_losses`.
        targets: with those of `teacher_targets`.
        heatmap_weight: factor of the heatmap loss.
        box_weight: factor of the box loss.
        num_centres: [] objects, what the heatmap sum is divided by (by 1 if 0).
        teacher_weight_sum: [] what the box sum is divided by (plus 1e-4); None adds up the weights of this batch.
        static_shapes: see `losses.box_giou_sum`.

    Returns:
        "teacher_heatmap_loss" []: with probabilities p of the student and q of the teacher, the sum over all cells and classes of
        (q - p)^2 -(q log p + (1 - q) log(1 - p)). "teacher_box_loss" []: the weighted mean of 1 - GIoU.
    """
    logits, wanted = outputs["heatmap"], targets["teacher_heatmap"]
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(labels=wanted, logits=logits)
    cells = tf.square(wanted - tf.sigmoid(logits)) * entropy
    heatmap_sum = tf.cast(tf.reduce_sum(tf.cast(cells, tf.float64) if static_shapes else cells), tf.float32)
    boxes = outputs["box"], targets["teacher_box_target"], targets["teacher_box_weight"]
    box_sum, own_sum = box_giou_sum(*boxes, static_shapes=static_shapes)
    weight_sum = own_sum if teacher_weight_sum is None else teacher_weight_sum
    return {
        "teacher_heatmap_loss": heatmap_weight * heatmap_sum / tf.where(num_centres > 0, num_centres, 1.0),
        "teacher_box_loss": box_weight * box_sum / (weight_sum + 1e-4),
    }
