"""Training targets of a batch drawn with TensorFlow operations: the maps of `targets.paint_targets`, in tf.data or on the device.

The boxes of an image take 2.5 KB, its maps 6.6 MB at 512 pixels and 80 classes: maps that are drawn where they are used need not be moved.
Shapes are static, and there is no loop over boxes. Whatever is rounded (radii, centres, sub-rectangles) is computed by the float32
operations of the NumPy form in the same order, so that both round alike; kernels are float64 until their last step.
"""

from __future__ import annotations

import functools

import tensorflow as tf

from ttfnet_tf.boxes import STRIDE
from ttfnet_tf.methods.targets import check_settings, cornernet_radii

TILE = 64  # boxes of an image whose maps are in memory at a time


def render_targets(
    boxes: tf.Tensor,
    labels: tf.Tensor,
    *,
    image_size: tuple[int, int],
    num_classes: int,
    alpha: float = 0.54,
    beta: float = 0.54,
    area: str = "gaussian",
    weight: str = "log",
    kernel: str = "aspect",
    box_per_class: bool = False,
) -> dict[str, tf.Tensor]:
    """Draws the heatmaps and the regression targets of a batch.

    Needs memory for about two float32 maps [B, min(M, TILE), h, w] besides the result; M may be 1,000 and more.

    Args:
        boxes: float32 [B, M, 4] inclusive corners x1, y1, x2, y2 in input pixels.
        labels: int [B, M] classes from 0; rows with a negative label are padding, whatever their box.
        image_size, num_classes, alpha, beta, area, weight, kernel, box_per_class: as in `targets.paint_targets`.

    Returns:
        "heatmap": float32 [B, h, w, C], "box_target": float32 [B, h, w, 4 G], "box_weight": float32 [B, h, w, G].

    Raises:
        ValueError: an unknown `area`, `weight` or `kernel`, or arguments of other ranks, at trace time.
    """
    check_settings(area, weight, kernel)
    if boxes.shape.rank != 3 or boxes.shape[-1] != 4 or labels.shape.rank != 2:
        raise ValueError(f"boxes must be [B, M, 4] and labels [B, M], received {boxes.shape} and {labels.shape}")
    height, width = image_size[0] // STRIDE, image_size[1] // STRIDE
    boxes, labels = tf.cast(boxes, tf.float32), tf.cast(labels, tf.int32)
    boxes, labels, totals = _in_paint_order(boxes, labels, weight)

    centres = tf.cast((boxes[..., :2] + boxes[..., 2:]) / 2.0 / float(STRIDE), tf.int32)  # [B, M, 2] x, y; truncated toward 0
    on_map = tf.clip_by_value(boxes / float(STRIDE), 0.0, tf.constant([width - 1, height - 1] * 2, tf.float32))
    sides = on_map[..., 2:] - on_map[..., :2]  # [B, M, 2] x, y
    heat_radii = _kernel_radii(sides, alpha, kernel, height, width)
    columns, rows = _profiles(centres[..., 0], heat_radii[..., 0], width), _profiles(centres[..., 1], heat_radii[..., 1], height)
    heatmap = _max_by_group(rows, columns, labels, num_classes)

    if area == "gaussian":
        if alpha != beta:
            box_radii = _kernel_radii(sides, beta, kernel, height, width)
            columns, rows = _profiles(centres[..., 0], box_radii[..., 0], width), _profiles(centres[..., 1], box_radii[..., 1], height)
    else:
        left, right, top, bottom = _sub_rectangles(boxes, beta, height, width)
        columns, rows = _ranges(left, right, width), _ranges(top, bottom, height)
    return {"heatmap": heatmap, **_smallest_box(boxes, labels, totals, rows, columns, num_classes if box_per_class else 1)}


