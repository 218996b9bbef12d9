"""Checks image files: read as training reads them, several at a time, and compared with their entries in the annotations."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ttfnet_tf.data.file_names import FolderIndex
from ttfnet_tf.data.images import ImageHeader, read_image_file, read_with_header
from ttfnet_tf.doctor.findings import Findings
from ttfnet_tf.doctor.inventory import ImageEntry
from ttfnet_tf.errors import UserError

THUMBNAIL = 32  # px of each side
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png",),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "TGA": (".tga",),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
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
    found_as: str = ""  # of a missing file: the name, relative to the folder, of the one that must be meant


def inspect_image(path: Path) -> ImageFacts:
    """Reads and decodes one file; what is wrong with it is its `problem`, nothing is raised."""
    try:
        path.stat()
        data = read_image_file(path, path.name)
    except (OSError, ValueError) as error:
        return ImageFacts(path, ("image-missing", _why_missing(error)))
    except UserError as error:
        return ImageFacts(path, ("image-broken", str(error).removeprefix(f"{path.name}: ")))
    if not data:
        return ImageFacts(path, ("image-empty", "0 bytes"))
    digest = hashlib.blake2b(data, digest_size=16).digest()
    try:
        pixels, header = read_with_header(data, path.name)
    except UserError as error:
        reason = str(error).removeprefix(f"{path.name}: ")
        code = "image-truncated" if _is_truncated(data, reason) else "image-broken"
        return ImageFacts(path, (code, reason), digest=digest)
    grey = cv2.cvtColor(cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return ImageFacts(path, None, pixels.shape[:2], header.stored, header.orientation, _traits(header, path), digest, grey)


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


def look_for_missing(facts: Sequence[ImageFacts], names: Sequence[str], folder: Path) -> list[ImageFacts]:
    """The facts; of a missing file, with the one in the folder that its name must mean, if there is one.

    Args:
        facts: of files.
        names: of the same, as annotated.
        folder: that they are relative to.
    """
    index, looked = FolderIndex(folder), []
    for one, name in zip(facts, names):
        if one.problem and one.problem[0] == "image-missing" and (found := index.find(name)):
            detail = f"{one.problem[1]}, but there is {found[0]}: {found[1]}"
            one = dataclasses.replace(one, problem=("image-misnamed", detail), found_as=found[0])
        looked.append(one)
    return looked


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


def _traits(header: ImageHeader, path: Path) -> tuple[tuple[str, str], ...]:
    traits, mode = [], f"mode {header.mode}"
    if header.is_deep:
        traits.append(("image-16-bit", mode))
    if header.mode in ("L", "LA", "1") or header.mode.startswith("I"):
        traits.append(("image-grey", mode))
    if header.mode in ("CMYK", "YCCK"):
        traits.append(("image-cmyk", mode))
    if header.has_alpha:
        traits.append(("image-alpha", mode))
    if header.is_animated:
        traits.append(("image-animated", "more than one frame"))
    if path.suffix.lower() not in _SUFFIXES[header.format]:
        traits.append(("image-suffix", f"is {header.format}"))
    return tuple(traits)


def _is_truncated(data: bytes, reason: str) -> bool:
    if "truncated" in reason or "cut short" in reason:
        return True
    has_end = data.rstrip(b"\0").endswith(b"\xff\xd9") if data.startswith(b"\xff\xd8") else b"IEND" in data[-12:]
    return not has_end and data.startswith((b"\xff\xd8", b"\x89PNG"))


def _why_missing(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).lower()
