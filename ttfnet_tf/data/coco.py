"""COCO annotations: read through pycocotools, checked before use, filtered as the reference does.

The rules of a training split (mmdetection 1.0 `CocoDataset._filter_imgs` and `_parse_ann_info`; each is a setting of the `data` section):

- a box with `ignore`, with `area` <= 0 or with a side below `min_box_size` is dropped; so is one that misses its image altogether;
- a box with `iscrowd` is background unless `crowd="object"`;
- an image with a side below `min_image_size` is dropped, and so is one without a usable box unless `empty_images="keep"`.

Every image of an evaluation split stays, whatever it holds.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools.coco import COCO

from ttfnet_tf.boxes import xywh_to_xyxy
from ttfnet_tf.errors import UserError


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """One image and its usable boxes."""

    id: int  # image id of the annotation file
    path: Path
    size: tuple[int, int]  # (height, width) in pixels as the annotations give it
    boxes: np.ndarray  # float32 [N, 4] xyxy in pixels of the image, inclusive corners, not clipped
    labels: np.ndarray  # int32 [N], 0-based position in `CocoSplit.category_ids`


@dataclass(frozen=True, eq=False)
class CocoSplit:
    """The images of one annotation file, ready for `data.pipeline`."""

    images: list[AnnotatedImage]  # in the order of the file
    category_ids: list[int]  # rising; label k stands for category_ids[k], gaps are kept
    class_names: list[str]
    annotations: Path
    dropped: dict[str, int]  # reason -> number of boxes or images left out for it

    @property
    def num_classes(self) -> int:
        return len(self.category_ids)

    @property
    def max_boxes(self) -> int:
        """Largest number of boxes in one image, at least 1."""
        return max([1, *(len(image.boxes) for image in self.images)])

    def summary(self) -> str:
        """One line: what is used and what was left out, with counts."""
        boxes = sum(len(image.boxes) for image in self.images)
        left_out = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items()) or "nothing"
        return f"{self.annotations}: {len(self.images)} images, {boxes} boxes, {self.num_classes} classes; left out: {left_out}"


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
        crowd: "background" leaves boxes with iscrowd out, "object" uses them like any other.
        min_box_size: pixels of the original image; boxes with a shorter side are left out.
        min_image_size: pixels; training images with a shorter side are left out.
        empty_images: "drop" leaves out training images without a usable box, "keep" trains on them as background.
        training: whether images may be left out; an evaluation split keeps all of them.

    Raises:
        UserError: a file or folder is missing, the file is not COCO, an id is unknown or given twice, or nothing is left to train on.
    """
    split_key = "data.train" if training else "data.val"
    if not str(annotations):
        raise UserError(f"{split_key}.annotations is empty; name a COCO instances JSON")
    if not str(images):
        raise UserError(f"{split_key}.images is empty; name the folder of the images of {annotations}")
    annotations, images = Path(annotations), Path(images)
    coco = read_coco(annotations)
    if not images.is_dir():
        raise UserError(f"{images}: is not a folder; set {split_key}.images to the folder of the images of {annotations}")

    category_ids = sorted(coco.cats)
    label_of = {category: label for label, category in enumerate(category_ids)}
    dropped: Counter[str] = Counter()
    kept = []
    for image in coco.dataset["images"]:
        usable = []
        for annotation in coco.imgToAnns[image["id"]]:
            reason = _reason_to_drop(annotation, image, crowd=crowd, min_box_size=min_box_size)
            if reason:
                dropped[reason] += 1
            else:
                usable.append(annotation)
        if training and min(image["height"], image["width"]) < min_image_size:
            dropped["images below min_image_size"] += 1
        elif training and not usable and empty_images == "drop":
            dropped["images without a usable box"] += 1
        else:
            kept.append(
                AnnotatedImage(
                    id=image["id"],
                    path=images / image["file_name"],
                    size=(image["height"], image["width"]),
                    boxes=xywh_to_xyxy([annotation["bbox"] for annotation in usable]),
                    labels=np.array([label_of[annotation["category_id"]] for annotation in usable], np.int32),
                )
            )
    split = CocoSplit(kept, category_ids, [coco.cats[c]["name"] for c in category_ids], annotations, dict(dropped))
    if not kept:
        raise UserError(f"{split.summary()}; no image is left to train on")
    return split


