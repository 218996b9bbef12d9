"""Files of a source: images below folders, sizes from image headers, text and numbers of annotation files."""

from __future__ import annotations

import contextlib
import functools
import os
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath
from typing import Any, cast

from PIL import Image

from ttfnet_tf.data.images import FORMATS, IMAGE_SUFFIXES
from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.records import ImageRecord
from ttfnet_tf.json_text import is_number

_ORIENTATION = 274  # EXIF tag; 5 to 8 are quarter turns


def find_images(folder: Path) -> list[Path]:
    """Image files below a folder, sorted."""
    found = []
    for parent, _, names in os.walk(folder, followlinks=True):
        found += [Path(parent, name) for name in names if PurePath(name).suffix.lower() in IMAGE_SUFFIXES and not is_shadow(name)]
    return sorted(found)


def files_like(folder: Path, *patterns: str) -> list[Path]:
    """Files below a folder that fit one of the patterns, sorted, without the shadows of a Mac."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if not is_shadow(path.name) and path.is_file()})


def is_shadow(name: str) -> bool:
    """Whether a Mac has written the file beside another one of that name, without its first two letters: ._a.png is no image."""
    return name.startswith("._")


def is_file(path: Path) -> bool:
    """Whether there is such a file; False for a name that no file can have."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def actual(path: Path) -> Path:
    """The file of that name; where there is none, the one in the folder with the same letters, composed or decomposed."""
    if is_file(path):
        return path
    try:
        changed = path.parent.stat().st_mtime_ns
    except (OSError, ValueError):
        return path
    name = _by_letters(path.parent, changed).get(unicodedata.normalize("NFC", path.name))
    return path if name is None else path.with_name(name)


@functools.lru_cache(maxsize=16)
def _by_letters(folder: Path, changed: int) -> dict[str, str]:
    """Names in a folder by their composed form, of those that have another; `changed` makes it be read again."""
    return {composed: name for name in os.listdir(folder) if not name.isascii() for composed in [unicodedata.normalize("NFC", name)]}


class ImageIndex:
    """The image files below some folders, found by the name of their annotation file."""

    def __init__(self, folders: Iterable[Path]):
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for folder in folders:
            for path in find_images(folder):
                self._by_stem[unicodedata.normalize("NFC", path.stem)].append(path)

    def paths(self) -> set[Path]:
        """All image files."""
        return {path for paths in self._by_stem.values() for path in paths}

    def find(self, annotation: Path, stated: str) -> Path | None:
        """The image with the stem of `annotation`, else the one with the `stated` name; None if there is not exactly one."""
        stated_name = PurePath(stated.replace("\\", "/")).name
        for stem in (annotation.stem, PurePath(stated_name).stem):
            ranked = defaultdict(list)
            for path in self._by_stem.get(unicodedata.normalize("NFC", stem), ()):
                is_beside = path.parent == annotation.parent
                ranked[is_beside, path.name == stated_name, path.parent.name == annotation.parent.name].append(path)
            if ranked:
                best = ranked[max(ranked)]
                return best[0] if len(best) == 1 else None
        return None


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels from the header of an image, quarter turns of its EXIF orientation applied as `data.images` does.

    Raises:
        UserError: the file is missing or not an image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if image.format == "TIFF":  # Pillow's size may be that of the rotated image
                    tags = cast(Any, image).tag_v2  # of TIFF files only
                    width, height = tags[256], tags[257]
                is_turned = False
                if "exif" in image.info or image.format == "TIFF":  # elsewhere getexif may decode the whole image
                    with contextlib.suppress(Exception):  # damaged EXIF is no EXIF, as for every decoder
                        is_turned = image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    except FileNotFoundError:
        raise UserError(f"{path}: no such image") from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... by format
        reason = "" if isinstance(error, Image.UnidentifiedImageError) else f" ({' '.join(str(error).split())})"
        raise UserError(f"{path}: is not a readable image{reason}") from None
    return (width, height) if is_turned else (height, width)


def read_text(path: Path) -> str:
    """UTF-8 text of an annotation file, or UTF-16 as spreadsheets save it; without its byte order mark.

    Raises:
        UserError: the file cannot be read or is not UTF-8.
    """
    try:
        data = path.read_bytes()
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: is not UTF-8 text") from None


def parse_number(text: str) -> float | None:
    """A finite number as pixels and fractions are, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if is_number(value) else None


def common_folder(images: Sequence[ImageRecord]) -> Path:
    """Deepest folder above all images; absolute where some of their paths are and some are not."""
    folders = {image.path.parent for image in images}
    if len({folder.is_absolute() for folder in folders}) > 1:
        folders = {folder.absolute() for folder in folders}
    return Path(os.path.commonpath(folders))
