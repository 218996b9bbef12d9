"""What a value of the wrong type can only mean: numbers that are text, and boxes that stand in another form beside the annotation.

Everything here is read from files that are not trusted: the result is a sound value, or None.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

from ttfnet_tf.json_text import is_number

_BOX_KEYS = (("x", "y", "width", "height"), ("x", "y", "w", "h"), ("left", "top", "width", "height"))
_LONGEST = 40  # letters of a number


def number_of(value: Any) -> float | int | None:
    """The finite number that a value is or spells; whole ones as integers."""
    if isinstance(value, str) and len(value) <= _LONGEST:
        try:
            value = float(value)
        except ValueError:
            return None
    if not is_number(value):
        return None
    return int(value) if value == int(value) else value


def whole_number(value: Any) -> int | None:
    """The integer that an id is or spells: 4 of "4", " 4" and 4.0."""
    number = number_of(value)
    return number if type(number) is int else None


def box_of(annotation: Mapping[str, Any], size: tuple[float, float] | None = None) -> list[float] | None:
    """COCO x, y, width, height of an annotation whose "bbox" is not sound; None if nothing in it says where the box is.

    Args:
        annotation: of COCO.
        size: (height, width) in pixels of its image, which a mask must have too.
    """
    return _box_of_numbers(annotation.get("bbox")) or box_of_shape(annotation.get("segmentation"), size)


def box_of_shape(shape: Any, size: tuple[float, float] | None = None) -> list[float] | None:
    """The extent of polygons, or of a mask as run lengths, compressed or not."""
    if isinstance(shape, Mapping):
        return _box_of_mask(shape, size)
    if not isinstance(shape, list) or not shape:
        return None
    polygons = shape if all(isinstance(one, list) for one in shape) else [shape]
    numbers = [[number_of(value) for value in one] for one in polygons]
    if any(len(one) < 4 or len(one) % 2 or None in one for one in numbers):
        return None
    x, y = ([value for one in numbers for value in one[start::2]] for start in (0, 1))
    box = [min(x), min(y), max(x) - min(x), max(y) - min(y)]
    return box if box[2] > 0 and box[3] > 0 else None


def _box_of_numbers(box: Any) -> list[float] | None:
    if isinstance(box, Mapping):
        box = next(([box[key] for key in keys] for keys in _BOX_KEYS if set(keys) <= set(box)), None)
    if isinstance(box, list) and len(box) == 1 and isinstance(box[0], list):
        box = box[0]
    if not isinstance(box, list) or len(box) != 4:
        return None
    numbers = [number_of(side) for side in box]
    return None if None in numbers else numbers


def _box_of_mask(mask: Mapping[str, Any], size: tuple[float, float] | None) -> list[float] | None:
    """Reference: `rleFrString` and `rleToBbox` of pycocotools' `maskApi.c`, which takes damaged masks for memory."""
    sides, counts = mask.get("size"), mask.get("counts")
    if not isinstance(sides, list) or len(sides) != 2 or not all(type(side) is int and 0 < side < 2**20 for side in sides):
        return None
    if size is not None and tuple(sides) != tuple(size):
        return None
    runs = _runs(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs) or sum(runs) != sides[0] * sides[1]:
        return None
    height, left, top, right, bottom = sides[0], math.inf, math.inf, -1, -1
    ends = list(accumulate(runs))
    for start, end in zip(ends[::2], ends[1::2]):  # of the runs of ones, down the columns
        if end > start:
            first, last = start // height, (end - 1) // height
            rows = (start % height, (end - 1) % height) if first == last else (0, height - 1)
            left, right = min(left, first), max(right, last)
            top, bottom = min(top, rows[0]), max(bottom, rows[1])
    return [left, top, right - left + 1, bottom - top + 1] if right >= 0 else None


def _runs(text: str) -> list[int] | None:
    """Run lengths of COCO's compressed form: five bits a letter, the lowest first, as differences to the run before the last."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return None if shift else runs
