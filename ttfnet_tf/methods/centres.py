"""What quality-aware targets and weights of classes change in the focal loss, all of it in the centres of objects.

Reference: quality focal loss of Li et al. 2020 (arXiv:2006.04388, equation 6) with exponent 2, in the centres alone as in Zhang et al.
2021 (arXiv:2008.13367); other cells keep the penalty-reduced loss of `losses.heatmap_focal_sum`.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from ttfnet_tf.boxes import STRIDE
from ttfnet_tf.methods.losses import CLIP


def centre_difference(
    outputs: dict[str, tf.Tensor],
    targets: dict[str, tf.Tensor],
    *,
    quality: float = 0.0,
    class_weights: Sequence[float] = (),
    static_shapes: bool = False,
) -> tf.Tensor:
    """What to add to the sum of the focal loss.

    In a centre of class c the focal loss -(1 - p)^2 log p becomes w_c (q - p)^2 -(q log p + (1 - q) log(1 - p)), with q = 1 - quality
    (1 - IoU). The IoU is that of the box predicted in this cell with the box that the cell is trained on; no gradient flows through it.
    A centre that is trained on no box has q = 1. With q = 1 and w_c = 1 the loss is that of before.

    Args:
        outputs, targets: as in `ttfnet.ttfnet_losses`.
        quality: 0..1, how much the IoU counts.
        class_weights: w of each class; empty is 1 for all.
        static_shapes: computes every cell, which XLA can compile.

    Returns:
        [] float32.
    """
    logits, weight = outputs["heatmap"], targets["box_weight"]
    box, target = (tf.reshape(maps, tf.concat([tf.shape(weight), [4]], 0)) for maps in (outputs["box"], targets["box_target"]))
    factors = tf.constant(list(class_weights) or [1.0] * logits.shape[-1], tf.float32)
    is_centre = targets["heatmap"] == 1.0
    if static_shapes:
        rows, columns = tf.range(logits.shape[1])[:, None, None], tf.range(logits.shape[2])[:, None]
        soft = _soft_target(box, target, weight, rows, columns, quality)  # [B, h, w, G]
        return tf.reduce_sum(tf.where(is_centre, _difference(logits, soft, factors), 0.0))
    cells = tf.where(is_centre)  # [n, 4] as image, row, column, class
    label = cells[:, 3]
    owner = tf.concat([cells[:, :3], (label if weight.shape[-1] > 1 else tf.zeros_like(label))[:, None]], 1)
    box, target, weight = (tf.gather_nd(maps, owner) for maps in (box, target, weight))
    soft = _soft_target(box, target, weight, cells[:, 1], cells[:, 2], quality)  # [n]
    return tf.reduce_sum(_difference(tf.gather_nd(logits, cells), soft, tf.gather(factors, label)))


def _soft_target(box, target, weight, row, column, quality):
    """[...] q of cells with distances and target corners [..., 4] and the weight [...] of their box."""
    x, y = tf.cast(column, tf.float32) * STRIDE, tf.cast(row, tf.float32) * STRIDE
    left, top, right, bottom = tf.unstack(box, axis=-1)
    iou = box_iou(tf.stack([x - left, y - top, x + right, y + bottom], axis=-1), target)
    return tf.stop_gradient(tf.where(weight > 0, 1.0 - quality * (1.0 - iou), 1.0))


def _difference(logits, soft, factor):
    """[...] the loss of a centre with target and factor, less that of the focal loss, which clips probabilities in the same way."""
    clipped = tf.clip_by_value(logits, -CLIP, CLIP)
    p, log_p, log_rest = tf.sigmoid(clipped), -tf.nn.softplus(-clipped), -tf.nn.softplus(clipped)
    entropy = -(soft * log_p + (1.0 - soft) * log_rest)
    return factor * tf.square(soft - p) * entropy + tf.square(1.0 - p) * log_p


def box_iou(first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """[...] intersection over union of boxes [..., 4] with inclusive corners x1, y1, x2, y2 in order."""
    common = tf.minimum(first[..., 2:], second[..., 2:]) - tf.maximum(first[..., :2], second[..., :2]) + 1.0
    areas = [tf.reduce_prod(boxes[..., 2:] - boxes[..., :2] + 1.0, axis=-1) for boxes in (first, second)]
    intersection = tf.reduce_prod(tf.maximum(common, 0.0), axis=-1)
    return intersection / (areas[0] + areas[1] - intersection)
