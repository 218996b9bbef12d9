"""Files of a source: images below folders, sizes from image headers, text and numbers of annotation files."""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from PIL import Image

from ttfnet_tf.data.images import IMAGE_SUFFIXES
from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.records import ImageRecord

_ORIENTATION = 274  # EXIF tag; 5 to 8 are quarter turns


def find_images(folder: Path) -> list[Path]:
    """Image files below a folder, sorted."""
    found = []
    for parent, _, names in os.walk(folder, followlinks=True):
        found += [Path(parent, name) for name in names if PurePath(name).suffix.lower() in IMAGE_SUFFIXES]
    return sorted(found)


class ImageIndex:
    """The image files below some folders, found by the name of their annotation file."""

    def __init__(self, folders: Iterable[Path]):
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for folder in folders:
            for path in find_images(folder):
                self._by_stem[path.stem].append(path)

    def paths(self) -> set[Path]:
        """All image files."""
        return {path for paths in self._by_stem.values() for path in paths}

    def find(self, annotation: Path, stated: str) -> Path | None:
        """The image with the stem of `annotation`, else the one with the `stated` name; None if there is not exactly one."""
        stated_name = PurePath(stated.replace("\\", "/")).name
        for stem in (annotation.stem, PurePath(stated_name).stem):
            ranked = defaultdict(list)
            for path in self._by_stem.get(stem, ()):
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
            with Image.open(path) as image:
                width, height = image.size
                if image.format == "TIFF":  # Pillow's size may be that of the rotated image
                    width, height = image.tag_v2[256], image.tag_v2[257]
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
    """UTF-8 text of an annotation file, without a byte order mark.

    Raises:
        UserError: the file cannot be read or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path}:{line}: is not UTF-8 text") from None


def parse_number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def common_folder(images: Sequence[ImageRecord]) -> Path:
    """Deepest folder above all images."""
    return Path(os.path.commonpath({image.path.parent for image in images}))
