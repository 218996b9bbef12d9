"""Resize, flips and turns, of an image and its boxes together; NumPy and OpenCV only.

Randomness is an argument: `image_rng` gives the generator of one image in one epoch, so that any sample can be made again.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np

from ttfnet_tf.boxes import fitted_size, resize_boxes
from ttfnet_tf.models.normalization import PADDING

_TURNS = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
_ALIGNMENT = 64  # bytes, of tensors on a processor with AVX-512
_scratch = threading.local()

Window = tuple[int, int, int, int]  # x1, y1, x2, y2 in whole pixels, x2 and y2 excluded


def image_rng(seed: int, epoch: int, index: int, copy: int = 0) -> np.random.Generator:
    """The random generator of image `index` of the split in `epoch`, for the `copy`-th time from 0; a pure function of its arguments."""
    return np.random.default_rng((seed, epoch, index, copy) if copy else (seed, epoch, index))


def new_pixels(size: tuple[int, int]) -> np.ndarray:
    """uint8 [height, width, 3] without values, at an address from which TensorFlow can use it as a tensor without a copy."""
    length = size[0] * size[1] * 3
    memory = np.empty(length + _ALIGNMENT, np.uint8)
    start = -memory.__array_interface__["data"][0] % _ALIGNMENT
    return memory[start : start + length].reshape(size[0], size[1], 3)


def scratch_pixels(size: tuple[int, int]) -> np.ndarray:
    """uint8 [height, width, 3] without values, the same memory at each call of a thread: fresh memory costs as much as a resize."""
    found = getattr(_scratch, "pixels", None)
    if found is None or found.shape[:2] != tuple(size):
        _scratch.pixels = found = new_pixels(size)
    return found


def resize(
    image: np.ndarray, boxes: np.ndarray, size: tuple[int, int], out: np.ndarray | None = None, *, keep_ratio: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Resizes to `size`: stretched, or padded with `keep_ratio`.

    Args:
        image: uint8 or float32 [H, W, 3].
        boxes: float32 [N, 4] xyxy in pixels of `image`.
        size: (height, width) of the result in pixels.
        out: [height, width, 3] of the image's type, where the result is written unless the image has that size already.
        keep_ratio: whether the image keeps its ratio, see `fit`.

    Returns:
        [height, width, 3] of the image's type by OpenCV's bilinear rule on that type, and the boxes in its pixels, clipped to the image.

    Reference: mmdetection 1.0 `Resize` with keep_ratio=False (mmcv `imresize`).
    """
    return fit(image, size, out, keep_ratio=keep_ratio), resize_boxes(
        boxes, image.shape[:2], fitted_size(image.shape[:2], size, keep_ratio)
    )


def fit(image: np.ndarray, size: tuple[int, int], out: np.ndarray | None = None, *, keep_ratio: bool = False) -> np.ndarray:
    """The pixels of `resize`; with `keep_ratio` the image fills the upper left `boxes.fitted_size`, and the rest is the mean colour."""
    height, width = fitted_size(image.shape[:2], size, keep_ratio)
    is_whole = (height, width) == tuple(size)
    if image.shape[:2] != (height, width):
        image = cv2.resize(image, (width, height), dst=out if is_whole else None, interpolation=cv2.INTER_LINEAR)
    if is_whole:
        return image
    return cv2.copyMakeBorder(image, 0, size[0] - height, 0, size[1] - width, cv2.BORDER_CONSTANT, dst=out, value=PADDING)


def flip(image: np.ndarray, boxes: np.ndarray, out: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mirrors left and right: column x becomes W - 1 - x, in the image and in the boxes.

    Args:
        image: uint8 or float32 [H, W, 3].
        boxes: float32 [N, 4] xyxy in its pixels.
        out: another array of the image's shape and type, where the result is written.

    Reference: mmdetection 1.0 `RandomFlip`.
    """
    last = np.float32(image.shape[1] - 1)
    mirrored = boxes.copy()
    mirrored[:, 0] = last - boxes[:, 2]
    mirrored[:, 2] = last - boxes[:, 0]
    return cv2.flip(image, 1, dst=out), mirrored


def flip_upside_down(image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirrors top and bottom: row y becomes H - 1 - y; arguments as of `flip`."""
    last = np.float32(image.shape[0] - 1)
    mirrored = boxes.copy()
    mirrored[:, 1] = last - boxes[:, 3]
    mirrored[:, 3] = last - boxes[:, 1]
    return cv2.flip(image, 0, dst=new_pixels(image.shape[:2]) if image.dtype == np.uint8 else None), mirrored


def turn(image: np.ndarray, boxes: np.ndarray, quarters: int) -> tuple[np.ndarray, np.ndarray]:
    """Turns to the left by 1, 2 or 3 quarters; arguments as of `flip`. A quarter takes pixel (x, y) to (y, W - 1 - x)."""
    width, height = np.float32(image.shape[1]), np.float32(image.shape[0])
    for _ in range(quarters):
        x1, y1, x2, y2 = boxes.T
        boxes = np.stack([y1, width - 1 - x2, y2, width - 1 - x1], axis=1)
        width, height = height, width
    return cv2.rotate(image, _TURNS[quarters - 1]), boxes


def resized(image: np.ndarray, size: tuple[int, int], is_flipped: bool, *, keep_ratio: bool = False) -> np.ndarray:
    """uint8 [height, width, 3]: the pixels of `resize`, then of `flip` if wanted, in memory that TensorFlow takes over."""
    result = new_pixels(size)
    image = fit(image, size, scratch_pixels(size) if is_flipped else result, keep_ratio=keep_ratio)
    return cv2.flip(image, 1, dst=result) if is_flipped else image
