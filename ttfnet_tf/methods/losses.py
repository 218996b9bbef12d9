"""Penalty-reduced focal loss of the heatmap, and weighted GIoU loss of boxes.

Both are sums, returned with the number to divide them by, so that the caller chooses what to average over: the batch of one replica, as
the official code does on each GPU, or the global batch, which makes N replicas give the update of one. All arguments and results are
float32; the caller casts. The gradients are written by hand, which halves their cost and defines them where probabilities are clipped or
corners are equal.

Reference: ZJULearning/ttfnet 700ad90, `focal_loss.py` (`ct_focal_loss`), `iou_loss.py` (`giou_loss`), `ttf_head.py` (`loss_calc`).
"""

from __future__ import annotations

import math

import tensorflow as tf

from ttfnet_tf.boxes import STRIDE

CLIP = math.log((1 - 1e-4) / 1e-4)  # the logit of the largest probability; the reference clips those to [1e-4, 1 - 1e-4]


def normalizers(targets: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """The counts that losses are divided by; summed over replicas they are those of the global batch.

    Returns:
        "num_centres": [] cells of the heatmap that are exactly 1 (fewer than boxes where two of a class share a cell).
        "weight_sum": [] sum of all box weights, negative ones included.
    """
    return {"num_centres": _count_centres(targets["heatmap"]), "weight_sum": tf.reduce_sum(targets["box_weight"])}


def heatmap_focal_sum(logits: tf.Tensor, heatmap: tf.Tensor, *, sum_in_float64: bool = False) -> tuple[tf.Tensor, tf.Tensor]:
    """Penalty-reduced focal loss (Objects as Points, arXiv:1904.07850, equation 1; exponents 2 and 4), summed.

    Computed from logits: log(p) of the reference is exact for every clipped probability, also in float32.

    Args:
        logits: [B, h, w, C] scores before the sigmoid. Where the probability lies outside [1e-4, 1 - 1e-4] the gradient is 0.
        heatmap: [B, h, w, C] targets in [0, 1]; exactly 1 marks the centre of an object.
        sum_in_float64: for XLA, which adds the cells up one after the other on a CPU; in float32 that loses 1e-4 of a sum of 260,000.

    Returns:
        [] the sum over all cells, and [] the number of centres.

    Raises:
        ValueError: if the two shapes differ, at trace time.
    """
    if not logits.shape.is_compatible_with(heatmap.shape):
        raise ValueError(f"logits {logits.shape} and heatmap {heatmap.shape} must have one shape")

    @tf.custom_gradient
    def focal_sum(logits):
        # -log(p) (1 - p)^2 of a centre is -log(1 - p) p^2 with the sign of the logit turned, so one formula serves both.
        # On a CPU every operation is a pass over the whole map; exp and log1p of a clipped number replace sigmoid and softplus.
        is_centre = heatmap == 1.0
        sign = tf.where(is_centre, -1.0, 1.0)
        signed = sign * logits
        clipped = tf.clip_by_value(signed, -CLIP, CLIP)
        odds = tf.exp(clipped)  # p / (1 - p)
        nats = tf.math.log1p(odds)  # -log(1 - p)
        rest = 1.0 / (1.0 + odds)  # 1 - p
        root = tf.square(1.0 - heatmap) + tf.cast(is_centre, tf.float32)  # of the weight (1 - y)^4, which is 1 in a centre
        scale = tf.square(root * odds * rest)

        def gradient(upstream):
            slope = upstream * sign * scale * rest * (odds + 2.0 * nats)
            return tf.where(clipped == signed, slope, tf.zeros_like(slope))

        cells = scale * nats
        return tf.cast(tf.reduce_sum(tf.cast(cells, tf.float64) if sum_in_float64 else cells), tf.float32), gradient

    return focal_sum(logits), _count_centres(heatmap)


def box_giou_sum(
    box: tf.Tensor, box_target: tf.Tensor, box_weight: tf.Tensor, *, static_shapes: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Weighted GIoU loss of all cells that own a box, summed.

    Args:
        box: [B, h, w, 4 G] distances from the cell's point (4 column, 4 row) to the left, top, right and bottom side, input pixels.
        box_target: [B, h, w, 4 G] corners x1, y1, x2, y2, input pixels; group g has channels 4 g to 4 g + 3.
        box_weight: [B, h, w, G]; cells without a positive weight, or with NaN, are not in the sum.
        static_shapes: computes every cell and adds 0 for those without a box, which XLA can compile.

    Returns:
        [] the sum of weight (1 - GIoU), and [] the sum of all weights, negative ones included.

    Raises:
        ValueError: if the shapes do not fit, at trace time.
    """
    groups = box_weight.shape[-1]
    if not box.shape.is_compatible_with(box_target.shape) or box.shape[-1] != 4 * groups:
        raise ValueError(f"box {box.shape} and box_target {box_target.shape} must be [B, h, w, 4 G] for box_weight {box_weight.shape}")
    grouped = tf.concat([tf.shape(box_weight), [4]], 0)
    cells = _every_cell if static_shapes else _owned_cells
    distances, target, point, weight = cells(tf.reshape(box, grouped), tf.reshape(box_target, grouped), box_weight)
    predicted = tf.concat([point - distances[..., :2], point + distances[..., 2:]], axis=-1)
    return tf.reduce_sum(weight * giou_loss(predicted, target)), tf.reduce_sum(box_weight)


def _owned_cells(box, box_target, box_weight):
    """Distances [n, 4], target [n, 4], point x, y [n, 2] and weight [n] of the n cells and groups with a box."""
    # Few cells own a box, so looking at those alone costs a fifth, and with one box for each class it is what fits in memory.
    owned = tf.where(box_weight > 0)  # [n, 4] as image, row, column, group
    point = tf.cast(owned[:, 2:0:-1], tf.float32) * STRIDE
    return tf.gather_nd(box, owned), tf.gather_nd(box_target, owned), point, tf.gather_nd(box_weight, owned)


def _every_cell(box, box_target, box_weight):
    """As `_owned_cells` with [B, h, w, G] for n; in a cell without a box, weight 0 and twice the same box of one pixel."""
    is_owned = box_weight > 0
    columns, rows = tf.meshgrid(tf.range(box.shape[2]), tf.range(box.shape[1]))
    point = tf.cast(tf.stack([columns, rows], axis=-1), tf.float32)[:, :, None, :] * STRIDE  # [h, w, 1, 2]
    point = tf.broadcast_to(point, tf.concat([tf.shape(box_weight), [2]], 0))
    distances = tf.where(is_owned[..., None], box, 0.0)
    target = tf.where(is_owned[..., None], box_target, tf.concat([point, point], axis=-1))
    return distances, target, point, tf.where(is_owned, box_weight, 0.0)


@tf.custom_gradient
def giou_loss(predicted: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """1 - GIoU of boxes with inclusive corners: every width and height is a difference plus 1 (arXiv:1902.09630, algorithm 1).

    Where a corner of both boxes is the same, half the gradient flows, as in PyTorch's max and min; none reaches `target`.

    Args:
        predicted: [..., 4] corners x1, y1, x2, y2.
        target: [..., 4] likewise.

    Returns:
        [...] in [0, 2] for boxes whose corners are in order.
    """
    near, far = predicted[..., :2], predicted[..., 2:]  # [..., 2] as x, y
    target_near, target_far = target[..., :2], target[..., 2:]
    side, target_side = far - near + 1.0, target_far - target_near + 1.0
    common = tf.minimum(far, target_far) - tf.maximum(near, target_near) + 1.0
    hull = tf.maximum(far, target_far) - tf.minimum(near, target_near) + 1.0
    common_side, hull_side = tf.maximum(common, 0.0), tf.maximum(hull, 0.0)
    intersection = _product(common_side)
    union = _product(side) + _product(target_side) - intersection
    hull_area = _product(hull_side)
    loss = 2.0 - intersection / union - union / hull_area

    def gradient(upstream):
        by_area = intersection / tf.square(union) - 1.0 / hull_area  # d loss / d area of the predicted box
        by_intersection = -1.0 / union - by_area
        by_hull = union / tf.square(hull_area)
        own = _scaled_other_side(by_area * upstream, side)
        shared = _scaled_other_side(by_intersection * upstream, common_side) * tf.cast(common >= 0, tf.float32)
        outer = _scaled_other_side(by_hull * upstream, hull_side) * tf.cast(hull >= 0, tf.float32)
        # A predicted corner moves the common box where it lies inside the target, else the hull; sign is 0 where both are equal.
        far_inside, near_inside = 0.5 * (1.0 + tf.sign(target_far - far)), 0.5 * (1.0 + tf.sign(near - target_near))
        by_far = own + shared * far_inside + outer * (1.0 - far_inside)
        by_near = own + shared * near_inside + outer * (1.0 - near_inside)
        return tf.concat([-by_near, by_far], axis=-1), None

    return loss, gradient


def _count_centres(heatmap):
    return tf.reduce_sum(tf.cast(heatmap == 1.0, tf.float32))


def _product(sides):
    """[..., 2] -> [...] width times height."""
    return sides[..., 0] * sides[..., 1]


def _scaled_other_side(scale, sides):
    """[...] and [..., 2] width, height -> [..., 2]: the derivative of scale * width * height."""
    return scale[..., None] * sides[..., ::-1]
