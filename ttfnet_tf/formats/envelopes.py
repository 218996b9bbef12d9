"""Boxes around the shapes of labelling tools: polygons, rotated boxes, ellipses and masks.

All coordinates are continuous pixels of the image, from its upper left edge; a box is COCO's x, y, width, height. Angles are degrees,
clockwise as seen on the screen, because y points down.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

BBox = tuple[float, float, float, float]


def around_points(points: Iterable[tuple[float, float]]) -> BBox:
    """The box around (x, y) points, of which there is at least one."""
    xs, ys = zip(*points)
    return min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)


def around_rotated_box(box: BBox, degrees: float, pivot: tuple[float, float]) -> BBox:
    """The box around `box` after it was turned about `pivot`; exactly `box` without a turn."""
    if degrees % 360 == 0:
        return box
    x, y, width, height = box
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    from_pivot = [(corner_x - pivot[0], corner_y - pivot[1]) for corner_x, corner_y in corners]
    return around_points((pivot[0] + cosine * dx - sine * dy, pivot[1] + sine * dx + cosine * dy) for dx, dy in from_pivot)


def around_ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float = 0) -> BBox:
    """The box around an ellipse with `radii` along x and y before it was turned about its centre."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    half_width, half_height = math.hypot(radii[0] * cosine, radii[1] * sine), math.hypot(radii[0] * sine, radii[1] * cosine)
    return centre[0] - half_width, centre[1] - half_height, 2 * half_width, 2 * half_height


def around_mask(mask: np.ndarray, left: float = 0, top: float = 0) -> BBox | None:
    """The box around the pixels of a mask, bool [H, W], whose upper left corner lies at (left, top); None if it has no pixel."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    width, height = int(columns[-1] - columns[0]) + 1, int(rows[-1] - rows[0]) + 1
    return left + int(columns[0]), top + int(rows[0]), width, height
