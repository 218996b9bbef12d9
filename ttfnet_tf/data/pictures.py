"""Picture files of any usual kind to RGB bytes."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from ttfnet_tf.errors import UserError

cv2.setLogLevel(2)  # errors only: what OpenCV warns of is read by Pillow then, or told by a UserError

READABLE = "JPEG, PNG, BMP, WebP, TIFF or GIF"


def read_rgb(source: str | Path | bytes, name: str | None = None) -> np.ndarray:
    """Decodes one picture as the reference's `cv2.imread` does.

    Grey, palette and CMYK become RGB, an alpha channel is left out (not blended), 16 bits a channel keep the upper 8, and the EXIF
    orientation is applied. What OpenCV does not know, such as GIF, goes through Pillow (first frame).

    Args:
        source: path of the file, or the bytes of one.
        name: how messages call it; default the path.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        UserError: the file is missing, empty, cut short or no picture.
    """
    if isinstance(source, bytes):
        name, data = name or "picture", source
    else:
        name = name or str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as error:
            raise UserError(f"{name}: cannot be read ({error.strerror})") from None
    if not data:
        raise UserError(f"{name}: is empty; a picture was expected")
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # e.g. more than 2^30 pixels
        image = None
    if image is None:
        return _read_with_pillow(data, name)
    if data.startswith(b"\xff\xd8") and not data.endswith(b"\xff\xd9"):
        # Cut short, or bytes follow the picture; OpenCV before 4.11 fills what is missing with grey and says nothing.
        _read_with_pillow(data, name)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_with_pillow(data: bytes, name: str) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith("I;16"):  # Pillow would clip, not scale
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            return np.ascontiguousarray(image.convert("RGB"))
    except Image.UnidentifiedImageError:
        raise UserError(f"{name}: is no picture that can be read; expected {READABLE}") from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... by format
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name}: is a damaged picture ({reason})") from None
