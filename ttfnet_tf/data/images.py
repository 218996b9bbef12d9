"""Image files of any usual kind to RGB bytes."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from ttfnet_tf.errors import UserError

cv2.setLogLevel(2)  # errors only: what OpenCV warns of is read by Pillow then, or told by a UserError

_FRAMES = tuple(bytes([marker]) for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))
READABLE = "JPEG, PNG, BMP, WebP, TIFF or GIF"
IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif"})  # of files that a folder is searched for


def read_rgb(source: str | Path | bytes, name: str | None = None) -> np.ndarray:
    """Decodes one image as the reference's `cv2.imread` does.

    Grey, palette and CMYK become RGB, an alpha channel is left out (not blended), 16 bits a channel keep the upper 8, and the EXIF
    orientation is applied. What OpenCV does not know, such as GIF, goes through Pillow (first frame). The four inks of a JPEG as Adobe
    writes it are mixed as TensorFlow mixes them, which a served model has to do: up to two levels from OpenCV (docs/deviations.md).

    Args:
        source: path of the file, or the bytes of one.
        name: how messages call it; default the path.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        UserError: the file is missing, empty, cut short or no image.
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
    if _has_four_inks(data):
        return _read_with_pillow(data, name)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # e.g. more than 2^30 pixels
        image = None
    if image is None:
        return _read_with_pillow(data, name)
    if data.startswith(b"\xff\xd8") and not data.endswith(b"\xff\xd9"):
        # Cut short, or bytes follow the image; OpenCV before 4.11 fills what is missing with grey and says nothing.
        _read_with_pillow(data, name)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_with_pillow(data: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            is_of_adobe = image.mode == "CMYK" and "adobe" in image.info
            image = ImageOps.exif_transpose(image)
            if is_of_adobe:
                return _mix(np.asarray(image))
            if image.mode.startswith("I;16"):  # Pillow would clip, not scale
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return np.ascontiguousarray(image.convert("RGB"))
    except Image.UnidentifiedImageError:
        raise UserError(f"{name}: is no image that can be read; expected {READABLE}") from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... by format
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name}: is a damaged image ({reason})") from None


def _has_four_inks(data: bytes) -> bool:
    """Whether a JPEG has four channels and Adobe's marker before its frame. Reference: ITU-T T.81, annex B.2."""
    place, is_of_adobe = 2, False
    while data.startswith(b"\xff\xd8") and data[place : place + 1] == b"\xff":
        marker = data[place + 1 : place + 2]
        if marker == b"\xff":  # a fill byte
            place += 1
            continue
        if marker in _FRAMES:
            return is_of_adobe and data[place + 9 : place + 10] == b"\x04"
        is_of_adobe |= marker == b"\xee" and data[place + 4 : place + 9] == b"Adobe"
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return False


def _mix(inks: np.ndarray) -> np.ndarray:
    """RGB of cyan, magenta, yellow and black, [H, W, 4] with 255 for a full ink. Reference: tensorflow `core/lib/jpeg/jpeg_mem.cc`."""
    light = 255 - inks.astype(np.uint16)
    return (light[..., :3] * light[..., 3:] // 255).astype(np.uint8)
