"""Augmentation: from a decoded image to the input of the network, with random changes in between; NumPy and OpenCV only.

The 10x recipes distort colours, put the image on a larger canvas, and crop a part in which the boxes keep a least overlap. Each step has
one function that draws random numbers and one that applies them, so that any sample can be made again and inspected. Numbers come from
one generator for each image (`transforms.image_rng`) in a fixed order; a step that is off draws none.

Reference: mmdetection 1.0 `PhotoMetricDistortion`, `Expand` and `MinIoURandomCrop` (mmdet/datasets/pipelines/transforms.py), whose
arithmetic is followed in float32; values are rounded and clipped to bytes once, at the end (docs/deviations.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np

from ttfnet_tf.data.affine import apply_view, draw_colour_jitter, draw_view, jitter_colours
from ttfnet_tf.data.mosaic import Labelled, combine
from ttfnet_tf.data.transforms import Window, flip, flip_upside_down, new_pixels, resize, scratch_pixels, turn
from ttfnet_tf.models.normalization import MEAN as MEAN_COLOUR  # 0 after the model's normalisation

_BRIGHTNESS = 32.0  # added, of 0..255
_CONTRAST = (0.5, 1.5)
_SATURATION = (0.5, 1.5)
_HUE = 18.0  # degrees
_EXPANSION = (1.0, 4.0)
_WHOLE = None  # crop mode: no crop
_CROP_MODES = (_WHOLE, 0.1, 0.3, 0.5, 0.7, 0.9, 0.0)  # smallest overlap with any box
_SMALLEST_CROP = 0.3  # of each side
_CROP_RATIOS = (0.5, 2.0)  # height / width
_TRIALS = 50  # patches tried for one mode


@dataclass(frozen=True)
class Augmentation:
    """The random changes, in this order."""

    mosaic: float = 0.0  # probability of four images in one
    mixup: float = 0.0  # probability of a blend with another image
    mixed_epochs: int = 0  # first epochs of the run, those with mosaic and mixup
    quarter_turns: float = 0.0  # probability of a turn by 90, 180 or 270 degrees
    photometric: bool = False  # brightness, contrast, saturation, hue, order of channels
    expand: float = 0.0  # probability of a canvas of 1 to 4 times the sides
    min_iou_crop: bool = False  # a crop in which every box keeps some overlap
    affine: bool = False  # CenterNet's random view, instead of the plain resize
    flip: float = 0.5  # probability of a horizontal flip
    vertical_flip: float = 0.0  # probability
    lighting: bool = False  # CenterNet's colour jitter

    @property
    def most_images(self) -> int:
        """Images whose boxes one sample may hold, also of epochs without mosaic and mixup: batches keep their shape."""
        return (4 if self.mosaic else 1) + (1 if self.mixup else 0)


class Distortion(NamedTuple):
    """Photometric changes; the defaults change nothing."""

    brightness: float = 0.0  # added to values of 0..255
    contrast: float = 1.0  # factor
    contrast_first: bool = True  # before saturation and hue, or after them
    saturation: float = 1.0  # factor
    hue: float = 0.0  # degrees
    channels: tuple[int, int, int] = (0, 1, 2)  # channel k of the result is channel channels[k]


def augment_sample(
    sample: Labelled,
    image_size: tuple[int, int],
    augmentation: Augmentation,
    rng: np.random.Generator,
    *,
    epoch: int,
    count: int,
    other: Callable[[int], Labelled | None],
    keep_ratio: bool = False,
) -> Labelled:
    """`augment_image` of the image, or of a mosaic or mixup of it and others; see `mosaic.combine` for `count` and `other`."""
    if epoch < augmentation.mixed_epochs:
        mosaic, mixup = augmentation.mosaic, augmentation.mixup
        settings: dict[str, Any] = {"mosaic": mosaic, "mixup": mixup, "count": count, "other": other, "keep_ratio": keep_ratio}
        sample = combine(sample, image_size, rng=rng, **settings)
    return augment_image(*sample, image_size, augmentation, rng, keep_ratio=keep_ratio)


def augment_image(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: np.ndarray,
    image_size: tuple[int, int],
    augmentation: Augmentation,
    rng: np.random.Generator,
    *,
    keep_ratio: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All augmentation of one image after mosaic and mixup, resize included: the order of `Augmentation`.

    A quarter turn of a square input is made after the resize: there it is exact, and an image that is kept resized can be turned.

    Args:
        image: uint8 [h, w, 3] RGB.
        boxes: float32 [N, 4] xyxy in its pixels.
        labels: [N].
        image_size: (H, W) of the result in pixels.
        augmentation: the random changes.
        rng: of this image in this epoch.
        keep_ratio: whether the resize keeps the image's ratio, see `boxes.fitted_size`; a random view has its own resize.

    Returns:
        uint8 [H, W, 3]; float32 [n, 4] boxes in its pixels, clipped to it; labels [n]. Boxes that a crop or a view cut off are gone with
        their labels. A crop leaves at least one; a view may leave none. An image without boxes is not cropped.
    """
    turns = draw_turns(augmentation.quarter_turns, rng)
    turns_last = image_size[0] == image_size[1]
    if turns and not turns_last:
        image, boxes = turn(image, boxes, turns)
    if augmentation.photometric:
        image = distort(image, draw_distortion(rng))
    window: Window = (0, 0, image.shape[1], image.shape[0])
    if augmentation.expand and rng.random() < augmentation.expand:
        window = draw_canvas(image.shape[:2], rng)
        boxes = boxes - np.array(window[:2] * 2, np.float32)
    if augmentation.min_iou_crop:
        patch = draw_crop((window[3] - window[1], window[2] - window[0]), boxes, rng)
        if patch is not None:
            boxes, labels = crop_boxes(boxes, labels, patch)
            x, y = window[:2]
            window = (patch[0] + x, patch[1] + y, patch[2] + x, patch[3] + y)
    image = cut(image, window)
    view = draw_view(image.shape[:2], rng) if augmentation.affine else None
    is_mirrored = rng.random() < augmentation.flip
    is_upside_down = augmentation.vertical_flip > 0 and rng.random() < augmentation.vertical_flip
    if view is not None:
        image, boxes, labels = apply_view(image, boxes, labels, view, image_size)
        image, boxes = flip(image, boxes) if is_mirrored else (image, boxes)
    else:
        image, boxes = _resized_and_flipped(image, boxes, image_size, is_mirrored, keep_ratio)
    image, boxes = flip_upside_down(image, boxes) if is_upside_down else (image, boxes)
    image, boxes = turn(image, boxes, turns) if turns and turns_last else (image, boxes)
    if augmentation.lighting:
        image = jitter_colours(image, draw_colour_jitter(rng))
    return _to_bytes(image), boxes, labels