def read_coco(path: str | Path) -> COCO:
    """The checked annotations as a pycocotools object, without its prints; also what COCOeval takes as ground truth.

    An annotation with id 0 gets another id in memory: COCOeval marks "no match" by 0 and would count its detection as wrong.

    Raises:
        UserError: the file cannot be read or is not a COCO instances file; names the id or the position of the entry at fault.
    """
    path = Path(path)
    content = _read_json(path)
    _check_content(content, path)
    for annotation in content["annotations"]:
        if annotation["id"] == 0:
            annotation["id"] = 1 + max(a["id"] for a in content["annotations"])
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _reason_to_drop(annotation: dict, image: dict, *, crowd: str, min_box_size: float) -> str | None:
    x, y, width, height = annotation["bbox"]
    if annotation.get("ignore"):
        return "boxes marked ignore"
    if annotation.get("iscrowd") and crowd == "background":
        return "crowd boxes"
    area = annotation.get("area")
    if width <= 0 or height <= 0 or (area is not None and area <= 0):
        return "boxes without area"
    if width < min_box_size or height < min_box_size:
        return "boxes below min_box_size"
    # The reference keeps these and trains on what clipping leaves of them, a sliver on the border.
    if x >= image["width"] or y >= image["height"] or x + width <= 0 or y + height <= 0:
        return "boxes outside their image"
    return None


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a COCO instances JSON") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: is not JSON text; name a COCO instances JSON") from None
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: is not JSON ({error.msg} at line {error.lineno}); name a COCO instances JSON") from None


def _check_content(content: Any, path: Path) -> None:
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a COCO instances file (it holds a {type(content).__name__}, not an object)")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise UserError(f"{path}: is not a COCO instances file (it has no list '{key}')")
    categories = _checked_ids(content["categories"], "category", path)
    image_ids = _checked_ids(content["images"], "image", path)
    _checked_ids(content["annotations"], "annotation", path)
    for key in ("categories", "images"):
        if not content[key]:
            raise UserError(f"{path}: its list '{key}' is empty")

    for category in content["categories"]:
        if not isinstance(category.get("name"), str) or not category["name"]:
            raise UserError(f"{path}: category id {category['id']} has no name")
    for image in content["images"]:
        if image["id"] < 0:
            raise UserError(f"{path}: image id {image['id']} is negative; ids must be 0 or more")
        if not isinstance(image.get("file_name"), str) or not image["file_name"]:
            raise UserError(f"{path}: image id {image['id']} has no file_name")
        if not all(_is_number(image.get(side)) and image[side] >= 1 for side in ("width", "height")):
            raise UserError(f"{path}: image id {image['id']} ({image['file_name']}) has no width and height in pixels")
    for annotation in content["annotations"]:
        _check_annotation(annotation, image_ids, categories, path)


def _check_annotation(annotation: dict, image_ids: set[int], categories: set[int], path: Path) -> None:
    where = f"{path}: annotation id {annotation['id']}"
    image, category, box = (annotation.get(key) for key in ("image_id", "category_id", "bbox"))
    if not _is_integer(image) or image not in image_ids:
        raise UserError(f"{where} belongs to image id {image}, which is not in 'images'")
    if not _is_integer(category) or category not in categories:
        raise UserError(f"{where} has category id {category}, which is not in 'categories' (known: {_some(categories)})")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(side) for side in box):
        raise UserError(f"{where} has bbox {json.dumps(box)}, which is not four finite numbers x, y, width, height")
    area = annotation.get("area")
    if area is not None and not _is_number(area):
        raise UserError(f"{where} has area {json.dumps(area)}, which is not a finite number")


def _checked_ids(entries: list, kind: str, path: Path) -> set[int]:
    """The ids of a list of objects, all of them different integers."""
    ids: set[int] = set()
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise UserError(f"{path}: {kind} number {position} (from 0) is not an object: {json.dumps(entry)[:60]}")
        identity = entry.get("id")
        if not _is_integer(identity):
            raise UserError(f"{path}: {kind} number {position} (from 0) has id {json.dumps(identity)}, which is not an integer")
        if identity in ids:
            raise UserError(f"{path}: {kind} id {identity} is given twice")
        ids.add(identity)
    return ids


def _is_integer(value: Any) -> bool:
    return type(value) is int  # what json gives; True is no id


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 2**53  # neither NaN nor infinite


def _some(ids: Iterable[int], limit: int = 5) -> str:
    ordered = sorted(ids)
    return ", ".join(str(i) for i in ordered[:limit]) + (f", ... {len(ordered)} in all" if len(ordered) > limit else "")
