"""Reads image files: JPEG, PNG, BMP, GIF, WebP, TIFF, PPM, TGA, AVIF and HEIC become RGB arrays.

The format is decided by content, never by name, and only formats of this list are decoded, each by its own decoder of Pillow. Those are
fuzzed by OSS-Fuzz, refuse damaged data with an exception and print nothing; OpenCV's decoders of animated PNG and JPEG 2000 end the
process on damaged files. JPEG and PNG files are checked first, and their decoders get only what pixels depend on. Size in pixels and
bytes is limited before anything is decoded.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import stat
import tempfile
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageOps,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TgaImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ttfnet_tf.data import image_headers as headers
from ttfnet_tf.data.heif import heif_decoder
from ttfnet_tf.data.jpeg_header import jpeg_header
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.locations import is_url, location
from ttfnet_tf.web import fetch, is_web, without_password

# Errors only: OpenCV's notes on videos and cameras would stand beside our line. Set at import, because the level belongs to the process.
# OpenCV 4.13 moved the two functions of the level.
OPENCV_LOG = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
OPENCV_LOG.setLogLevel(2)
# Pillow's notes on damaged files would stand there too.
logging.getLogger("PIL").addHandler(logging.NullHandler())
warnings.filterwarnings("ignore", module=r"PIL\.")

READABLE = "JPEG, PNG, BMP, GIF, WebP, TIFF, PPM, TGA or AVIF"
_PIXEL_BYTES = 6  # three channels of 16 bits
MAX_BYTES = _PIXEL_BYTES * MAX_PIXELS  # of a file
_DECODERS: dict[str, Any] = {
    headers.JPEG: JpegImagePlugin.JpegImageFile,
    headers.PNG: PngImagePlugin.PngImageFile,
    headers.BMP: BmpImagePlugin.BmpImageFile,
    headers.GIF: GifImagePlugin.GifImageFile,
    headers.WEBP: WebPImagePlugin.WebPImageFile,
    headers.TIFF: TiffImagePlugin.TiffImageFile,
    headers.PPM: PpmImagePlugin.PpmImageFile,
    headers.TGA: TgaImagePlugin.TgaImageFile,
}
try:
    from PIL import AvifImagePlugin  # from Pillow 11.3 on, where it was built with libavif

    _DECODERS[headers.AVIF] = AvifImagePlugin.AvifImageFile
except ImportError:
    pass
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_BITS, _TIFF_TILE = 256, 257, 258, (322, 323)
FORMATS = tuple(_DECODERS)  # by their names in Pillow
_TURNED_BY_PILLOW = (headers.TIFF, headers.WEBP, headers.AVIF)
IMAGE_SUFFIXES = frozenset(  # names of image files, where content is not looked at
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pnm", ".tga", ".avif"}
)
_ORIENTATION = 274  # EXIF tag; 5 to 8 are quarter turns
_PPM_HEADER = re.compile(rb"P([1-6])(?:\s+|#[^\n]*\n)+(\d+)(?:\s+|#[^\n]*\n)+(\d+)(?:\s+|#[^\n]*\n)+(\d+)")
_CONVERT = "convert it to JPEG or PNG"
_STRIP = 1 << 22  # pixels that are converted at a time
_LIBTIFF_LINE = re.compile(rb"(?!ttfnet)[\w.]+: .*")  # "module: what is wrong"
_stderr_lock = threading.Lock()


@dataclass(frozen=True)
class ImageHeader:
    """What an image file says about itself."""

    format: str  # JPEG, ...
    stored: tuple[int, int]  # (height, width) in pixels, before rotation
    orientation: int  # of EXIF, 1..8
    mode: str  # of Pillow, such as RGB
    is_deep: bool  # 16 bits a channel
    is_animated: bool
    has_alpha: bool

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) as the file is read."""
        return self.stored[::-1] if self.orientation >= 5 else self.stored


def read_rgb(source: str | Path | bytes, name: str | None = None, *, max_pixels: int | None = None) -> np.ndarray:
    """Decodes one image, with the pixels that the reference's `cv2.imread` gives for valid JPEG and PNG files.

    Grey, palette and CMYK become RGB, an alpha channel is dropped (not blended), images of 16 bits a channel keep the upper 8, the
    EXIF orientation is applied, and of several frames the first is taken. CMYK is converted as TensorFlow does it, since a served model
    must do the same: up to two levels from OpenCV (docs/deviations.md).

    Args:
        source: path of the file, or the bytes of one.
        name: of the image in messages; default the path.
        max_pixels: height x width of the largest image that is decoded; default `MAX_PIXELS`.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        UserError: the file is missing, empty, damaged, of no supported format, too large, or has values that do not fit 8 bits: floats,
            and 12 bits in files of 16, which would become white or black.
    """
    limit = max_pixels or MAX_PIXELS
    return _decode(*_contents(source, name, limit), limit)[0]


