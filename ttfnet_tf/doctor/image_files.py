"""Checks image files: read as training reads them, several at a time, and compared with their entries in the annotations."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.doctor.findings import Findings
from ttfnet_tf.doctor.inventory import ImageEntry
from ttfnet_tf.errors import UserError

THUMBNAIL = 32  # px of each side
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".mpo"),  # a JPEG followed by a second one, as some cameras write
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
}
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height


@dataclass(frozen=True, eq=False)
class ImageFacts:
    """What an image file holds."""

    path: Path
    problem: tuple[str, str] | None = None  # (code, detail) of a file that cannot be read
    size: tuple[int, int] = (0, 0)  # (H, W) as training reads it
    stored: tuple[int, int] = (0, 0)  # (H, W) in the file, before EXIF rotation
    orientation: int = 1  # of EXIF; 1 is upright
    traits: tuple[tuple[str, str], ...] = ()  # (code, detail) of notes
    digest: bytes = b""  # of the file's bytes
    thumbnail: np.ndarray | None = None  # uint8 [32, 32] grey


def inspect_image(path: Path) -> ImageFacts:
    """Reads and decodes one file; what is wrong with it is its `problem`, nothing is raised."""
    try:
        data = path.read_bytes()
    except OSError as error:
        return ImageFacts(path, ("image-missing", _why_missing(path, error)))
    if not data:
        return ImageFacts(path, ("image-empty", "0 bytes"))
    digest = hashlib.blake2b(data, digest_size=16).digest()
    try:
        pixels = read_rgb(data, name=path.name)
    except UserError as error:
        reason = str(error).removeprefix(f"{path.name}: ")
        code = "image-truncated" if _is_truncated(data, reason) else "image-broken"
        return ImageFacts(path, (code, reason), digest=digest)
    grey = cv2.cvtColor(cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    stored, orientation, traits = _header(data, path)
    return ImageFacts(path, None, pixels.shape[:2], stored or pixels.shape[:2], orientation, traits, digest, grey)


def inspect_images(paths: Sequence[Path], *, workers: int, on_image: Callable[[int], None] | None = None) -> list[ImageFacts]:
    """`inspect_image` of every path, in their order.

    Args:
        paths: files.
        workers: threads; decoding releases the lock of Python.
        on_image: called with the number of images done so far.
    """
    facts = []
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            for done, one in enumerate(pool.map(inspect_image, paths), start=1):
                facts.append(one)
                if on_image is not None:
                    on_image(done)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return facts


def check_image_files(entries: Sequence[ImageEntry], facts: Sequence[ImageFacts], findings: Findings) -> None:
    """Adds broken files, and those that contradict their entries; both in the same order."""
    for entry, one in zip(entries, facts):

        def add(code, detail="", *, entry=entry):
            findings.add(code, "images", entry.position, file=entry.file, image_id=entry.id, detail=detail)

        if one.problem:
            code, detail = one.problem
            add(code if entry.used else "unused-image-unreadable", detail)
            continue
        for code, detail in one.traits:
            add(code, detail)
        _check_size(entry, one, add)


def _check_size(entry: ImageEntry, one: ImageFacts, add) -> None:
    is_turned = one.orientation in _TURNED and one.size == one.stored[::-1] and one.size != one.stored
    stored, turned = (f"{width}x{height}" for height, width in (one.stored, one.size))
    if tuple(entry.size) == one.size:
        if is_turned:
            add("exif-applied", f"EXIF orientation {one.orientation} turns {stored} to {turned}")
        elif one.orientation != 1 and (one.orientation not in _TURNED or one.size[0] == one.size[1]):
            add("exif-ambiguous", f"EXIF orientation {one.orientation}")
    elif is_turned and tuple(entry.size) == one.stored:
        add("exif-turned", f"annotated as {stored}, EXIF orientation {one.orientation} turns it to {turned}")
    else:
        add("size-differs", f"is {turned}, annotated as {entry.size_text}")


def _header(data: bytes, path: Path) -> tuple[tuple[int, int] | None, int, tuple[tuple[str, str], ...]]:
    """(stored size, EXIF orientation, traits); (None, 1, ()) if Pillow cannot open the image."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
            orientation = image.getexif().get(0x0112, 1)
            mode, kind, frames, info = image.mode, image.format, getattr(image, "n_frames", 1), image.info
    except Exception:  # read by OpenCV alone, or its EXIF is damaged
        return None, 1, ()
    traits = []
    is_deep = mode.startswith("I") or (kind == "PNG" and data[24:25] == b"\x10")  # bit depth in the PNG header, where Pillow says RGB
    if is_deep:
        traits.append(("image-16-bit", f"mode {mode}"))
    if mode in ("L", "LA", "1", "F") or mode.startswith("I"):
        traits.append(("image-grey", f"mode {mode}"))
    if mode in ("CMYK", "YCCK"):
        traits.append(("image-cmyk", f"mode {mode}"))
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in info:
        traits.append(("image-alpha", f"mode {mode}"))
    if frames > 1 and kind != "MPO":
        traits.append(("image-animated", f"{frames} frames"))
    if kind in _SUFFIXES and path.suffix.lower() not in _SUFFIXES[kind]:
        traits.append(("image-suffix", f"is {kind}"))
    return (height, width), orientation if orientation in range(1, 9) else 1, tuple(traits)


def _is_truncated(data: bytes, reason: str) -> bool:
    if "truncated" in reason:
        return True
    has_end = data.rstrip(b"\0").endswith(b"\xff\xd9") if data.startswith(b"\xff\xd8") else b"IEND" in data[-12:]
    return not has_end and data.startswith((b"\xff\xd8", b"\x89PNG"))


def _why_missing(path: Path, error: OSError) -> str:
    if "\\" in str(path) and Path(str(path).replace("\\", "/")).exists():
        return "no such file; its name has \\ where this system has /"
    same = [one.name for one in path.parent.glob("*") if one.name.lower() == path.name.lower()] if path.parent.is_dir() else []
    return f"no such file, but there is {same[0]}" if same else (error.strerror or str(error)).lower()
