"""Resize and flip, of an image and its boxes together; NumPy and OpenCV only.

Randomness is an argument: `image_rng` gives the generator of one image in one epoch, so that any sample can be made again.
"""

from __future__ import annotations

import cv2
import numpy as np

from ttfnet_tf.boxes import resize_boxes


def image_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The random generator of image `index` of the split in `epoch`; a pure function of its arguments."""
    return np.random.default_rng((seed, epoch, index))


def resize(image: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Resizes to `size` without keeping the aspect ratio.

    Args:
        image: uint8 or float32 [H, W, 3].
        boxes: float32 [N, 4] xyxy in pixels of `image`.
        size: (height, width) of the result in pixels.

    Returns:
        [height, width, 3] of the image's type by OpenCV's bilinear rule on that type, and the boxes in its pixels, clipped to it.

    Reference: mmdetection 1.0 `Resize` with keep_ratio=False (mmcv `imresize`).
    """
    boxes = resize_boxes(boxes, image.shape[:2], size)
    if image.shape[:2] != tuple(size):
        image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return image, boxes


def flip(image: np.ndarray, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mirrors left and right: column x becomes W - 1 - x, in the image and in the boxes.

    Args:
        image: uint8 or float32 [H, W, 3].
        boxes: float32 [N, 4] xyxy in its pixels.

    Reference: mmdetection 1.0 `RandomFlip`.
    """
    last = np.float32(image.shape[1] - 1)
    mirrored = boxes.copy()
    mirrored[:, 0] = last - boxes[:, 2]
    mirrored[:, 2] = last - boxes[:, 0]
    return cv2.flip(image, 1), mirrored


def random_flip(image: np.ndarray, boxes: np.ndarray, probability: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`flip` with the given probability; draws one number from `rng` in any case."""
    return flip(image, boxes) if rng.random() < probability else (image, boxes)
