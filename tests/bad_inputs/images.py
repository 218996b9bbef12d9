"""Image files."""

import io
import os

import numpy as np
from PIL import Image

from bad_inputs.changes import EVALUATE, TRAIN, gone, image, replace_file, text

_LIMIT = "pixels; images may have up to 50000000; fix or remove it, or set data.broken_images=skip"
_FIX = "; fix or remove it, or set data.broken_images=skip"


def _encoded(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _put(content):
    """The bytes of 8.jpg."""
    return lambda tmp: replace_file(tmp / "images" / "8.jpg", content)


def _row(content, line):
    return EVALUATE, _put(content), f"{{tmp}}/images/8.jpg (image id 8): {line}"


def _pipe(tmp):
    (tmp / "images" / "8.jpg").unlink()
    os.mkfifo(tmp / "images" / "8.jpg")


GREY = np.zeros((64, 64), np.uint8)
NOISE = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
JPEG, PROGRESSIVE, PNG = _encoded(NOISE, "JPEG"), _encoded(NOISE, "JPEG", progressive=True), _encoded(NOISE, "PNG")
SCAN = [place for place in range(len(PROGRESSIVE)) if PROGRESSIVE[place : place + 2] == b"\xff\xda"]
DEEP = _encoded(np.full((64, 64), 4095, np.uint16), "PNG")
FLOATS = _encoded(np.ones((64, 64), np.float32), "TIFF")
FOREIGN = {
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
    "a JPEG 2000 stream": (b"\xff\x4f\xff\x51", "a JPEG 2000 image"),
    "JPEG XL": (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
    "video": (b"\0\0\0\x18ftypisom", "a video"),
    "PDF": (b"%PDF-1.7", "a PDF document"),
    "Photoshop": (b"8BPS\0\1", "a Photoshop document"),
    "archive": (b"PK\3\4", "a ZIP archive"),
}

ROWS = {
    # Images.
    "training image missing": (
        TRAIN,
        gone("images/7.png"),
        "{tmp}/images/7.png (image id 7): no such file; check the images folder of {tmp}/train.json",
    ),
    "validation image missing, seen before training": (
        f"{TRAIN} train.evaluate_every=1",
        gone("images/9.png"),
        "{tmp}/images/9.png (image id 9): no such file; check the images folder of {tmp}/val.json",
    ),
    "evaluated image missing": (
        EVALUATE,
        gone("images/8.jpg"),
        "{tmp}/images/8.jpg (image id 8): no such file; check the images folder of {tmp}/val.json",
    ),
    "image empty": (
        EVALUATE,
        text("images/8.jpg", ""),
        "{tmp}/images/8.jpg (image id 8): is empty; an image was expected; fix or remove it, or set data.broken_images=skip",
    ),
    "image is text": (
        EVALUATE,
        text("images/8.jpg", "<html>not found</html>"),
        (
            "{tmp}/images/8.jpg (image id 8): is not a readable image; expected JPEG, PNG, BMP, GIF, WebP, TIFF, PPM, TGA or AVIF; "
            "fix or remove it, or set data.broken_images=skip"
        ),
    ),
    "JPEG cut short": (
        EVALUATE,
        image("8.jpg", "JPEG", 0.6),
        ("{tmp}/images/8.jpg (image id 8): is a damaged image (cut short); fix or remove it, or set data.broken_images=skip"),
    ),
    "PNG cut short": (
        EVALUATE,
        image("9.png", "PNG", 0.6),
        ("{tmp}/images/9.png (image id 9): is a damaged image (cut short); fix or remove it, or set data.broken_images=skip"),
    ),
    # Formats, limits and damage.
    **{
        f"{name} with the name of a JPEG": _row(start + bytes(200), f"is {what}, which is not supported; convert it to JPEG or PNG{_FIX}")
        for name, (start, what) in FOREIGN.items()
    },
    "PNG of too many pixels": _row(PNG[:16] + b"\0\1\0\0" * 2 + PNG[24:], f"has 65536 x 65536 {_LIMIT}"),
    "JPEG of too many pixels": _row(JPEG.replace(b"\x08\0\x40\0\x40", b"\x08\xff\xff\xff\xff"), f"has 65535 x 65535 {_LIMIT}"),
    "JPEG of too many pixels behind a marker": _row(
        JPEG[:20] + b"\xff\1" + JPEG[20:].replace(b"\x08\0\x40\0\x40", b"\x08\xff\xff\xff\xff"), f"has 65535 x 65535 {_LIMIT}"
    ),
    "PPM of too many pixels": _row(b"P5 99999 99999 255\n", f"has 99999 x 99999 {_LIMIT}"),
    "GIF of too many pixels": _row(_encoded(GREY, "GIF").replace(b"\x40\0\x40\0", b"\xff\xff\xff\xff"), f"has 65535 x 65535 {_LIMIT}"),
    "JPEG without its end": _row(JPEG[:-2], f"is a damaged image (cut short){_FIX}"),
    "JPEG cut and closed": _row(PROGRESSIVE[: SCAN[2]] + b"\xff\xd9", f"is a damaged image (without all of its scans){_FIX}"),
    "JPEG with a marker in its scan": _row(JPEG[:-50] + b"\xff\x72" + JPEG[-48:], f"is a damaged image (marker 72 out of place){_FIX}"),
    "JPEG of endless scans": _row(
        PROGRESSIVE[: SCAN[-1]] + PROGRESSIVE[SCAN[-1] : -2] * 100 + b"\xff\xd9",
        f"is a damaged image (too many scans: 101 of 4096 pixels){_FIX}",
    ),
    "JPEG without a size": _row(JPEG.replace(b"\x08\0\x40\0\x40", b"\x08\0\0\0\0"), f"is a damaged image (a header without a size){_FIX}"),
    "PNG with a wrong checksum": _row(PNG[:60] + bytes([PNG[60] ^ 1]) + PNG[61:], f"is a damaged image (a wrong checksum of IDAT){_FIX}"),
    "PNG without its end": _row(PNG[:-12], f"is a damaged image (cut short){_FIX}"),
    "animated PNG that is damaged": _row(
        _encoded(NOISE, "PNG", save_all=True, append_images=[Image.fromarray(NOISE[::-1])])[:2000], f"is a damaged image (cut short){_FIX}"
    ),
    "12 bits in a PNG of 16": _row(
        DEEP, f"has 16 bits a channel and no value above 4095; scale its values to 8 or 16 bits, or it would be black{_FIX}"
    ),
    "floats in a TIFF": _row(FLOATS, f"has floating-point values; convert it to 8 bits a channel{_FIX}"),
    "an image that is a pipe": (
        EVALUATE,
        _pipe,
        "{tmp}/images/8.jpg (image id 8): no such file; check the images folder of {tmp}/val.json",
    ),
    "an image of too many bytes": (
        EVALUATE,
        lambda tmp: os.truncate(tmp / "images" / "8.jpg", 300_000_001),
        f"{{tmp}}/images/8.jpg (image id 8): has 300000001 bytes; images may have up to 300000000{_FIX}",
    ),
}