def read_with_header(data: bytes, name: str) -> tuple[np.ndarray, ImageHeader]:
    """The pixels of `read_rgb`, and what the file says about itself."""
    image, file, orientation, is_deep = _decode(*_contents(data, name, MAX_PIXELS), MAX_PIXELS)
    with _errors_of(name):
        return image, _header(file, data, orientation, is_deep)


def rgb_of(image: Image.Image, name: str = "image") -> np.ndarray:
    """uint8 [H, W, 3] of an image of Pillow, as `read_rgb` reads a file of it.

    Raises:
        UserError: its values do not fit 8 bits, or it cannot be loaded.
    """
    with _errors_of(name):
        turned = ImageOps.exif_transpose(image)
        return _to_rgb(turned, name, turned.mode.startswith("I;16"), image.format)


def read_image_file(path: str | Path, name: str | None = None, *, max_bytes: int = MAX_BYTES) -> bytes:
    """The bytes of an image file that is not too large.

    Raises:
        UserError: there is no such file, it cannot be read, or it is too large.
    """
    name = name or str(path)
    if is_web(path):
        return fetch(str(path), max_bytes=max_bytes)[0]
    try:
        if is_url(path) or not isinstance(path, (str, Path)):  # not a file of its own, such as an image of a packed folder
            source: Any = location(path) if is_url(path) else path
            return _limited(source.read_bytes(), name, max_bytes)
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):  # a pipe would be waited for, a device has no end
            raise UserError(f"{name}: is not a regular file")
        if status.st_size > max_bytes:
            raise UserError(f"{name}: has {status.st_size} bytes; images may have up to {max_bytes}")
        return Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror})") from None
    except ValueError:  # a NUL
        raise UserError(f"{name!r}: is not a file name") from None


def _limited(data: bytes, name: str, max_bytes: int) -> bytes:
    if len(data) > max_bytes:
        raise UserError(f"{name}: has {len(data)} bytes; images may have up to {max_bytes}")
    return data


def _contents(source: str | Path | bytes, name: str | None, max_pixels: int) -> tuple[bytes, str]:
    name = name or ("image" if isinstance(source, bytes) else without_password(str(source)))
    data = source if isinstance(source, bytes) else read_image_file(source, name, max_bytes=_PIXEL_BYTES * max_pixels)
    if not data:
        raise UserError(f"{name}: is empty; an image was expected")
    return data, name


def _decode(data: bytes, name: str, max_pixels: int) -> tuple[np.ndarray, Any, int, bool]:
    """(pixels, the loaded image before its rotation, its EXIF orientation, whether it has 16 bits a channel)."""
    with _errors_of(name):
        file, orientation = _open(data, name, max_pixels)
        is_deep = _is_deep(file, data)  # before loading, which may change the mode
        turned = file
        if file.format in _TURNED_BY_PILLOW:
            orientation = file.getexif().get(_ORIENTATION, 1)
        with _without_libtiff_notes(file):
            file.load()
            if file.format in _TURNED_BY_PILLOW and orientation != 1:
                turned = ImageOps.exif_transpose(file)  # loading may have done it
        image = _to_rgb(turned, name, is_deep, file.format)
        return turn(image, orientation if file.format not in _TURNED_BY_PILLOW else 1), file, orientation, is_deep


def _header(file: Any, data: bytes, orientation: int, is_deep: bool) -> ImageHeader:
    is_png, (width, height) = file.format == headers.PNG, file.size
    if file.format == headers.TIFF:  # Pillow's size is that of the rotated image
        width, height = file.tag_v2[_TIFF_WIDTH], file.tag_v2[_TIFF_HEIGHT]
    return ImageHeader(
        format=str(file.format),
        stored=(height, width),
        orientation=orientation if orientation in range(1, 9) else 1,
        mode=file.mode,
        is_deep=is_deep,
        is_animated=getattr(file, "is_animated", False) or (is_png and b"acTL" in data[:4096]),
        has_alpha=file.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in file.info or (is_png and b"tRNS" in data[:4096]),
    )