def _resized_and_flipped(image, boxes, size, is_mirrored, keep_ratio):
    if image.dtype != np.uint8:
        image, boxes = resize(image, boxes, size, keep_ratio=keep_ratio)
        return flip(image, boxes) if is_mirrored else (image, boxes)
    result = new_pixels(size)
    image, boxes = resize(image, boxes, size, out=scratch_pixels(size) if is_mirrored else result, keep_ratio=keep_ratio)
    return flip(image, boxes, out=result) if is_mirrored else (image, boxes)


def draw_turns(probability: float, rng: np.random.Generator) -> int:
    """1, 2 or 3 quarter turns with `probability` together, else 0."""
    return int(rng.integers(1, 4)) if probability and rng.random() < probability else 0


def draw_distortion(rng: np.random.Generator) -> Distortion:
    """Each change with probability 1/2; contrast comes first or last with probability 1/2."""
    drawn = Distortion()
    if rng.integers(2):
        drawn = drawn._replace(brightness=rng.uniform(-_BRIGHTNESS, _BRIGHTNESS))
    drawn = drawn._replace(contrast_first=bool(rng.integers(2)))
    if rng.integers(2):
        drawn = drawn._replace(contrast=rng.uniform(*_CONTRAST))
    if rng.integers(2):
        drawn = drawn._replace(saturation=rng.uniform(*_SATURATION))
    if rng.integers(2):
        drawn = drawn._replace(hue=rng.uniform(-_HUE, _HUE))
    if rng.integers(2):
        drawn = drawn._replace(channels=tuple(rng.permutation(3).tolist()))
    return drawn


def distort(image: np.ndarray, distortion: Distortion) -> np.ndarray:
    """float32 [H, W, 3] from uint8 [H, W, 3] RGB; values may leave 0..255, between the changes and at the end.

    Every image goes to hue and saturation and back, as in the reference: pixels that are negative in all channels come back changed.
    """
    image = image.astype(np.float32)
    image += np.float32(distortion.brightness)
    if distortion.contrast_first:
        image *= np.float32(distortion.contrast)
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)  # hue 0..360, saturation 0..1, value as large as the largest channel
    hsv[..., 1] *= np.float32(distortion.saturation)  # may exceed 1: then a channel becomes negative
    hsv[..., 0] += np.float32(distortion.hue)  # OpenCV wraps hues outside 0..360
    cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=image)
    if not distortion.contrast_first:
        image *= np.float32(distortion.contrast)
    return image if distortion.channels == (0, 1, 2) else cv2.transform(image, np.eye(3)[list(distortion.channels)])


def draw_canvas(size: tuple[int, int], rng: np.random.Generator) -> Window:
    """A canvas 1 to 4 times as high and wide as an image of `size` (height, width), at a random place around it.

    Returns:
        The canvas in pixels of the image: x1 and y1 are 0 or less, x2 and y2 the image's size or more.
    """
    height, width = size
    ratio = rng.uniform(*_EXPANSION)
    left, top = int(rng.uniform(0, width * ratio - width)), int(rng.uniform(0, height * ratio - height))
    return (-left, -top, int(width * ratio) - left, int(height * ratio) - top)