def sample_counts(
    boxes: tf.Tensor,
    labels: tf.Tensor,
    maps: dict[str, tf.Tensor],
    *,
    image_size: tuple[int, int],
    num_classes: int,
    beta: float = 0.54,
    area: str = "gaussian",
    kernel: str = "aspect",
    box_per_class: bool = False,
    **_,
) -> dict[str, tf.Tensor]:
    """Counts of the training samples of a batch, as sums that can be added over replicas.

    Args:
        boxes, labels: as in `render_targets`.
        maps: what that returned for them.
        image_size, num_classes, beta, area, kernel, box_per_class: as there; its other keywords do not matter here.

    Returns:
        float32 [] each. "images": B. "regression_samples": cells with a positive weight. "ambiguous": sum over images of the fraction,
        0..1, of the cells in any sub-area that lie in several; "images_with_cells": number of its terms. Their quotient is
        `inspect.target_stats.TargetStatistics.ambiguous` of the batch.
    """
    height, width = image_size[0] // STRIDE, image_size[1] // STRIDE
    boxes = tf.cast(boxes, tf.float32)
    if area == "gaussian":
        centres = tf.cast((boxes[..., :2] + boxes[..., 2:]) / 2.0 / float(STRIDE), tf.int32)
        on_map = tf.clip_by_value(boxes / float(STRIDE), 0.0, tf.constant([width - 1, height - 1] * 2, tf.float32))
        radii = _kernel_radii(on_map[..., 2:] - on_map[..., :2], beta, kernel, height, width)
        left, top = tf.unstack(centres - radii, axis=-1)
        right, bottom = tf.unstack(centres + radii + 1, axis=-1)
    else:
        left, right, top, bottom = _sub_rectangles(boxes, beta, height, width)
    columns, rows = (tf.cast(m, tf.float32) for m in (_ranges(left, right, width), _ranges(top, bottom, height)))
    rows *= tf.cast(labels >= 0, tf.float32)[..., None]
    if box_per_class:
        start = tf.zeros([tf.shape(boxes)[0], height, width, num_classes])
        times = _over_tiles(functools.partial(_boxes_of_class, num_classes), tf.add, start, (labels, rows, columns), labels)
    else:
        times = tf.einsum("bmh,bmw->bhw", rows, columns)
    within = list(range(1, times.shape.rank))
    covered, shared = (tf.reduce_sum(tf.cast(times > bound, tf.float32), axis=within) for bound in (0.5, 1.5))
    return {
        "images": tf.cast(tf.shape(boxes)[0], tf.float32),
        "regression_samples": tf.reduce_sum(tf.cast(maps["box_weight"] > 0, tf.float32)),
        "ambiguous": tf.reduce_sum(tf.math.divide_no_nan(shared, covered)),
        "images_with_cells": tf.reduce_sum(tf.cast(covered > 0, tf.float32)),
    }


def _boxes_of_class(num_classes, labels, rows, columns):
    """[B, M] labels and [B, M, h] x [B, M, w] covered cells -> [B, h, w, C] how many boxes of each class cover a cell."""
    return tf.einsum("bmc,bmh,bmw->bhwc", tf.one_hot(labels, num_classes), rows, columns)


def _in_paint_order(boxes, labels, weight):
    """Largest first, equal ones in the order given, as `targets.paint_order`; also the sums [B, M] of their weights, None for "equal"."""
    areas = (boxes[..., 2] - boxes[..., 0] + 1.0) * (boxes[..., 3] - boxes[..., 1] + 1.0)
    key = tf.where(areas < 0, float("inf"), areas) if weight in ("sqrt", "log") else areas
    order = tf.argsort(key, axis=-1, direction="DESCENDING", stable=True)
    boxes, labels, areas = (tf.gather(values, order, batch_dims=1) for values in (boxes, labels, areas))
    sums = {"none": tf.identity, "norm": tf.ones_like, "sqrt": tf.sqrt, "log": tf.math.log, "equal": lambda _: None}
    totals = sums[weight](areas)
    return boxes, labels, totals


def _kernel_radii(sides, size, kernel, height, width):
    """[B, M, 2] sides x, y on the map -> int [B, M, 2] radii as `targets.kernel_radii`."""
    if kernel == "aspect":
        return tf.cast(sides / 2.0 * size, tf.int32)
    cells = tf.cast(tf.maximum(tf.math.ceil(sides), 0.0), tf.int32)
    radii = tf.gather(tf.constant(cornernet_radii(height, width, size).ravel()), cells[..., 1] * width + cells[..., 0])
    return tf.stack([radii, radii], axis=-1)


def _profiles(centre, radius, length):
    """[B, M] int centres and radii -> float64 [B, M, length] one-dimensional kernels, 0 beyond the radius."""
    offset = tf.range(length) - centre[..., None]
    sigma = tf.cast(2 * radius + 1, tf.float64)[..., None] / 6.0
    values = tf.exp(-tf.square(tf.cast(offset, tf.float64)) / (2.0 * tf.square(sigma)))
    return tf.where(tf.abs(offset) <= radius[..., None], values, 0.0)


def _ranges(start, stop, length):
    """[B, M] int half-open ranges -> float64 [B, M, length], 1 inside."""
    cell = tf.range(length)
    return tf.cast((cell >= start[..., None]) & (cell < stop[..., None]), tf.float64)


def _sub_rectangles(boxes, beta, height, width):
    """[B, M, 4] boxes -> left, right, top, bottom [B, M] as in `targets.sub_rectangles`."""
    ratio = (1 - beta) / 2
    first, last = (
        tf.cast(tf.round(tf.round(a * boxes[..., :2] + b * boxes[..., 2:]) / float(STRIDE)), tf.int32)
        for a, b in ((1 - ratio, ratio), (ratio, 1 - ratio))
    )
    size = tf.constant([width, height])
    start, stop = tf.minimum(first, size - 1), tf.minimum(last, size - 1) + 1
    start, stop = (tf.where(bound < 0, tf.maximum(bound + size, 0), bound) for bound in (start, stop))
    return start[..., 0], stop[..., 0], start[..., 1], stop[..., 1]


