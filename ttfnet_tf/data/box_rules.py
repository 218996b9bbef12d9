"""Which annotated boxes are used: the rules for crowd, ignored, empty, small and outside boxes.

`data.coco` drops boxes by these rules, and the data check reports by the same ones what training will drop.

Reference: mmdetection 1.0 `CocoDataset._parse_ann_info`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

REASONS = ("boxes marked ignore", "crowd boxes", "boxes without area", "boxes below min_box_size", "boxes outside their image")
USED = 0  # of `reasons_to_drop`


def is_flag(value: Any) -> bool:
    """Whether a value of "iscrowd" or "ignore" is 0, 1, true, false or not given; any other text or number is read as true by some."""
    return value is None or (type(value) in (bool, int, float) and value in (0, 1))


def geometry_fault(bbox: Sequence[float], area: float | None, size: tuple[float, float], min_box_size: float) -> str | None:
    """What makes the shape of a box unusable: "negative", "zero", "area", "small", "outside", or None.

    Args:
        bbox: COCO x, y, width, height in pixels.
        area: as annotated, or None.
        size: (height, width) of the image in pixels.
        min_box_size: pixels; the least side of a box that is used.
    """
    x, y, width, height = bbox
    if width < 0 or height < 0:
        return "negative"
    if width == 0 or height == 0:
        return "zero"
    if area is not None and area <= 0:
        return "area"
    if width < min_box_size or height < min_box_size:
        return "small"
    # The reference keeps these and trains on what clipping leaves of them, a sliver on the border (docs/deviations.md).
    if x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
        return "outside"
    return None


def reasons_to_drop(
    bbox: np.ndarray,
    area: np.ndarray,
    sizes: np.ndarray,
    iscrowd: np.ndarray,
    ignore: np.ndarray,
    *,
    crowd: str,
    min_box_size: float,
) -> np.ndarray:
    """Why boxes are not used.

    Args:
        bbox: [N, 4] COCO x, y, width, height in pixels.
        area: [N] as annotated, NaN where it is not.
        sizes: [N, 2] height, width of the image of each.
        iscrowd, ignore: bool [N].
        crowd: "background" drops boxes with iscrowd, "object" uses them like any other.
        min_box_size: pixels of the original image; a box with a shorter side is dropped.

    Returns:
        uint8 [N]: `USED`, or k + 1 for `REASONS[k]`, the words of `CocoSplit.dropped`.
    """
    x, y, width, height = bbox.T
    conditions = (  # the first that holds is the reason
        ignore,
        iscrowd & (crowd == "background"),
        (width <= 0) | (height <= 0) | (area <= 0),
        (width < min_box_size) | (height < min_box_size),
        (x >= sizes[:, 1]) | (y >= sizes[:, 0]) | (x + width <= 0) | (y + height <= 0),
    )
    reasons = np.full(len(bbox), USED, np.uint8)
    for number in range(len(conditions), 0, -1):
        reasons[conditions[number - 1].astype(bool)] = number
    return reasons
