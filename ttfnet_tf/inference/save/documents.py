"""Formats that are one document for all images: a function from the images so far to its text.

To add one: a function like `coco`, and a row in `formats.DOCUMENTS`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttfnet_tf.boxes import xyxy_to_xywh
from ttfnet_tf.json_text import json_text
from ttfnet_tf.outputs import marked

Entry = Mapping[str, Any]  # of an image, see `detections_json.image_entry`


@dataclass(frozen=True)
class About:
    """What a format may say beside the detections.

    Attributes:
        class_names, category_ids: of the detector, in the order of its outputs.
        root: the folder that holds all the images, to which `file_name` makes a name relative; None: names stay.
    """

    class_names: Sequence[str]
    category_ids: Sequence[int]
    root: str | None = None

    def file_name(self, file: str) -> str:
        """The name of an image relative to `root`, with "/" on every system."""
        return file if self.root is None else os.path.relpath(file, self.root).replace(os.sep, "/")


def common_folder(images: Sequence[object]) -> str | None:
    """The folder that holds all images, those of its sub-folders included; None if one is not a file of this machine."""
    if not all(isinstance(image, Path) for image in images):
        return None
    try:
        return os.path.commonpath([os.path.dirname(os.path.abspath(str(image))) for image in images])
    except ValueError:  # none, or on two drives
        return None


def coco(entries: Sequence[Entry], about: About) -> str:
    """An annotation file of COCO whose annotations have a score."""
    images, annotations = [], []
    for number, entry in enumerate(entries, start=1):
        name = about.file_name(entry["file"])
        images.append({"id": number, "file_name": name, "height": entry["height"], "width": entry["width"]})
        for one in entry["detections"]:
            x, y, width, height = (float(value) for value in xyxy_to_xywh([one["box"]])[0])
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": one["class_id"],
                    "bbox": [x, y, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "score": one["score"],
                }
            )
    categories = [{"id": number, "name": name} for number, name in zip(about.category_ids, about.class_names)]
    info = {"info": {"images": about.root}, "images": images, "annotations": annotations, "categories": categories}
    return json_text(marked("ttfnet predict", info))
