"""A split of a data set: the images of one COCO file with the boxes that training or evaluation uses.

The rules of a training split (mmdetection 1.0 `CocoDataset._filter_imgs` and `_parse_ann_info`; each is a setting of the `data` section):

- a box with `ignore`, with `area` <= 0 or with a side below `min_box_size` is dropped; so is one that lies outside its image;
- a box with `iscrowd` is background unless `crowd="object"`;
- an image with a side below `min_image_size` is dropped, and so is one without a usable box unless `empty_images="keep"`.

An evaluation split keeps every image.
"""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf.boxes import xywh_to_xyxy
from ttfnet_tf.data.box_rules import reason_to_drop
from ttfnet_tf.data.coco_file import read_coco
from ttfnet_tf.errors import UserError


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """One image and its usable boxes."""

    id: int  # image id of the annotation file
    path: Path
    size: tuple[int, int]  # (height, width) in pixels as annotated
    boxes: np.ndarray  # float32 [N, 4] xyxy in pixels of the image, inclusive corners, not clipped
    labels: np.ndarray  # int32 [N], 0-based position in `CocoSplit.category_ids`


@dataclass(frozen=True, eq=False)
class CocoSplit:
    """The images of one annotation file, ready for `data.pipeline`."""

    images: list[AnnotatedImage]  # in the order of the file
    category_ids: list[int]  # ascending; label k stands for category_ids[k], gaps are kept
    class_names: list[str]
    annotations: Path
    dropped: dict[str, int]  # reason -> number of boxes or images dropped for it

    @property
    def num_classes(self) -> int:
        return len(self.category_ids)

    @functools.cached_property
    def max_boxes(self) -> int:
        """Largest number of boxes in one image, at least 1; counted once."""
        return max([1, *(len(image.boxes) for image in self.images)])

    @functools.cached_property
    def missing_images(self) -> list[AnnotatedImage]:
        """Images whose file does not exist; each file is looked for once, when this is first asked."""
        return [image for image in self.images if not image.path.is_file()]

    def summary(self) -> str:
        """One line: what is used and what was dropped, with counts."""
        boxes = sum(len(image.boxes) for image in self.images)
        dropped = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items()) or "nothing"
        return f"{self.annotations}: {len(self.images)} images, {boxes} boxes, {self.num_classes} classes; dropped: {dropped}"


def load_coco(
    annotations: str | Path,
    images: str | Path,
    *,
    crowd: str = "background",
    min_box_size: float = 1.0,
    min_image_size: int = 32,
    empty_images: str = "drop",
    training: bool,
) -> CocoSplit:
    """Reads one split.

    Args:
        annotations: COCO instances JSON.
        images: folder that the file names in it are relative to.
        crowd: "background" drops boxes with iscrowd, "object" uses them like any other.
        min_box_size: pixels of the original image; boxes with a shorter side are dropped.
        min_image_size: pixels; training images with a shorter side are dropped.
        empty_images: "drop" drops training images without a usable box, "keep" trains on them as background.
        training: whether images may be dropped; an evaluation split keeps all of them.

    Raises:
        UserError: a file or folder is missing, the file is not COCO, an id is unknown or given twice, or no image is left to train on.
    """
    annotations, images, coco = _read_files(annotations, images, "data.train" if training else "data.val")
    category_ids = sorted(coco.cats)
    label_of = {category: label for label, category in enumerate(category_ids)}
    dropped: Counter[str] = Counter()
    kept = []
    for image in coco.dataset["images"]:
        size = (image["height"], image["width"])
        usable = []
        for annotation in coco.imgToAnns[image["id"]]:
            reason = reason_to_drop(annotation, size, crowd=crowd, min_box_size=min_box_size)
            if reason:
                dropped[reason] += 1
            else:
                usable.append(annotation)
        if training and min(size) < min_image_size:
            dropped["images below min_image_size"] += 1
        elif training and not usable and empty_images == "drop":
            dropped["images without a usable box"] += 1
        else:
            boxes = xywh_to_xyxy([annotation["bbox"] for annotation in usable])
            labels = np.array([label_of[annotation["category_id"]] for annotation in usable], np.int32)
            kept.append(AnnotatedImage(image["id"], images / image["file_name"], size, boxes, labels))
    split = CocoSplit(kept, category_ids, [coco.cats[c]["name"] for c in category_ids], annotations, dict(dropped))
    if not kept:
        raise UserError(f"{split.summary()}; no image is left to train on")
    return split


def _read_files(annotations: str | Path, images: str | Path, key: str) -> tuple[Path, Path, Any]:
    """(annotation file, folder of the images, pycocotools object); `key` is the section that messages name."""
    if not str(annotations):
        raise UserError(f"{key}.annotations is empty; name a COCO instances JSON")
    if not str(images):
        raise UserError(f"{key}.images is empty; name the folder of the images of {annotations}")
    annotations, images = Path(annotations), Path(images)
    coco = read_coco(annotations)
    if not images.is_dir():
        raise UserError(f"{images}: is not a folder; set {key}.images to the folder of the images of {annotations}")
    return annotations, images, coco
