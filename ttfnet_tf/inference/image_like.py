"""Images as people have them: file names, bytes, arrays, images of Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Union

import numpy as np
from PIL import Image

from ttfnet_tf.data.images import read_rgb, rgb_of
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import MAX_PIXELS

# A file name, the bytes of an image file, uint8 [H, W, 3] RGB, or an image of Pillow.
ImageLike = Union[str, Path, bytes, np.ndarray, Image.Image]


def as_rgb(image: ImageLike, *, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """uint8 [H, W, 3] RGB.

    Args:
        image: see `ImageLike`.
        max_pixels: height x width of the largest image file that is decoded.

    Raises:
        UserError: it is missing or broken, or is no uint8 RGB array.
    """
    if isinstance(image, Image.Image):
        return rgb_of(image)
    if isinstance(image, (str, Path, bytes)):
        return read_rgb(image, max_pixels=max_pixels)
    if not isinstance(image, np.ndarray):
        kinds = "a file name, the bytes of an image file, a uint8 array [height, width, 3] in RGB or an image of Pillow"
        raise UserError(f"image must be {kinds}, received {type(image).__name__}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise UserError(f"image must be a uint8 array [height, width, 3] in RGB, received {image.dtype} {list(image.shape)}")
    return image