def draw_crop(size: tuple[int, int], boxes: np.ndarray, rng: np.random.Generator) -> Window | None:
    """A patch whose IoU with every box reaches a random threshold, and which contains the centre of at least one box.

    A mode is drawn: no crop, or one of the thresholds 0, .1, .3, .5, .7, .9. The first of 50 random patches that fits is taken; if none
    fits, another mode is drawn.

    Args:
        size: (height, width) of the image in pixels.
        boxes: float32 [N, 4] xyxy in its pixels.

    Returns:
        The patch, or None for no crop. Without a box None, and nothing is drawn: no patch could fit.
    """
    if not len(boxes):
        return None
    while True:
        mode = _CROP_MODES[rng.integers(len(_CROP_MODES))]
        if mode is _WHOLE:
            return None
        patches = draw_patches(size, rng)
        # A patch of extreme ratio counts as one of the 50 trials.
        fits = (_overlaps(patches, boxes).min(axis=1) >= mode) & _centers_inside(patches, boxes).any(axis=1)
        if fits.any():
            return tuple(patches[fits.argmax()].tolist())


def draw_patches(size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """int64 [n, 4] windows x1, y1, x2, y2: 50 with sides of .3 to 1 of the image's, without those beyond 1:2 or 2:1."""
    height, width = size
    numbers = rng.random((_TRIALS, 4))
    widths, heights = (side * (_SMALLEST_CROP + (1 - _SMALLEST_CROP) * numbers[:, k]) for k, side in enumerate((width, height)))
    # The reference's `uniform(room)` sets the lower end and leaves the upper one at 1: patches start at pixel 1, not 0.
    lefts, tops = (room + (1 - room) * numbers[:, 2 + k] for k, room in enumerate((width - widths, height - heights)))
    patches = np.stack([lefts, tops, lefts + widths, tops + heights], axis=1).astype(np.int64)
    ratios = heights / widths
    return patches[(ratios >= _CROP_RATIOS[0]) & (ratios <= _CROP_RATIOS[1])]


def crop_boxes(boxes: np.ndarray, labels: np.ndarray, patch: Window) -> tuple[np.ndarray, np.ndarray]:
    """Boxes whose centre lies inside `patch`, in its frame and clipped to [0, width] x [0, height], and their labels."""
    kept = _centers_inside(np.array([patch]), boxes)[0]
    low, high = np.array(patch[:2] * 2, np.float32), np.array(patch[2:] * 2, np.float32)
    return np.clip(boxes[kept], low, high) - low, labels[kept]


def cut(image: np.ndarray, window: Window) -> np.ndarray:
    """The window of an image; parts beyond the image have the mean colour.

    Only the window is copied: the whole canvas of 16 times the image is never made.

    Args:
        image: uint8 or float32 [H, W, 3].
        window: in its pixels.

    Returns:
        [y2 - y1, x2 - x1, 3], float32 where it reaches beyond the image, else of the image's type.
    """
    x1, y1, x2, y2 = window
    height, width = image.shape[:2]
    part = image[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    if part.shape[:2] == (y2 - y1, x2 - x1):
        return part
    if not part.size:
        return np.full((y2 - y1, x2 - x1, 3), MEAN_COLOUR, np.float32)
    borders = (max(-y1, 0), max(y2 - height, 0), max(-x1, 0), max(x2 - width, 0))
    return cv2.copyMakeBorder(part.astype(np.float32), *borders, cv2.BORDER_CONSTANT, value=MEAN_COLOUR)


def _centers_inside(patches: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """bool [n, N]: patch by box."""
    centers = (boxes[None, :, :2] + boxes[None, :, 2:]) / 2
    return ((centers > patches[:, None, :2]) & (centers < patches[:, None, 2:])).all(axis=2)


def _overlaps(patches: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """float32 [n, N] intersection over union, corners inclusive on both sides as in the reference's `bbox_overlaps`."""
    patches = patches.astype(np.float32)[:, None]
    boxes = boxes[None]
    sides = np.minimum(patches[..., 2:], boxes[..., 2:]) - np.maximum(patches[..., :2], boxes[..., :2]) + 1
    common = np.maximum(sides, 0).prod(axis=-1)
    areas = (patches[..., 2:] - patches[..., :2] + 1).prod(axis=-1) + (boxes[..., 2:] - boxes[..., :2] + 1).prod(axis=-1)
    return common / (areas - common)


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """uint8, rounded half to even and clipped."""
    return image if image.dtype == np.uint8 else cv2.add(image, (0, 0, 0, 0), dst=new_pixels(image.shape[:2]), dtype=cv2.CV_8U)
