"""Reads image files: JPEG, PNG, BMP, WebP, TIFF and GIF become RGB arrays."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from ttfnet_tf.errors import UserError

# Errors only: a file that OpenCV warns of is read by Pillow, or refused with a UserError. Set at import, because the level belongs to the
# process and files are read by many threads at once. OpenCV 4.13 moved the two functions of the level.
OPENCV_LOG = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
OPENCV_LOG.setLogLevel(2)

_FRAME_MARKERS = tuple(bytes([marker]) for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))
READABLE = "JPEG, PNG, BMP, WebP, TIFF or GIF"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})  # files of a folder that are images


def read_rgb(source: str | Path | bytes, name: str | None = None) -> np.ndarray:
    """Decodes one image as the reference's `cv2.imread` does.

    Grey, palette and CMYK become RGB, an alpha channel is dropped (not blended), images of 16 bits a channel keep the upper 8, and the
    EXIF orientation is applied. Formats that OpenCV lacks, such as GIF, are read by Pillow (first frame). CMYK of an Adobe JPEG is
    converted as TensorFlow does it, since a served model must do the same: up to two levels from OpenCV (docs/deviations.md).

    Args:
        source: path of the file, or the bytes of one.
        name: of the image in messages; default the path.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        UserError: the file is missing, empty, truncated or no image.
    """
    if isinstance(source, bytes):
        name, data = name or "image", source
    else:
        name = name or str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise UserError(f"{name}: cannot be read ({error.strerror})") from None
    if not data:
        raise UserError(f"{name}: is empty; an image was expected")
    if _is_adobe_cmyk(data):
        return _read_with_pillow(data, name)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # such as more than 2^30 pixels
        image = None
    if image is None:
        return _read_with_pillow(data, name)
    if data.startswith(b"\xff\xd8") and not data.endswith(b"\xff\xd9"):
        # Truncated, or bytes follow the image; OpenCV before 4.11 fills the missing part with grey and says nothing. Pillow raises.
        _read_with_pillow(data, name)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_with_pillow(data: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as file:
            file.load()
            is_adobe_cmyk = file.mode == "CMYK" and "adobe" in file.info
            image = ImageOps.exif_transpose(file)
            if is_adobe_cmyk:
                return _cmyk_to_rgb(np.asarray(image))
            if image.mode.startswith("I;16"):  # convert("RGB") would clip, not scale
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return np.ascontiguousarray(image.convert("RGB"))
    except Image.UnidentifiedImageError:
        raise UserError(f"{name}: is not a readable image; expected {READABLE}") from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... by format
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name}: is a damaged image ({reason})") from None


def _is_adobe_cmyk(data: bytes) -> bool:
    """Whether a JPEG has four channels and Adobe's marker before its frame. Reference: ITU-T T.81, annex B.2."""
    place, is_from_adobe = 2, False
    while data.startswith(b"\xff\xd8") and data[place : place + 1] == b"\xff":
        marker = data[place + 1 : place + 2]
        if marker == b"\xff":  # a fill byte
            place += 1
            continue
        if marker in _FRAME_MARKERS:
            return is_from_adobe and data[place + 9 : place + 10] == b"\x04"
        is_from_adobe |= marker == b"\xee" and data[place + 4 : place + 9] == b"Adobe"
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False


def _cmyk_to_rgb(cmyk: np.ndarray) -> np.ndarray:
    """RGB from cyan, magenta, yellow and black, uint8 [H, W, 4] with 255 for full ink; tensorflow `core/lib/jpeg/jpeg_mem.cc`."""
    light = 255 - cmyk.astype(np.uint16)
    return (light[..., :3] * light[..., 3:] // 255).astype(np.uint8)
