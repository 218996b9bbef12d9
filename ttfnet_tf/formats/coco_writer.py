"""The COCO writer: the content of an instances JSON."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.formats.records import Category, DataSet, Split, tidy
from ttfnet_tf.json_text import json_text


def coco_files(data: DataSet, description: str) -> dict[str, str]:
    """Text by file name: `annotations/<split>.json`."""
    return {f"annotations/{split.name}.json": json_text(coco_content(split, data.categories, description)) for split in data.splits}


def coco_content(split: Split, categories: Sequence[Category], description: str) -> dict:
    """A COCO instances file.

    Args:
        split: its images have ids.
        categories: of the whole data set, the same for every split.
        description: for `info`.
    """
    id_of = {category.label: category.id for category in categories}
    images, annotations = [], []
    for image in split.images:
        height, width = image.size
        images.append({"id": image.id, "file_name": _relative(image.path, split.root), "height": height, "width": width})
        for box in image.boxes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.id,
                    "category_id": id_of[box.label],
                    "bbox": [tidy(side) for side in box.bbox],
                    "area": tidy(box.bbox[2] * box.bbox[3]),
                    "iscrowd": 0,
                    **box.extra,
                }
            )
    return {
        "info": {"description": description},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": category.id, "name": category.name, "supercategory": ""} for category in categories],
    }


def _relative(path: Path, root: Path) -> str:
    return (path.relative_to(root) if path.is_relative_to(root) else path.absolute()).as_posix()
