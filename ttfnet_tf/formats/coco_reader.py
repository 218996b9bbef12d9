"""The COCO reader: instances JSON files, one for each split."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.data.coco_file import read_coco
from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.records import Box, Category, DataSet, ImageRecord, Problems, Progress, Split, no_progress
from ttfnet_tf.formats.source_files import actual, files_like, is_file
from ttfnet_tf.formats.split_names import choose_splits, split_name

_OWN_KEYS = ("id", "image_id", "category_id", "bbox", "area", "segmentation")


def read_coco_files(
    source: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    problems: Problems,
    progress: Progress = no_progress,
) -> DataSet:
    """Reads one JSON file, or those of a folder (its `annotations` folder, or one in each of train, valid and test).

    Args:
        source: the file or folder.
        images: folder of the images; default the usual places beside the files.
        split: the one to read, or the name of a single file; default all, named after their files.
        classes: their order in the result; default ascending ids.
        problems: unused: a mistake in a COCO file stops the reading.
        progress: shows progress over a list.

    Raises:
        UserError: a file is missing or not COCO, or the files have different categories.
    """
    found = find_coco_files(source)
    if split is not None and len(found) == 1:
        found = {split: next(iter(found.values()))}
    found = choose_splits(found, split, source)
    notes: Counter[str] = Counter()
    names: dict[int, str] = {}
    splits = []
    for name, path in found.items():
        coco = read_coco(path)
        here = {identity: category["name"] for identity, category in coco.cats.items()}
        if names and here != names:
            raise UserError(f"{path}: has other categories than {next(iter(found.values()))}; convert the files one by one")
        names = here
        root = images or find_coco_images(path, name, coco.dataset["images"])
        if root is None:
            notes["images not found"] += len(coco.dataset["images"])
            root = path.parent
        splits.append(Split(name, [_image(one, coco, root) for one in progress(name, coco.dataset["images"])], root))
    return DataSet(_categories(names, classes), splits, notes)


def _image(image: dict, coco, root: Path) -> ImageRecord:
    boxes = [
        Box(one["category_id"], tuple(one["bbox"]), {key: value for key, value in one.items() if key not in _OWN_KEYS})
        for one in coco.imgToAnns.get(image["id"], ())
    ]
    return ImageRecord(actual(root / image["file_name"]), (image["height"], image["width"]), boxes, image["id"])


def _categories(names: dict[int, str], classes: Sequence[str] | None) -> list[Category]:
    categories = [Category(identity, name, identity) for identity, name in sorted(names.items())]
    if classes is not None:
        if sorted(classes) != sorted(names.values()):
            raise UserError(f"--classes {','.join(classes)}: the data set has {', '.join(names.values())}")
        categories.sort(key=lambda category: classes.index(category.name))
    return categories


def find_coco_files(source: Path) -> dict[str, Path]:
    """JSON files by the name of their split."""
    if source.is_file():
        return {_split_of(source): source}
    if not source.is_dir():
        raise UserError(f"{source}: no such file or folder")
    patterns = ("annotations/*.json", "*/_annotations.coco.json", "*.json")
    files = next((files for pattern in patterns if (files := files_like(source, pattern))), [])
    if not files:
        raise UserError(f"{source}: holds no JSON file")
    found: dict[str, Path] = {}
    for path in files:
        other = found.setdefault(_split_of(path), path)
        if other != path:
            raise UserError(f"{path}: is split '{_split_of(path)}' by its name, as {other} is; name one of them as SOURCE")
    return found


def _split_of(path: Path) -> str:
    """instances_val2017.json is val2017, valid/_annotations.coco.json is val."""
    if path.name == "_annotations.coco.json":
        return split_name(path.absolute().parent.name)
    return split_name(re.sub(r"^instances_", "", path.stem)) or "train"


def find_coco_images(path: Path, split: str, images: list[dict]) -> Path | None:
    """The usual folder that holds one of the first images."""
    home = path.absolute().parent
    usual = [base / inner for base in (home, home.parent) for inner in (".", split, "images", f"images/{split}", path.stem)]
    names = [image["file_name"] for image in images[:20]]
    return next((Path(os.path.normpath(folder)) for folder in usual if any(is_file(actual(folder / name)) for name in names)), None)