def _max_by_group(rows, columns, groups, num_groups):
    """Separable maps [B, M, h] x [B, M, w] and the group [B, M] of each -> [B, h, w, num_groups] the largest value, 0 without one.

    Rows with a negative group are skipped.
    """
    batch = tf.shape(rows)[0]

    def largest_of(rows, columns, groups):
        tile, height, width = tf.shape(rows)[1], tf.shape(rows)[2], tf.shape(columns)[2]
        maps = tf.cast(rows, tf.float32)[..., :, None] * tf.cast(columns, tf.float32)[..., None, :]  # [B, T, h, w]
        segments = tf.where(groups >= 0, groups + tf.range(batch)[:, None] * num_groups, -1)
        maps = tf.reshape(maps, [batch * tile, height, width])
        largest = tf.math.unsorted_segment_max(maps, tf.reshape(segments, [-1]), batch * num_groups)
        # A group without boxes holds the lowest float.
        return tf.maximum(tf.reshape(largest, [batch, num_groups, height, width]), 0.0)

    start = tf.zeros([batch, num_groups, tf.shape(rows)[2], tf.shape(columns)[2]])
    return tf.transpose(_over_tiles(largest_of, tf.maximum, start, (rows, columns, groups), groups), [0, 2, 3, 1])


def _over_tiles(function, combine, start, values, groups):
    """`function` of all boxes, in tiles of `TILE`: the memory that it needs does not grow with the boxes of the fullest image.

    Tiles behind the last box of the batch, which hold padding alone, are not computed.

    Args:
        function: some of `values` along axis 1 -> tensor.
        combine: (tensor so far, tensor of a tile) -> tensor.
        start: what `combine` begins with.
        values: tensors [B, M, ...]; padding of a tile is 0, of `groups` -1.
        groups: [B, M], negative in rows of padding.
    """
    num_boxes = groups.shape[1]
    if num_boxes is not None and num_boxes <= TILE:
        return combine(start, function(*values))
    spare = -tf.shape(groups)[1] % TILE
    tiles = []
    for value in values:
        padded = tf.pad(value, [[0, 0], [0, spare]] + [[0, 0]] * (value.shape.rank - 2), constant_values=-1 if value is groups else 0)
        tiles.append(tf.reshape(padded, tf.concat([[tf.shape(value)[0], -1, TILE], tf.shape(value)[2:]], 0)))
    used = tf.reduce_max(tf.where(groups >= 0, tf.range(1, tf.shape(groups)[1] + 1), 0))

    def add_tile(number, so_far):
        return number + 1, combine(so_far, function(*(tf.gather(value, number, axis=1) for value in tiles)))

    return tf.while_loop(lambda number, _: number * TILE < used, add_tile, (tf.constant(0), start), parallel_iterations=1)[1]


def _smallest_box(boxes, labels, totals, rows, columns, num_groups):
    """Corners and weight, in each cell and group, of the box painted last there.

    Args:
        boxes, labels, totals: [B, M, 4], [B, M], [B, M] in paint order; totals None takes the kernels as they are.
        rows, columns: float64 [B, M, h] and [B, M, w]; their product is the box's kernel, 0 in cells that it does not cover.
    """
    batch, num_boxes, height = tf.unstack(tf.shape(rows))
    width = tf.shape(columns)[2]
    kernel_sums = tf.reduce_sum(rows, -1) * tf.reduce_sum(columns, -1)  # [B, M]
    scale = tf.ones_like(labels, tf.float32) if totals is None else tf.cast(tf.cast(totals, tf.float64) / kernel_sums, tf.float32)
    rank = tf.range(1, num_boxes + 1)[:, None]  # the last painted is the highest; float32 holds it exactly
    groups = tf.where(labels >= 0, labels if num_groups > 1 else 0, -1)
    covered = tf.where(rows > 0, tf.cast(rank, tf.float32), 0.0), tf.where(columns > 0, 1.0, 0.0)
    owner = tf.cast(_max_by_group(*covered, groups, num_groups), tf.int32)  # [B, h, w, G]; 0 is no box, 1 the first one

    def of_owner(values, fill):
        """[B, M, ...] -> flat [B (M + 1), ...] whose row 0 of each image is for cells without a box."""
        padded = tf.pad(values, [[0, 0], [1, 0]] + [[0, 0]] * (values.shape.rank - 2), constant_values=fill)
        return tf.reshape(padded, tf.concat([[-1], tf.shape(values)[2:]], 0))

    row = owner + (tf.range(batch) * (num_boxes + 1))[:, None, None, None]
    box_target = tf.gather(of_owner(boxes, -1.0), row)  # [B, h, w, G, 4]
    row_kernel = tf.gather(tf.reshape(of_owner(tf.cast(rows, tf.float32), 0.0), [-1]), row * height + tf.range(height)[:, None, None])
    column_kernel = tf.gather(tf.reshape(of_owner(tf.cast(columns, tf.float32), 0.0), [-1]), row * width + tf.range(width)[:, None])
    return {
        "box_target": tf.reshape(box_target, [batch, height, width, 4 * num_groups]),
        "box_weight": row_kernel * column_kernel * tf.gather(tf.reshape(of_owner(scale, 0.0), [-1]), row),
    }
