"""Which object each cell is assigned to, and which cells are ambiguous because several objects claim them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttfnet_tf.boxes import STRIDE
from ttfnet_tf.methods.targets import box_areas, centre_cells, paint_order, sub_areas


@dataclass(frozen=True, eq=False)
class CellAssignment:
    """The cells of one image and its N objects, in painting order: the largest object first, so that smaller ones cover it.

    Attributes:
        order: int [N], index of each object in the given boxes.
        areas: int [N, 4], sub-areas in cells as `targets.sub_areas` gives them.
        num_areas: int16 [h, w], sub-areas that each cell lies in; with one box for each class, the most of any class.
        covered: cells in any sub-area; with one box for each class, added up over classes.
        ambiguous: those of them that lie in several sub-areas.
        samples: int [N], cells that regress each object.
        centre_owner: int [N], the object (a position in this order) that the centre cell of each object regresses, -1 for none.
    """

    order: np.ndarray
    areas: np.ndarray
    num_areas: np.ndarray
    covered: int
    ambiguous: int
    samples: np.ndarray
    centre_owner: np.ndarray


def assign_cells(
    boxes: np.ndarray,
    labels: np.ndarray,
    *,
    image_size: tuple[int, int],
    beta: float = 0.54,
    area: str = "gaussian",
    kernel: str = "aspect",
    box_per_class: bool = False,
    stride: int = STRIDE,
) -> CellAssignment:
    """Assigns each cell to the smallest object whose sub-area it lies in.

    Args:
        boxes: float32 [N, 4] inclusive corners in input pixels.
        labels: int [N], classes from 0.
        image_size, beta, area, kernel, box_per_class, stride: as in `targets.paint_targets`.
    """
    height, width = image_size[0] // stride, image_size[1] // stride
    order = paint_order(box_areas(boxes), "norm")
    boxes, labels = boxes[order], labels[order]
    areas = sub_areas(boxes, beta=beta, area=area, kernel=kernel, height=height, width=width, stride=stride)
    centres = centre_cells(boxes, stride)
    groups = labels if box_per_class else np.zeros_like(labels)
    covered = ambiguous = 0
    samples, centre_owner = np.zeros(len(groups), np.int64), np.full(len(groups), -1)
    num_areas = np.zeros((height, width), np.int16)
    for group in np.unique(groups):
        of_group, owner = np.zeros((height, width), np.int16), np.full((height, width), -1)
        members = np.flatnonzero(groups == group)
        for k in members.tolist():
            top, left, bottom, right = areas[k].tolist()
            of_group[top:bottom, left:right] += 1
            owner[top:bottom, left:right] = k
        covered += np.count_nonzero(of_group)
        ambiguous += np.count_nonzero(of_group > 1)
        samples += np.bincount(owner[owner >= 0], minlength=len(groups))
        centre_owner[members] = owner[centres[members, 1], centres[members, 0]]
        num_areas = np.maximum(num_areas, of_group)
    return CellAssignment(order, areas, num_areas, covered, ambiguous, samples, centre_owner)
