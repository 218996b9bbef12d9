"""The YOLO reader: a data.yaml or a folder of images with label files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.data_yaml import find_data_yaml, read_data_yaml
from ttfnet_tf.formats.numbering import number_images
from ttfnet_tf.formats.output_folder import RECORD
from ttfnet_tf.formats.records import Category, DataSet, Problems, Progress, Split, no_progress
from ttfnet_tf.formats.source_files import common_folder, files_like, find_images, is_file, read_text
from ttfnet_tf.formats.split_names import USUAL, split_name
from ttfnet_tf.formats.yolo_labels import LabelReader
from ttfnet_tf.formats.yolo_layout import images_of_folder, images_of_yaml, label_file
from ttfnet_tf.json_text import integer, read_json

_CLASS_FILES = ("classes.txt", "obj.names", "_darknet.labels", "classes.names")


def read_yolo(
    source: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    problems: Problems,
    progress: Progress = no_progress,
) -> DataSet:
    """Reads a data.yaml and what it names, or a folder in one of the usual layouts.

    Layouts without a data.yaml: images/train beside labels/train, train/images beside train/labels, images beside labels, train.txt
    with paths of images, and text files beside their images. An image without a text file has no objects.

    Args:
        source: the data.yaml, or the folder.
        images: in place of the `path` of data.yaml; for a folder of only text files, the folder of their images.
        split: the one to read, or the name for images without one; default all, or "train".
        classes: names by number, where no file has them.
        problems: gets a line for every mistake; images with mistakes are skipped.
        progress: shows progress over a list.

    Raises:
        UserError: files or folders are missing, or there are no class names.
    """
    notes: Counter[str] = Counter()
    path = find_data_yaml(source)
    document = read_data_yaml(path) if path is not None else None
    if document is not None:
        found, folder = images_of_yaml(document, images, split, problems, notes), document.path.parent
    else:
        if not source.is_dir():
            raise UserError(f"{source}: is neither a data.yaml nor the folder of a YOLO data set")
        found, folder = images_of_folder(source, images, split, problems), source
    names = _choose_names(document.names if document else None, folder, classes, source)
    # Only text files in SOURCE, images elsewhere.
    apart = (source, images) if document is None and images is not None and not find_images(source) else None
    labels = _label_files(found, apart, source)

    reader = LabelReader(names, document is not None and document.content.get("kpt_shape") is not None, problems, notes)
    records = {image: reader.read(image, labels[image]) for image in progress("images", list(labels))}
    _note_unused(labels, notes)
    splits = []
    for name, paths in found.items():
        kept = [record for record in map(records.get, paths) if record is not None]
        splits.append(Split(name, kept, common_folder(kept) if kept else folder))
    category_ids, known = _recorded_ids(folder, names, [image for image, record in records.items() if record is not None])
    number_images(splits, known)
    categories = [Category(category_ids.get(number, number), name, number) for number, name in names.items()]
    return DataSet(sorted(categories, key=lambda category: category.id), splits, notes)


def _choose_names(names: dict[int, str] | None, folder: Path, classes: Sequence[str] | None, source: Path) -> dict[int, str]:
    """Class names by number: of the data.yaml, of a file of classes, or `classes`."""
    if names is None:
        found = [path for name in _CLASS_FILES for path in (folder / name, folder / "labels" / name) if is_file(path)]
        if found:
            names = dict(enumerate(line.strip() for line in read_text(found[0]).splitlines() if line.strip()))
    if names and classes is not None and list(names.values()) != list(classes):
        raise UserError(f"--classes {','.join(classes)}: the data set has names of its own ({', '.join(names.values())})")
    names = names or dict(enumerate(classes or ()))
    if not names:
        raise UserError(f"{source}: has no class names; add names to a data.yaml, or --classes a,b,c in the order of their numbers")
    return names


def _label_files(found: dict[str, list[Path]], apart: tuple[Path, Path] | None, source: Path) -> dict[Path, Path]:
    """Label file of each image; a split without a single one is refused."""
    labels: dict[Path, Path] = {}
    for name, paths in found.items():
        labels.update((path, label_file(path, apart)) for path in paths)
        if paths and not any(is_file(labels[path]) for path in paths):
            raise UserError(f"{source}: split '{name}' has {len(paths)} images and no label file; expected such as {labels[paths[0]]}")
    return labels


def _note_unused(labels: dict[Path, Path], notes: Counter) -> None:
    used = set(labels.values())
    for folder in sorted({label.parent for label in used}):
        for path in files_like(folder, "*.txt"):
            if path not in used and path.name not in _CLASS_FILES and split_name(path.stem) not in USUAL:
                notes["label files without an image are skipped"] += 1


def _recorded_ids(folder: Path, names: dict[int, str], images: Iterable[Path]) -> tuple[dict[int, int], dict[Path, int] | None]:
    """Category ids by number and image ids by path, as `convert` left them in its record; empty without a record."""
    record = folder / RECORD
    if not record.is_file():
        return {}, None
    try:
        ids = read_json(record)["ids"]
        category_ids = {number: integer(identity) for number, identity in enumerate(ids["categories"])}
        image_ids = {folder / name: integer(identity) for name, identity in ids["images"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{record}: is damaged; delete it to number images and classes again") from None
    if category_ids.keys() != names.keys():  # classes were added since
        category_ids = {}
    return category_ids, {path: image_ids[path] for path in images if path in image_ids} or None
