"""The KITTI reader: one text file for each image, with a line of 15 columns for each object; corners in pixels counted from 0."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.json_nodes import Mistake
from ttfnet_tf.formats.labelled_images import ImageFinder, LabelledImages
from ttfnet_tf.formats.records import Box, DataSet, Problems, Progress, no_progress
from ttfnet_tf.formats.source_files import ImageIndex, files_like, parse_number, read_text
from ttfnet_tf.formats.split_names import choose_splits, split_name

LABEL_FOLDERS = ("label_2", "training/label_2", "*/label_2")
_COLUMNS = (15, 16)  # the last is a score
_IGNORED = "DontCare"
_CORNERS = ("left", "top", "right", "bottom")


def read_kitti(
    source: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    problems: Problems,
    progress: Progress = no_progress,
) -> DataSet:
    """Reads a folder of label files, or one with training/label_2 or label_2 in it.

    Args:
        source: the folder.
        images: folder of the images; default image_2 or images beside the labels, else that of the labels.
        split: the one to read, or the name of the only one; default all, named after their folders, or "train".
        classes: their order; default alphabetical.
        problems: gets a line for every mistake; images with mistakes are skipped.
        progress: shows progress over a list.

    Raises:
        UserError: there is no label file, or no such split.
    """
    if not source.is_dir():
        raise UserError(f"{source}: is not a folder; name the folder of KITTI's label files")
    folders = _label_folders(source)
    if len(folders) > 1:
        folders = choose_splits(folders, split, source)
    elif split is not None:
        folders = {split: next(iter(folders.values()))}
    notes: Counter[str] = Counter()
    homes = {name: images or _image_folder(folder) for name, folder in folders.items()}
    collected = LabelledImages(ImageFinder(list(homes.values())), classes, problems, notes)
    for name, folder in folders.items():
        index = ImageIndex([homes[name]])
        files = files_like(folder, "*.txt")
        if not files:
            raise UserError(f"{folder}: holds no label file")
        for path in progress("label files", files):
            boxes = _read_file(path, problems, notes)
            if boxes is None:
                continue
            try:
                collected.add(name, path.stem, None, boxes, str(path), index.find(path, ""))
            except Mistake as mistake:
                problems.add(path, None, str(mistake))
    return collected.data_set(source, images, split, classes)


def _label_folders(source: Path) -> dict[str, Path]:
    found = sorted({folder for pattern in LABEL_FOLDERS for folder in source.glob(pattern) if folder.is_dir()})
    names = {("train" if folder.parent == source else split_name(folder.parent.name)): folder for folder in found}
    return names or {"train": source}


def _image_folder(labels: Path) -> Path:
    beside = labels.absolute().parent
    return next((beside / name for name in ("image_2", "images", "image") if (beside / name).is_dir()), labels)


def _read_file(path: Path, problems: Problems, notes: Counter[str]) -> list[Box] | None:
    """The boxes of a label file; None if it has a mistake."""
    try:
        lines = read_text(path).splitlines()
    except UserError as error:
        problems.lines.append(str(error))
        return None
    before, boxes = len(problems), []
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) not in _COLUMNS:
            problems.add(path, number, f"has {len(fields)} columns; KITTI has 15, or 16 with a score")
            continue
        corners = [parse_number(text) for text in fields[4:8]]
        for corner, value, text in zip(_CORNERS, corners, fields[4:8]):
            if value is None:
                problems.add(path, number, f"{corner} is '{text}', not a number")
        if fields[0] == _IGNORED:
            notes[f"{_IGNORED} regions are dropped"] += 1
        elif None not in corners:
            left, top, right, bottom = (value for value in corners if value is not None)
            for low, first, high, last in (("left", left, "right", right), ("top", top, "bottom", bottom)):
                if last < first:
                    problems.add(path, number, f"{high} {last:g} lies before {low} {first:g}")
            boxes.append(Box(fields[0], (left, top, right - left, bottom - top), _flags(fields)))
    return boxes if len(problems) == before else None


def _flags(fields: list[str]) -> dict:
    """Keys of the annotation: truncated (fraction outside the image) and occluded (1 partly, 2 largely, 3 unknown), where not 0."""
    found = {name: parse_number(text) for name, text in zip(("truncated", "occluded"), fields[1:3])}
    return {name: value for name, value in found.items() if value is not None and value > 0}
