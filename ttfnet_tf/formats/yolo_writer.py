"""The YOLO writer: data.yaml, one label file for each image, and the images that are linked or copied."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.data_yaml import data_yaml_text
from ttfnet_tf.formats.records import DataSet, ImageRecord, Split
from ttfnet_tf.formats.source_files import is_file
from ttfnet_tf.formats.yolo_labels import label_line

DATA_YAML = "data.yaml"


def yolo_files(data: DataSet) -> tuple[dict[str, str], list[tuple[str, Path]]]:
    """Text by file name, and (name, image) of the images that exist; counts dropped and clipped boxes in the notes of `data`.

    Raises:
        UserError: two images would have the same label file.
    """
    number_of = {category.label: number for number, category in enumerate(data.categories)}
    texts = {DATA_YAML: data_yaml_text([category.name for category in data.categories], {s.name: _folder(s) for s in data.splits})}
    images = []
    for split in data.splits:
        for image in split.images:
            name = _image_name(image, split)
            labels = str(PurePosixPath(f"labels{name.removeprefix('images')}").with_suffix(".txt"))
            if labels in texts:
                raise UserError(f"{image.path}: would share the label file {labels} with another image; rename one of them")
            texts[labels] = _label_text(image, number_of, data)
            if is_file(image.path):
                images.append((name, image.path))
    return texts, images


def yolo_ids(data: DataSet) -> dict:
    """Ids that YOLO's files cannot hold: `categories` by class number, `images` by file."""
    return {
        "categories": [category.id for category in data.categories],
        "images": {_image_name(image, split): image.id for split in data.splits for image in split.images},
    }


def _label_text(image: ImageRecord, number_of: dict[str | int, int], data: DataSet) -> str:
    lines = []
    for box in image.boxes:
        if box.extra.get("iscrowd") or box.extra.get("ignore"):
            data.notes["boxes marked crowd (as difficult ones of VOC) or ignore are dropped, because YOLO has no such flags"] += 1
            continue
        line, is_clipped = label_line(number_of[box.label], box.bbox, image.size)
        data.notes["boxes are clipped to their image, because YOLO cannot hold them otherwise"] += is_clipped
        if line is None:
            data.notes["boxes without area inside their image are dropped"] += 1
        else:
            lines.append(line + "\n")
    return "".join(lines)


def _folder(split: Split) -> str:
    return f"images/{split.name}"


def _image_name(image: ImageRecord, split: Split) -> str:
    """File name of an image in the result."""
    if not image.path.is_relative_to(split.root):
        return f"{_folder(split)}/{image.path.name}"
    name = PurePosixPath(image.path.relative_to(split.root).as_posix())
    return f"{_folder(split)}/{PurePosixPath(*(part for part in name.parts if part != '..'))}"
