"""Mosaic and mixup: one training image made of several; NumPy and OpenCV only.

Both start from images that are resized to the input, so that kept images (`image_cache`) serve as they are. Each step has one function
that draws random numbers and one that applies them, so that any sample can be made again and inspected.

Reference: mosaic of Bochkovskiy et al. 2020 (YOLOv4, arXiv:2004.10934), mixup of Zhang et al. 2018 (arXiv:1710.09412) for boxes as in
YOLOX (arXiv:2107.08430): the boxes of both images count fully.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from ttfnet_tf.data.transforms import Window, new_pixels, resize

_CENTRE = (0.3, 0.7)  # of each side: where the four images meet
_SCALES = (0.5, 1.25)  # of each image; the lower end rises to what fills its place
_LEAST_VISIBLE = 0.25  # of the area of a box that is kept
_BETA = 32.0  # both parameters of the distribution of mixup's ratio: .5 with a standard deviation of .06

Labelled = tuple[np.ndarray, np.ndarray, np.ndarray]  # image [H, W, 3], boxes [N, 4] xyxy in its pixels, labels [N]


class Tile(NamedTuple):
    """One image of a mosaic."""

    part: Window  # of the image, in its pixels
    place: Window  # where this part goes, in pixels of the mosaic


def combine(
    sample: Labelled,
    size: tuple[int, int],
    *,
    mosaic: float,
    mixup: float,
    rng: np.random.Generator,
    count: int,
    other: Callable[[int], Labelled | None],
    keep_ratio: bool = False,
) -> Labelled:
    """A mosaic of the image and three others, then a mixup with one more, each with its probability; else the image as it is.

    Args:
        sample: of any size.
        size: (H, W) of the input in pixels.
        mosaic: probability.
        mixup: probability.
        rng: of this image in this epoch.
        count: images to choose from, each with the same probability and the image itself among them.
        other: number below `count` -> that image in `size`, or None where it cannot be read: the image itself takes its place.
        keep_ratio: whether images keep their ratio when they are resized, see `boxes.fitted_size`.
    """
    if mosaic and rng.random() < mosaic:
        numbers, tiles = rng.integers(count, size=3).tolist(), draw_mosaic(size, rng)
        own = _in_size(sample, size, keep_ratio)
        sample = make_mosaic([own, *(other(number) or own for number in numbers)], tiles, size)
    if mixup and rng.random() < mixup:
        number, ratio = int(rng.integers(count)), float(rng.beta(_BETA, _BETA))
        own = _in_size(sample, size, keep_ratio)
        sample = mix(own, other(number) or own, ratio)
    return sample


def draw_mosaic(size: tuple[int, int], rng: np.random.Generator) -> list[Tile]:
    """Four tiles that fill a mosaic of `size` (height, width), in random order.

    The images meet at a point within .3 to .7 of each side. Each is scaled by a factor of .5 to 1.25, or from what fills its place on, and
    a random part of it is shown. The part has whole pixels, so the two factors of a tile may differ by their rounding.
    """
    height, width = size
    x, y = round(width * rng.uniform(*_CENTRE)), round(height * rng.uniform(*_CENTRE))
    places = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
    return [Tile(_draw_part(size, places[k], rng), places[k]) for k in rng.permutation(4)]


def _draw_part(size, place, rng) -> Window:
    sides, whole = (place[2] - place[0], place[3] - place[1]), size[::-1]
    least = max(_SCALES[0], *(side / full for side, full in zip(sides, whole)))
    scale = rng.uniform(least, _SCALES[1])
    columns, rows = (min(full, round(side / scale)) for side, full in zip(sides, whole))
    left, top = int(rng.integers(whole[0] - columns + 1)), int(rng.integers(whole[1] - rows + 1))
    return left, top, left + columns, top + rows


def make_mosaic(samples: Sequence[Labelled], tiles: Sequence[Tile], size: tuple[int, int]) -> Labelled:
    """The parts of four images at their places.

    Args:
        samples: uint8 images of `size` with their boxes.
        tiles: one for each of them.
        size: (height, width) of the mosaic in pixels.

    Returns:
        uint8 [height, width, 3] by OpenCV's bilinear rule in each tile; what `place_boxes` keeps of the boxes, and their labels.
    """
    result, parts = new_pixels(size), []
    for (image, boxes, labels), tile in zip(samples, tiles):
        x1, y1, x2, y2 = tile.part
        left, top, right, bottom = tile.place
        result[top:bottom, left:right] = cv2.resize(image[y1:y2, x1:x2], (right - left, bottom - top), interpolation=cv2.INTER_LINEAR)
        parts.append(place_boxes(boxes, labels, tile))
    boxes, labels = (np.concatenate(columns) for columns in zip(*parts))
    return result, boxes, labels


def place_boxes(boxes: np.ndarray, labels: np.ndarray, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
    """Boxes of an image in the frame of a mosaic, clipped to their tile, and their labels.

    A box is dropped where less than a quarter of its area is visible; widths and heights count both corners.
    """
    part, place = np.array(tile.part, np.float32), np.array(tile.place, np.float32)
    factor = (place[2:] - place[:2]) / (part[2:] - part[:2])
    moved = (boxes - np.tile(part[:2], 2)) * np.tile(factor, 2) + np.tile(place[:2], 2)
    first, last = place[:2], place[2:] - 1
    visible = np.maximum(np.minimum(moved[:, 2:], last) - np.maximum(moved[:, :2], first) + 1, 0).prod(axis=1)
    kept = visible >= _LEAST_VISIBLE * (moved[:, 2:] - moved[:, :2] + 1).prod(axis=1)
    return np.clip(moved[kept], np.tile(first, 2), np.tile(last, 2)), labels[kept]


def mix(first: Labelled, second: Labelled, ratio: float) -> Labelled:
    """`ratio` of the first image plus the rest of the second, both uint8 of one size, rounded; the boxes of both."""
    height, width = first[0].shape[:2]
    image = cv2.addWeighted(first[0], ratio, second[0], 1 - ratio, 0.0, dst=new_pixels((height, width)))
    return image, np.concatenate([first[1], second[1]]), np.concatenate([first[2], second[2]])


def _in_size(sample: Labelled, size: tuple[int, int], keep_ratio: bool) -> Labelled:
    image, boxes, labels = sample
    return *resize(image, boxes, size, keep_ratio=keep_ratio), labels
