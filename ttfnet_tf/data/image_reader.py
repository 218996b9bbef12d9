"""Reads the images of a split again and again, with little Python: many threads can do it at once.

JPEG files are decoded by OpenCV, which gives the interpreter's lock back meanwhile and returns an array that needs no copy. Its pixels are
those of Pillow's decoder: both are libjpeg-turbo with the accurate transform. Everything else, and whatever OpenCV does not take, goes
to `images.read_rgb`, so that pixels, limits and messages are the same.
"""

from __future__ import annotations

import os
import stat
from typing import Any

import cv2
import numpy as np

from ttfnet_tf.data import image_headers as headers
from ttfnet_tf.data.images import MAX_BYTES, read_rgb
from ttfnet_tf.data.jpeg_header import jpeg_header
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import MAX_PIXELS

_UNKNOWN, _OTHER = -1, -2
_RGB = getattr(cv2, "IMREAD_COLOR_RGB", None)  # from OpenCV 4.11 on
_FLAGS = cv2.IMREAD_IGNORE_ORIENTATION | (cv2.IMREAD_COLOR if _RGB is None else _RGB)


class ImageReader:
    """The pixels of numbered files; the structure of each is checked when it is first read, and when its size has changed.

    Args:
        count: number of files.
    """

    def __init__(self, count: int):
        self._checked = np.full(count, _UNKNOWN, np.int64)  # bytes of each file that is known to be a plain JPEG, or _OTHER
        self._parts: dict[int, tuple[int, ...]] = {}  # for files with notes or profiles: what is left without them

    def read(self, index: int, source: Any, name: str) -> np.ndarray:
        """uint8 [H, W, 3] RGB as `images.read_rgb(source, name)`, also in what it raises.

        Args:
            index: number of the file.
            source: path of the file, or an object with `read_bytes`.
            name: of the image in messages.
        """
        image = self.read_plain(index, source)
        return read_rgb(source, name) if image is None else image

    def read_plain(self, index: int, source: Any) -> np.ndarray | None:
        """`read` of a plain JPEG; None for everything else, and for what cannot be read."""
        data = None if self._checked[index] == _OTHER else _contents(source)
        if data is None or len(data) > MAX_BYTES or not self._is_plain_jpeg(index, data):
            return None
        return _decode(data, self._parts.get(index))

    def _is_plain_jpeg(self, index: int, data: bytes) -> bool:
        if self._checked[index] != len(data):
            parts = plain_jpeg_parts(data)
            self._parts.pop(index, None)
            if parts is not None and parts != (0, len(data)):
                self._parts[index] = parts
            self._checked[index] = _OTHER if parts is None else len(data)  # last, because other threads look at it
        return self._checked[index] != _OTHER


def plain_jpeg_parts(data: bytes) -> tuple[int, ...] | None:
    """What decoding needs of a sound JPEG of one or three channels, of a size that is decoded and without rotation; None for other files.

    Returns:
        (start, end, start, end, ...) of the parts of the file, which together are a JPEG without notes and profiles.
    """
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        header = jpeg_header(data)
    except headers.DamagedImageError:
        return None
    if header.channels not in (1, 3) or header.orientation != 1 or header.size[0] * header.size[1] > MAX_PIXELS:
        return None
    parts = [0, 2]
    for start, end in (*header.kept, (header.scan, header.end)):
        if start == parts[-1]:
            parts[-1] = end
        else:
            parts += [start, end]
    return tuple(parts)


def _decode(data: bytes, parts: tuple[int, ...] | None) -> np.ndarray | None:
    """uint8 [H, W, 3] RGB; None if OpenCV does not take the file."""
    if parts is not None:
        data = b"".join(data[start:end] for start, end in zip(parts[::2], parts[1::2]))
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), _FLAGS)
    except cv2.error:
        return None
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB) if _RGB is None and image is not None else image


def _contents(source: Any) -> bytes | None:
    """The bytes of a regular file of a size that is read, or of another source; None if that fails."""
    if not isinstance(source, str):
        try:
            return source.read_bytes()
        except (OSError, UserError):
            return None
    try:
        descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= MAX_BYTES:
            return None
        data = os.read(descriptor, status.st_size)
        return data if len(data) == status.st_size else None
    except OSError:
        return None
    finally:
        os.close(descriptor)
