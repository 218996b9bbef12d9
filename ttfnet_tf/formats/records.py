"""What every format is read into and written from, and what readers share: image sizes, numbering, the list of problems.

Boxes are COCO's in this room: x, y, width, height in pixels, x and y the left and upper edge counted from 0, continuous. A pixel in
column c reaches from c to c + 1, so a box over the pixels c1 to c2 has x = c1 and width c2 - c1 + 1. docs/formats.md has the table.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TypeVar

from PIL import Image

from ttfnet_tf.data.images import IMAGE_SUFFIXES
from ttfnet_tf.errors import UserError

_ORIENTATION = 274  # EXIF tag; 5 to 8 are quarter turns
_SPLIT_ALIASES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
_LARGEST_ID = 2**53  # what every reader of JSON keeps exactly

T = TypeVar("T")
# Wraps a list that takes long: (what is done, items) -> the same items.
Watch = Callable[[str, Sequence[T]], Iterable[T]]


@dataclass(frozen=True)
class Box:
    """One object."""

    label: str | int  # what the source calls its class: a name, or the number that `Category.label` has
    bbox: tuple[float, float, float, float]  # COCO x, y, width, height in pixels
    extra: dict = field(default_factory=dict)  # more keys of the annotation, e.g. truncated


@dataclass
class Entry:
    """One image."""

    path: Path  # where it lies, or would lie
    size: tuple[int, int]  # (height, width) in pixels
    boxes: list[Box]
    id: int = -1  # -1 until `number_images`


@dataclass
class Split:
    """Images that become one annotation file."""

    name: str
    entries: list[Entry]
    root: Path  # folder that file names are relative to


@dataclass(frozen=True)
class Category:
    """One class."""

    id: int
    name: str
    label: str | int  # of its boxes


@dataclass
class DataSet:
    """All that was read."""

    categories: list[Category]  # rising ids
    splits: list[Split]
    notes: Counter[str] = field(default_factory=Counter)  # what a reader had to decide -> how often


class Problems:
    """Lines about what is wrong in annotation files, in the order of reading."""

    def __init__(self):
        self.lines: list[str] = []

    def add(self, path: Path, line: int | None, text: str) -> None:
        """`line` counts from 1; None where the whole file is meant."""
        self.lines.append(f"{path}:{line}: {text}" if line else f"{path}: {text}")

    def __len__(self) -> int:
        return len(self.lines)

    def settle(self, *, skip: bool) -> None:
        """Raises a UserError with the first problem and the number of others, unless they are to be skipped."""
        if self.lines and not skip:
            more = len(self.lines) - 1
            others = f" ({more} more problem{'s' * (more > 1)} in this data set)" if more else ""
            raise UserError(f"{self.lines[0]}{others}; mend it, or add --skip-broken to leave such images out")


class ImageIndex:
    """The image files below some folders, to be found by the name of their annotation file."""

    def __init__(self, folders: Iterable[Path]):
        self._by_stem: dict[str, list[Path]] = defaultdict(list)
        for folder in folders:
            for path in find_images(folder):
                self._by_stem[path.stem].append(path)

    def paths(self) -> set[Path]:
        """All of them."""
        return {path for paths in self._by_stem.values() for path in paths}

    def find(self, annotation: Path, stated: str) -> Path | None:
        """The image that shares its stem with `annotation`, else the one of the `stated` name; None where there is not exactly one."""
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


def unwatched(label: str, items: Sequence[T]) -> Iterable[T]:
    """A `Watch` that shows nothing."""
    return items


def find_images(folder: Path) -> list[Path]:
    """Image files below a folder, sorted."""
    found = []
    for parent, _, names in os.walk(folder, followlinks=True):
        found += [Path(parent, name) for name in names if PurePath(name).suffix.lower() in IMAGE_SUFFIXES]
    return sorted(found)


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) in pixels from the header of an image, quarter turns of its EXIF orientation applied as `data.images` does.

    Raises:
        UserError: the file is missing or no image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # nothing is decoded
            with Image.open(path) as image:
                width, height = image.size
                turned = False
                if "exif" in image.info or image.format == "TIFF":  # elsewhere getexif may decode the whole image
                    with contextlib.suppress(Exception):  # damaged EXIF is no EXIF, as for every decoder
                        turned = image.getexif().get(_ORIENTATION) in (5, 6, 7, 8)
    except FileNotFoundError:
        raise UserError(f"{path}: no such image") from None
    except Exception as error:  # Pillow raises OSError, SyntaxError, ValueError, struct.error, ... by format
        reason = "" if isinstance(error, Image.UnidentifiedImageError) else f" ({' '.join(str(error).split())})"
        raise UserError(f"{path}: is no image that can be read{reason}") from None
    return (width, height) if turned else (height, width)


def read_text(path: Path) -> str:
    """UTF-8 text of an annotation file, a byte order mark left out.

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


def split_name(name: str) -> str:
    """valid, validation -> val, and the like; other names as they are."""
    return _SPLIT_ALIASES.get(name.lower(), name)


def choose_splits(found: dict[str, T], split: str | None, where: Path) -> dict[str, T]:
    """All splits, or the one that was asked for.

    Raises:
        UserError: it is not there.
    """
    if split is None:
        return found
    for name in (split, split_name(split)):
        if name in found:
            return {name: found[name]}
    raise UserError(f"{where}: has no split '{split}'; there {'are' if len(found) > 1 else 'is'} {', '.join(found)}")


def common_folder(entries: Sequence[Entry]) -> Path:
    """Deepest folder above all images."""
    return Path(os.path.commonpath({entry.path.parent for entry in entries}))


def number_classes(splits: Sequence[Split], classes: Sequence[str] | None) -> list[Category]:
    """Ids for class names: 1, 2, ... in the order of `classes`, else of the alphabet; whole numbers as names are their own ids."""
    if classes is None:
        names = {str(box.label) for split in splits for entry in split.entries for box in entry.boxes}
        if names and all(_as_number(name) is not None and str(int(name)) == name for name in names):
            return [Category(int(name), name, name) for name in sorted(names, key=int)]
        classes = sorted(names)
    return [Category(number, name, name) for number, name in enumerate(classes, start=1)]


def number_images(splits: Sequence[Split], known: dict[Path, int] | None = None) -> None:
    """Gives every image its id; the same file has the same id in all splits.

    Names that are numbers (000005, 2007_000027) are ids where all names of the data set are and none comes twice in a split; otherwise
    images are numbered from 1 in the order of the splits. `known` ids of files go first.
    """
    known = dict(known or {})
    paths = [list(dict.fromkeys(entry.path for entry in split.entries)) for split in splits]
    missing = [path for path in dict.fromkeys(path for group in paths for path in group) if path not in known]
    numbers = {path: _as_number(path.stem) for group in paths for path in group}
    are_ids = not known and None not in numbers.values() and all(len({numbers[p] for p in group}) == len(group) for group in paths)
    if are_ids:
        known = numbers
    else:
        first = max(known.values(), default=0) + 1
        known.update((path, first + position) for position, path in enumerate(missing))
    for split in splits:
        for entry in split.entries:
            entry.id = known[entry.path]


def tidy(value: float) -> float | int:
    """Pixels to four decimals, whole ones as integers."""
    value = round(value, 4)
    return int(value) if value == int(value) else value


def _as_number(name: str) -> int | None:
    digits = name.replace("_", "")
    is_number = digits.isascii() and digits.isdigit() and int(digits[:17]) == int(digits) < _LARGEST_ID
    return int(digits) if is_number else None