@contextlib.contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Whatever a decoder raises as one line about the image."""
    try:
        yield
    except UserError:
        raise
    except Image.DecompressionBombError:
        raise UserError(f"{name}: has too many pixels; images may have up to {MAX_PIXELS}") from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... by format
        reason = " ".join(str(error).split()) or type(error).__name__
        if reason == "unknown pixel mode":  # of a TIFF; no damage
            raise UserError(f"{name}: holds values or colours that are not supported; convert it to 8 bits a channel") from None
        raise UserError(f"{name}: is a damaged image ({reason})") from None


def _open(data: bytes, name: str, max_pixels: int) -> tuple[Any, int]:
    """(an image that is not decoded yet and not too large, its EXIF orientation where Pillow does not see it).

    JPEG and PNG files are checked, and lose what their pixels do not depend on: profiles, notes, EXIF, animations.
    """
    kind, orientation = headers.image_format(data), 1
    if kind is None and headers.is_heif(data):
        file = heif_decoder(name)(io.BytesIO(data), "")
        _check_size(file.size, name, max_pixels)
        return file, orientation
    if kind not in _DECODERS:
        if kind == headers.AVIF:
            raise UserError(f"{name}: is an AVIF image, which needs Pillow 11.3 or later; pip install 'Pillow>=11.3', or {_CONVERT}")
        other = headers.foreign_format(data)
        what = f"is {other}, which is not supported; {_CONVERT}" if other else f"is not a readable image; expected {READABLE}"
        raise UserError(f"{name}: {what}")
    if kind == headers.JPEG:
        header = jpeg_header(data)
        _check_size(header.size[::-1], name, max_pixels)
        orientation = header.orientation
        data = b"".join([b"\xff\xd8", *(data[start:end] for start, end in header.kept), data[header.scan : header.end]])
    elif kind == headers.PNG:
        _check_size(headers.png_size(data), name, max_pixels)
        data, orientation = headers.png_contents(data)
    elif kind == headers.TIFF:
        headers.check_tiff(data)
    elif headers.is_slow(data) and len(data) > headers.MAX_SLOW_BYTES:
        raise UserError(f"{name}: has {len(data)} bytes, a kind of {kind} that is read up to {headers.MAX_SLOW_BYTES}; convert it to PNG")
    elif kind == headers.WEBP:
        _check_size(headers.webp_size(data), name, max_pixels)  # its decoder gets its memory when it opens the file
    file = _DECODERS[kind](io.BytesIO(data), "")
    _check_size(file.size, name, max_pixels)
    if kind == headers.TIFF:
        _check_size([file.tag_v2.get(tag, 1) for tag in _TIFF_TILE], name, max_pixels)
    return file, orientation


def _check_size(size, name: str, max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise UserError(f"{name}: has {width} x {height} pixels; images may have up to {max_pixels}")


def _is_deep(file: Any, data: bytes) -> bool:
    """Whether channels have 16 bits, of which Pillow may say nothing more than RGB."""
    if file.format == headers.PNG:
        return data[24] == 16
    if file.format == headers.TIFF:
        return max(file.tag_v2.get(_TIFF_BITS, (1,))) > 8
    if file.format == headers.PPM:
        header = _PPM_HEADER.match(data)
        return header is not None and header[1] not in (b"1", b"4") and int(header[4][:6]) > 255
    return False


def _to_rgb(image: Image.Image, name: str, is_deep: bool, kind: str | None) -> np.ndarray:
    """uint8 [H, W, 3] of a loaded image."""
    if image.mode == "F" or (image.mode == "I" and kind == headers.TIFF) or image.mode in ("LAB", "HSV"):
        values = {"F": "floating-point values", "I": "values of 32 bits or with a sign"}.get(image.mode, f"{image.mode} colours")
        raise UserError(f"{name}: has {values}; convert it to 8 bits a channel")
    width, height = image.size
    rgb = np.empty((height, width, 3), np.uint8)
    rows = max(1, _STRIP // width)  # at a time, or a large image would be in memory several times
    for top in range(0, height, rows):
        strip = image if rows >= height else image.crop((0, top, width, min(top + rows, height)))
        if strip.mode == "CMYK" and kind == headers.JPEG:
            rgb[top : top + rows] = _cmyk_to_rgb(np.asarray(strip))
            continue
        if strip.mode.startswith("I"):  # convert("RGB") would clip, not scale
            strip = Image.fromarray((np.asarray(strip) >> 8).astype(np.uint8))
        rgb[top : top + rows] = np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))
    if is_deep and rgb.max() < headers.DEEP_LIMIT:
        raise UserError(f"{name}: has 16 bits a channel and no value above 4095; scale its values to 8 or 16 bits, or it would be black")
    return rgb


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an EXIF orientation 1..8: 5 to 8 transpose, then rows and columns are mirrored."""
    if orientation == 1:
        return image
    if orientation >= 5:
        image = image.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image[::-1] if orientation in (3, 4, 7, 8) else image)


def _cmyk_to_rgb(cmyk: np.ndarray) -> np.ndarray:
    """RGB from cyan, magenta, yellow and black, uint8 [H, W, 4] with 255 for full ink; tensorflow `core/lib/jpeg/jpeg_mem.cc`."""
    light = 255 - cmyk.astype(np.uint16)
    return (light[..., :3] * light[..., 3:] // 255).astype(np.uint8)


@contextlib.contextmanager
def _without_libtiff_notes(file: Any) -> Iterator[None]:
    """Hides what libtiff, alone among the decoders, prints about damaged files; what others print meanwhile comes out afterwards."""
    if file.format != headers.TIFF or file.info.get("compression") == "raw":
        yield
        return
    with _stderr_lock, contextlib.ExitStack() as stack:
        try:
            stderr = os.dup(2)
        except OSError:  # closed: nobody to disturb
            yield
            return
        stack.callback(os.close, stderr)
        printed = stack.enter_context(tempfile.TemporaryFile(buffering=0))
        os.dup2(printed.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            printed.seek(0)
            others = [line for line in printed.read().splitlines(keepends=True) if not _LIBTIFF_LINE.match(line)]
            os.write(stderr, b"".join(others))
