"""Training targets of one image, in NumPy: the definition. `targets_tf` draws the same maps with TensorFlow operations.

Cells are those of the stride-4 map. Boxes are painted from the largest to the smallest, so that a small object in front of a large one
keeps its cells. Equations and their oddities are those of the official implementation (ZJULearning/ttfnet 700ad90,
`ttf_head.py`: `target_single_image`, `draw_truncate_gaussian`, `calc_region`); decisions that round are taken in float32 as there.
What the official code cannot do (kernel "cornernet", weight "equal") is explained in docs/targets.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np

from ttfnet_tf.boxes import STRIDE

Paint = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]  # boxes [N, 4], labels [N] -> targets of one image
CORNERNET_SIZE = 0.54  # the size at which the square kernel is CornerNet's own
CORNERNET_OVERLAP = 0.7  # its min_overlap


def paint_targets(
    boxes: np.ndarray,
    labels: np.ndarray,
    *,
    image_size: tuple[int, int],
    num_classes: int,
    alpha: float = 0.54,
    beta: float = 0.54,
    area: str = "gaussian",
    weight: str = "log",
    kernel: str = "aspect",
    box_per_class: bool = False,
    stride: int = STRIDE,
) -> dict[str, np.ndarray]:
    """Draws the heatmap and the regression targets of one image.

    Args:
        boxes: [N, 4] inclusive corners x1, y1, x2, y2 in input pixels; they may reach beyond the image.
        labels: [N] classes from 0; rows with a negative label are padding.
        image_size: height and width of the input in pixels. The maps have h = height // stride rows and w = width // stride columns.
        num_classes: C, channels of the heatmap.
        alpha: size of the heatmap kernel relative to the box.
        beta: size of the area that regresses the box, relative to the box.
        area: "gaussian": that area is the support of a kernel, which also weighs its cells; "rectangle": all its cells weigh the same.
        weight: sum of the weights of one box, with a = (x2 - x1 + 1) (y2 - y1 + 1): "none" a, "norm" 1, "sqrt" or "log" of a;
            "equal" has no fixed sum: a cell weighs 1 in a rectangle, and its kernel value in a gaussian area.
        kernel: "aspect": kernels have the ratio of their box; "cornernet": square, with CornerNet's radius times alpha / 0.54 (beta / 0.54
            for a gaussian area). Rectangles follow the box with either.
        box_per_class: one box target for each class (G = C groups) instead of one for each cell (G = 1).
        stride: input pixels per cell. The network's is 4; `inspect.target_stats` measures others.

    Returns:
        "heatmap": float32 [h, w, C] in [0, 1], exactly 1 at the centre of an object.
        "box_target": float32 [h, w, 4 G] corners in input pixels, channel 4 g + k; -1 in cells that no object owns.
        "box_weight": float32 [h, w, G], 0 in cells that no object owns. A box of one pixel has weight log(1) = 0, and one with
            x2 < x1 may get a negative or NaN weight, as in the reference; see `losses.box_giou_sum`.

    Raises:
        ValueError: an unknown `area`, `weight` or `kernel`, arrays of other shapes, or a label beyond the classes.

    Reference: TTFNet (arXiv:1909.00700) equations 1, 5, 6 and section 4.3; differences are in docs/deviations.md.
    """
    check_settings(area, weight, kernel)
    boxes, labels = _objects(boxes, labels, num_classes)
    height, width = image_size[0] // stride, image_size[1] // stride
    groups = num_classes if box_per_class else 1
    boxes, labels, totals = _in_paint_order(boxes, labels, weight)
    kernels = _kernels(boxes, alpha, kernel, height, width, stride)
    if area == "rectangle":
        cells = _rectangles(boxes, beta, height, width, stride)
    else:
        cells = kernels if beta == alpha else _kernels(boxes, beta, kernel, height, width, stride)
    maps = {
        "heatmap": np.zeros((height, width, num_classes), np.float32),
        "box_target": np.full((height, width, 4 * groups), -1, np.float32),
        "box_weight": np.zeros((height, width, groups), np.float32),
    }
    _paint_heatmap(maps["heatmap"], labels, kernels)
    _paint_boxes(maps["box_target"], maps["box_weight"], boxes, labels if box_per_class else np.zeros_like(labels), cells, totals)
    return maps


def check_settings(area: str, weight: str, kernel: str = "aspect") -> None:
    """Raises ValueError unless all name a known form."""
    if area not in ("gaussian", "rectangle"):
        raise ValueError(f"area must be gaussian or rectangle, received {area!r}")
    if weight not in ("none", "norm", "sqrt", "log", "equal"):
        raise ValueError(f"weight must be none, norm, sqrt, log or equal, received {weight!r}")
    if kernel not in ("aspect", "cornernet"):
        raise ValueError(f"kernel must be aspect or cornernet, received {kernel!r}")


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """[N, 4] inclusive corners -> [N] areas in pixels, float32."""
    return (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)


def paint_order(areas: np.ndarray, weight: str) -> np.ndarray:
    """[N] indices: largest first, equal ones in the order given.

    The reference sorts by the weight of a box with `torch.topk`, whose order of ties is undefined; here the area itself is the key.
    Negative areas have a NaN for logarithm and root, and `torch.topk` takes NaN for the largest number.
    """
    if weight in ("sqrt", "log"):
        areas = np.where(areas < 0, np.float32(np.inf), areas)
    return np.argsort(-areas, kind="stable")


def area_weights(areas: np.ndarray, weight: str) -> np.ndarray:
    """[N] sums of the weights that boxes of these areas get: a, 1, sqrt(a) or log(a), as `weight` says; "equal" has no such sum."""
    with np.errstate(divide="ignore", invalid="ignore"):
        if weight == "log":
            return np.log(areas)
        if weight == "sqrt":
            return np.sqrt(areas)
    return areas if weight == "none" else np.ones_like(areas)


def centre_cells(boxes: np.ndarray, stride: int = STRIDE) -> np.ndarray:
    """[N, 4] boxes in input pixels -> [N, 2] int column and row of their centres: truncated toward 0, never clamped to the map."""
    return ((boxes[:, :2] + boxes[:, 2:]) / 2 / stride).astype(np.int32)


def kernel_radii(boxes: np.ndarray, size: float, kernel: str, height: int, width: int, stride: int = STRIDE) -> np.ndarray:
    """Radii of the kernels of boxes, truncated, so that 0 (one cell) is possible.

    Args:
        boxes: float32 [N, 4] corners in input pixels; the radii are of what lies on the map.
        size: relative to the box, `alpha` or `beta`.
        kernel: "aspect" or "cornernet", see `paint_targets`.
        height, width: of the map in cells.
        stride: input pixels per cell.

    Returns:
        int32 [N, 2] cells along x and y.
    """
    on_map = np.clip(boxes / stride, 0, np.array([width - 1, height - 1] * 2, np.float32))
    sides = on_map[:, 2:] - on_map[:, :2]
    if kernel == "aspect":
        return (sides / 2 * np.float32(size)).astype(np.int32)
    columns, rows = np.maximum(np.ceil(sides), 0).astype(np.int32).T
    radii = cornernet_radii(height, width, size)[rows, columns]
    return np.stack([radii, radii], axis=1)


@functools.lru_cache(maxsize=64)
def cornernet_radii(height: int, width: int, size: float = CORNERNET_SIZE) -> np.ndarray:
    """CornerNet's kernel radius for boxes of every size, as a table, so that no back-end can round another way.

    The formula is the one that CenterNet was trained with (xingyizhou/CenterNet a5a0483, `src/lib/utils/image.py`): the smallest of
    three roots, none of which is divided by its 2 a. So the third is always the smallest; half of it is what CornerNet later meant.

    Args:
        height, width: of the map in cells; no box on it is larger.
        size: 0.54 for CornerNet's own radius; the radius grows in proportion.

    Returns:
        int32 [height, width]: entry (i, j) is for a box i cells high and j cells wide, both rounded up.
    """
    rows, columns = np.arange(height, dtype=np.float64)[:, None], np.arange(width, dtype=np.float64)
    a = 4 * CORNERNET_OVERLAP
    b = -2 * CORNERNET_OVERLAP * (rows + columns)
    c = (CORNERNET_OVERLAP - 1) * columns * rows
    table = ((b + np.sqrt(b**2 - 4 * a * c)) / 2 * (size / CORNERNET_SIZE)).astype(np.int32)
    table.flags.writeable = False
    return table


def sub_areas(boxes: np.ndarray, *, beta: float, area: str, kernel: str, height: int, width: int, stride: int = STRIDE) -> np.ndarray:
    """The cells that regress each box; arguments as in `paint_targets` and `kernel_radii`.

    Returns:
        [N, 4] int (top, left, bottom, right) half-open ranges of cells; empty where the kernel misses the map.
    """
    if area == "rectangle":
        return sub_rectangles(boxes, beta, height, width, stride)
    centres, radii = centre_cells(boxes, stride), kernel_radii(boxes, beta, kernel, height, width, stride)
    start, stop = np.maximum(centres - radii, 0), np.minimum(centres + radii + 1, np.array([width, height], np.int32))
    return np.stack([start[:, 1], start[:, 0], stop[:, 1], stop[:, 0]], axis=1)


def sub_rectangles(boxes: np.ndarray, beta: float, height: int, width: int, stride: int = STRIDE) -> np.ndarray:
    """[N, 4] boxes -> [N, 4] int (top, left, bottom, right) half-open ranges of the cells in the middle `beta` of each box.

    Rounded half to even twice, first in pixels and then in cells, and limited above only, as the reference does. A negative bound
    counts from the far end, as a Python slice does; boxes inside the image have none.
    """
    ratio, rest = np.float32((1 - beta) / 2), np.float32(1 - (1 - beta) / 2)
    first = np.round(np.round(rest * boxes[:, :2] + ratio * boxes[:, 2:]) / stride).astype(np.int32)  # x, y
    last = np.round(np.round(ratio * boxes[:, :2] + rest * boxes[:, 2:]) / stride).astype(np.int32)
    size = np.array([width, height], np.int32)
    start, stop = np.minimum(first, size - 1), np.minimum(last, size - 1) + 1
    start = np.where(start < 0, np.maximum(start + size, 0), start)
    stop = np.where(stop < 0, np.maximum(stop + size, 0), stop)
    return np.stack([start[:, 1], start[:, 0], stop[:, 1], stop[:, 0]], axis=1)


def _objects(boxes, labels, num_classes):
    """The boxes that are no padding, float32, and their labels."""
    boxes, labels = np.asarray(boxes, np.float32), np.asarray(labels)
    if boxes.ndim != 2 or boxes.shape[1] != 4 or labels.shape != boxes.shape[:1]:
        raise ValueError(f"boxes must be [N, 4] and labels [N], received {boxes.shape} and {labels.shape}")
    if labels.size and labels.max() >= num_classes:
        raise ValueError(f"label {labels.max()} is beyond the {num_classes} classes")
    return boxes[labels >= 0], labels[labels >= 0]


def _in_paint_order(boxes, labels, weight):
    """Largest first; also the sums [N] of their weights, None for "equal"."""
    areas = box_areas(boxes)
    order = paint_order(areas, weight)
    return boxes[order], labels[order], None if weight == "equal" else area_weights(areas[order], weight)


def _paint_heatmap(heatmap, labels, kernels):
    """Raises `heatmap` [h, w, C] to the kernel of each object, in the channel of its class."""
    for label, (values, rows, columns) in zip(labels.tolist(), kernels):
        if values is not None:
            cells = heatmap[rows, columns, label]
            np.maximum(cells, values, out=cells)


def _paint_boxes(box_target, box_weight, boxes, groups, cells, totals):
    """Writes each box, and its weights, into its cells; later boxes replace earlier ones.

    Args:
        box_target, box_weight: [h, w, 4 G] and [h, w, G], changed in place.
        boxes, groups: [N, 4] and [N].
        cells: for each box its weights before scaling, their rows and columns; None for a box without cells.
        totals: [N] sums to scale the weights to; None leaves them.
    """
    scaled = totals is not None
    for box, group, total, (values, rows, columns) in zip(boxes, groups.tolist(), totals.tolist() if scaled else boxes, cells):
        if values is not None:
            box_target[rows, columns, 4 * group : 4 * group + 4] = box
            box_weight[rows, columns, group] = values * np.float32(total / values.sum(dtype=np.float64)) if scaled else values


def _kernels(boxes, size, kernel, height, width, stride):
    """For each box the part of its kernel that lies on the map, see `_kernel_on_map`."""
    centres, radii = centre_cells(boxes, stride).tolist(), kernel_radii(boxes, size, kernel, height, width, stride).tolist()
    return [_kernel_on_map(centre, radius, height, width) for centre, radius in zip(centres, radii)]


def _rectangles(boxes, beta, height, width, stride):
    """For each box ones in the cells of its sub-rectangle, with their row and column slices; None three times where it is empty."""
    found = []
    for top, left, bottom, right in sub_rectangles(boxes, beta, height, width, stride).tolist():
        size = (max(bottom - top, 0), max(right - left, 0))
        ones = np.broadcast_to(np.float32(1), size)
        found.append((ones, slice(top, bottom), slice(left, right)) if ones.size else (None, None, None))
    return found


def _kernel_on_map(centre, radius, height, width):
    """The part of a kernel that lies on the map, and its row and column slices; (None, None, None) if there is none."""
    (x, y), (radius_x, radius_y) = centre, radius
    top, bottom = max(y - radius_y, 0), min(y + radius_y + 1, height)
    left, right = max(x - radius_x, 0), min(x + radius_x + 1, width)
    if top >= bottom or left >= right:
        return None, None, None
    kernel = _kernel(radius_x, radius_y)
    if kernel.shape != (bottom - top, right - left):
        kernel = kernel[top - y + radius_y : bottom - y + radius_y, left - x + radius_x : right - x + radius_x]
    return kernel, slice(top, bottom), slice(left, right)


def _kernel(radius_x, radius_y):
    """[2 radius_y + 1, 2 radius_x + 1] Gaussian with sigma = side / 6, computed in float64; 1 in the middle, never 0."""
    return np.multiply.outer(_profile(radius_y), _profile(radius_x)).astype(np.float32)


@functools.lru_cache(maxsize=4096)
def _profile(radius):
    offsets, sigma = np.arange(-radius, radius + 1, dtype=np.float64), (2 * radius + 1) / 6
    return np.exp(-(offsets**2) / (2 * sigma**2))
