"""Ids of classes and images, where the source has names only."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.formats.records import Category, Split

_LARGEST_CATEGORY_ID = 2**31  # detections hold them as int32
_LARGEST_ID = 2**53  # larger integers are not exact in every reader of JSON


def number_classes(splits: Sequence[Split], classes: Sequence[str] | None) -> list[Category]:
    """Ids for class names: 1, 2, ... in the order of `classes`, else alphabetically; names that are whole numbers are their own ids."""
    if classes is None:
        names = {str(box.label) for split in splits for image in split.images for box in image.boxes}
        if names and all(_is_category_id(name) for name in names):
            return [Category(int(name), name, name) for name in sorted(names, key=int)]
        classes = sorted(names)
    return [Category(number, name, name) for number, name in enumerate(classes, start=1)]


def number_images(splits: Sequence[Split], known: dict[Path, int] | None = None) -> None:
    """Gives every image its id; a file has the same id in all splits.

    File names that are numbers (000005, 2007_000027) are the ids if all names of the data set are numbers and none repeats in a split;
    otherwise images are numbered from 1 in the order of the splits.

    Args:
        splits: their images get their `id`.
        known: ids of files that keep them; the other images are numbered after them.
    """
    known = dict(known or {})
    paths = [list(dict.fromkeys(image.path for image in split.images)) for split in splits]
    missing = [path for path in dict.fromkeys(path for group in paths for path in group) if path not in known]
    numbers = {path: _as_number(path.stem) for group in paths for path in group}
    are_ids = not known and None not in numbers.values() and all(len({numbers[p] for p in group}) == len(group) for group in paths)
    if are_ids:
        known = numbers
    else:
        first = max(known.values(), default=0) + 1
        known.update((path, first + position) for position, path in enumerate(missing))
    for split in splits:
        for image in split.images:
            image.id = known[image.path]


def _is_category_id(name: str) -> bool:
    number = _as_number(name)
    return number is not None and str(number) == name and number < _LARGEST_CATEGORY_ID


def _as_number(name: str) -> int | None:
    digits = name.replace("_", "")
    is_number = digits.isascii() and digits.isdigit() and len(digits.lstrip("0")) < 17 and len(digits) < 1000
    return int(digits) if is_number and int(digits) < _LARGEST_ID else None
