"""CenterNet's augmentation: a random affine view of the image, and colour jitter; NumPy and OpenCV only.

Each step has one function that draws random numbers and one that applies them, so that any sample can be made again and inspected.

Reference: Zhou, Wang and Kraehenbuehl 2019 (arXiv:1904.07850), xingyizhou/CenterNet `datasets/sample/ctdet.py` and `utils/image.py`.
The view differs in one thing, see `draw_view` and docs/deviations.md.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

# The reference counts from 0.6 in steps of 0.1; its end, 1.4, is not reached.
SCALES = tuple(tenths / 10 for tenths in range(6, 14))
_BORDER = 128  # px: least distance of the centre of a view from the border of a large image

_JITTER = 0.4
_LIGHTING = 0.1  # standard deviation along each principal colour, in units of its spread
# Principal colours of ImageNet for values 0..1 as the reference has them; there the rows are blue, green, red.
_COLOUR_SPREADS = np.array([0.2141788, 0.01817699, 0.00341571])
_COLOURS = np.array(
    [
        [-0.56089297, 0.71832671, 0.41158938],  # red
        [-0.5832747, 0.00994535, -0.81221408],  # green
        [-0.58752847, -0.69563484, 0.41340352],  # blue
    ]
)


class View(NamedTuple):
    """The part of an image that becomes the input: its centre in pixels, and its sides as a multiple of the image's sides."""

    center_x: int
    center_y: int
    scale: float


class ColourJitter(NamedTuple):
    """Factors in the order they are applied, and the noise that is added along the principal colours."""

    steps: tuple[tuple[str, float], ...]  # ("brightness" | "contrast" | "saturation", factor)
    lighting: tuple[float, float, float]  # in units of each principal colour's spread


def draw_view(size: tuple[int, int], rng: np.random.Generator) -> View:
    """A view of an image of `size` (height, width): scale one of 0.6, 0.7, ... 1.3, centre anywhere except near the border.

    The reference's view is a square of the image's longer side times the scale. This one has the image's own sides times the scale, so
    that training sees images as the plain resize of the evaluation makes them, only larger or smaller.
    """
    scale = SCALES[rng.integers(len(SCALES))]
    border_y, border_x = (center_border(side) for side in size)
    center_x = int(rng.integers(border_x, size[1] - border_x))
    center_y = int(rng.integers(border_y, size[0] - border_y))
    return View(center_x, center_y, scale)


def center_border(side: int) -> int:
    """Pixels between the centre of a view and either end of a side, at least: 128, halved until there is room between both."""
    border = _BORDER
    while side <= 2 * border:
        border //= 2
    return border


def apply_view(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, view: View, image_size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Resizes the view to the input; parts outside the image are black.

    Args:
        image: uint8 or float32 [H, W, 3].
        boxes: float32 [N, 4] xyxy in its pixels.
        labels: [N].
        view: the part of the image.
        image_size: (height, width) of the result in pixels.

    Returns:
        [height, width, 3] of the image's type by OpenCV's bilinear rule; boxes in its pixels, clipped to it, without those that lie
        outside; their labels. No box may be left. The view of the whole image (scale 1, centred) equals `transforms.resize`.
    """
    height, width = image_size
    sides = np.array([image.shape[1] * view.scale, image.shape[0] * view.scale])
    factor = np.array([width, height]) / sides
    corner = np.array([view.center_x, view.center_y]) - sides / 2
    # The centre of pixel k is at k + 0.5, as in cv2.resize; corners are multiplied by the factor, as in boxes.resize_boxes.
    to_image = np.diag(1 / factor) @ np.array([[1, 0, 0.5], [0, 1, 0.5]]) + np.array([[0, 0, corner[0] - 0.5], [0, 0, corner[1] - 0.5]])
    image = cv2.warpAffine(image, to_image, (width, height), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    last = np.array([width - 1, height - 1], np.float32)
    boxes = ((boxes - np.tile(corner, 2)) * np.tile(factor, 2)).astype(np.float32)
    kept = ((boxes[:, 2:] > 0) & (boxes[:, :2] < last)).all(axis=1)
    return image, np.clip(boxes[kept], 0, np.tile(last, 2)), labels[kept]


def draw_colour_jitter(rng: np.random.Generator) -> ColourJitter:
    """Brightness, contrast and saturation times 0.6..1.4 in random order, and normal noise along the principal colours."""
    steps = [("brightness", "contrast", "saturation")[k] for k in rng.permutation(3)]
    factors = rng.uniform(1 - _JITTER, 1 + _JITTER, 3)
    lighting = rng.normal(0, _LIGHTING, 3)
    return ColourJitter(tuple(zip(steps, factors.tolist())), tuple(lighting.tolist()))


def jitter_colours(image: np.ndarray, jitter: ColourJitter) -> np.ndarray:
    """float32 [H, W, 3] RGB of 0..255, not clipped, from a uint8 or float32 image.

    Contrast blends with the mean grey and saturation with the grey of each pixel, both taken from the unchanged image.
    """
    image = image.astype(np.float32)
    grey_of_colour = np.array([0.299, 0.587, 0.114])
    mean_grey = np.array(cv2.mean(image)[:3]) @ grey_of_colour
    # Every step is linear, so all of them are one matrix: columns red, green, blue and the constant.
    matrix = np.eye(3, 4)
    for step, factor in jitter.steps:
        matrix *= factor
        if step == "contrast":
            matrix[:, 3] += (1 - factor) * mean_grey
        elif step == "saturation":
            matrix[:, :3] += (1 - factor) * grey_of_colour
    matrix[:, 3] += 255 * _COLOURS @ (_COLOUR_SPREADS * np.array(jitter.lighting))
    return cv2.transform(image, matrix)
