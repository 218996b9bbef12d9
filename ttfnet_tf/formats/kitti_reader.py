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
from ttfnet_tf.formats.split_names import USUAL, choose_splits, split_name, split_rank
from ttfnet_tf.json_text import short_json

LISTS = "ImageSets"  # folder of train.txt, val.txt and the like, each with the names of its images
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
    """Reads a folder of label files, or one with training/label_2 or label_2 in it; lists in ImageSets choose the files of a split.

    Args:
        source: the folder.
        images: folder of the images; default image_2 or images beside the labels, else that of the labels.
        split: the one to read, or the name of the only one; default train, val and test of the lists, else all, named after their folders.
        classes: their order; default alphabetical.
        problems: gets a line for every mistake; images with mistakes are skipped.
        progress: shows progress over a list.

    Raises:
        UserError: there is no label file, or no such split.
    """
    if not source.is_dir():
        raise UserError(f"{source}: is not a folder; name the folder of KITTI's label files")
    notes: Counter[str] = Counter()
    folders = _label_folders(source)
    found = _by_lists(source, folders, split, problems, notes) or _by_folders(source, folders, split)
    homes = {folder: images or _image_folder(folder) for folder in folders.values()}
    collected = LabelledImages(ImageFinder(list(homes.values())), classes, problems, notes)
    indexes = {home: ImageIndex([home]) for home in homes.values()}
    for name, files in found.items():
        for path in progress("label files", files):
            boxes = _read_file(path, problems, notes)
            if boxes is None:
                continue
            try:
                collected.add(name, path.stem, None, boxes, str(path), indexes[homes[path.parent]].find(path, ""))
            except Mistake as mistake:
                problems.add(path, None, str(mistake))
    return collected.data_set(source, images, split, classes)


def _by_folders(source: Path, folders: dict[str, Path], split: str | None) -> dict[str, list[Path]]:
    """Split -> its label files, without lists."""
    if len(folders) > 1:
        folders = choose_splits(folders, split, source)
    elif split is not None:
        folders = {split: next(iter(folders.values()))}
    found = {name: files_like(folder, "*.txt") for name, folder in folders.items()}
    for name, files in found.items():
        if not files:
            raise UserError(f"{folders[name]}: holds no label file")
    return found


def _by_lists(
    source: Path, folders: dict[str, Path], split: str | None, problems: Problems, notes: Counter[str]
) -> dict[str, list[Path]] | None:
    """Split -> the label files that its list in ImageSets names; None without lists.

    KITTI's images of testing have no labels, but the names of those of training: a test list that names images of another list is theirs.
    """
    lists = {split_name(path.stem): path for path in files_like(source / LISTS, "*.txt")}
    if not lists:
        return None
    names = {name: _read_list(path) for name, path in sorted(lists.items(), key=lambda one: split_rank(one[0]))}
    if "test" in names and "test" not in folders and _is_of_testing(source, names):
        if split is not None and split_name(split) == "test":
            raise UserError(f"{lists['test']}: names images without labels; choose another split")
        notes[f"split without labels is skipped ({LISTS}/{lists['test'].name})"] += 1
        del names["test"]
    if split is not None:
        names = choose_splits(names, split, source / LISTS)
    elif any(name in USUAL for name in names):
        names = {name: lines for name, lines in names.items() if name in USUAL}
    found = {}
    for name, lines in names.items():
        own = [folders[name]] if name in folders else [folder for key, folder in folders.items() if key != "test"] or list(folders.values())
        labels = {path.stem: path for folder in reversed(own) for path in files_like(folder, "*.txt")}
        for line, frame in lines.items():
            if frame not in labels:
                problems.add(lists[name], line, f"names {short_json(frame, 40)}, of which {own[0]} has no label file")
        found[name] = list(dict.fromkeys(labels[frame] for frame in lines.values() if frame in labels))
    return found


def _read_list(path: Path) -> dict[int, str]:
    """Line, counted from 1 -> the name of an image in a list."""
    return {line: text.strip() for line, text in enumerate(read_text(path).splitlines(), start=1) if text.strip()}


def _is_of_testing(source: Path, names: dict[str, dict[int, str]]) -> bool:
    """Whether the list test is about images of a folder of their own, which have no labels."""
    others = {frame for name, lines in names.items() if name != "test" for frame in lines.values()}
    has_folder = any(child.is_dir() and split_name(child.name) == "test" for child in source.iterdir())
    return has_folder or not others.isdisjoint(names["test"].values())


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
