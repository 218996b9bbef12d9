"""One COCO instances JSON, read through pycocotools and checked first; the first fault stops with one line that names its id."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pycocotools.coco import COCO

from ttfnet_tf.data.box_rules import is_flag
from ttfnet_tf.data.file_names import file_name_fault
from ttfnet_tf.errors import UserError
from ttfnet_tf.json_text import NotJson, is_integer, is_number, parse_json, short_json
from ttfnet_tf.locations import location

LARGEST_CATEGORY = 2**31 - 1  # detections hold category ids as int32


def read_coco(path: str | Path) -> COCO:
    """The checked annotations as a pycocotools object, without its prints; also what COCOeval takes as ground truth.

    An annotation with id 0 gets another id in memory: COCOeval marks "no match" by 0 and would count its detection as wrong.

    Raises:
        UserError: the file cannot be read or is not a COCO instances file; names the id or the position of the wrong entry.
    """
    file = location(path)
    content = read_content(file, read_bytes(file))
    for annotation in content["annotations"]:
        if annotation["id"] == 0:
            annotation["id"] = 1 + max(a["id"] for a in content["annotations"])
    coco = COCO()
    coco.dataset = content
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def read_bytes(path: Path) -> bytes:
    """What a file holds.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a COCO instances JSON") from None


def read_content(path: Path, data: bytes) -> dict[str, Any]:
    """The checked content of a file; it has the lists "images", "annotations" and "categories".

    Args:
        path: of the file, for messages.
        data: its bytes.

    Raises:
        UserError: it is not a COCO instances file.
    """
    try:
        content = parse_json(data)
    except NotJson as error:
        raise UserError(f"{path}: {error}; name a COCO instances JSON") from None
    _check_content(content, path)
    return content


def _check_content(content: Any, path: Path) -> None:
    if not isinstance(content, dict):
        raise UserError(f"{path}: is not a COCO instances file (it holds a {type(content).__name__}, not an object)")
    content.setdefault("annotations", [])  # COCO's image_info files of test sets have none
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
        if abs(category["id"]) > LARGEST_CATEGORY:
            raise UserError(f"{path}: category id {category['id']} has more than 31 bits; give it a smaller one")
        if not isinstance(category.get("name"), str) or not category["name"]:
            raise UserError(f"{path}: category id {category['id']} has no name")
    for image in content["images"]:
        if image["id"] < 0:
            raise UserError(f"{path}: image id {image['id']} is negative; ids must be 0 or more")
        if not isinstance(image.get("file_name"), str) or not image["file_name"]:
            raise UserError(f"{path}: image id {image['id']} has no file_name")
        if fault := file_name_fault(image["file_name"]):
            raise UserError(f"{path}: image id {image['id']} has a file_name that {fault}: {short_json(image['file_name'])}")
        if not all(is_number(image.get(side)) and image[side] >= 1 for side in ("width", "height")):
            raise UserError(f"{path}: image id {image['id']} ({image['file_name']}) has no width and height in pixels")
    for annotation in content["annotations"]:
        _check_annotation(annotation, image_ids, categories, path)


def _check_annotation(annotation: dict, image_ids: set[int], categories: set[int], path: Path) -> None:
    where = f"{path}: annotation id {annotation['id']}"
    image, category, box = (annotation.get(key) for key in ("image_id", "category_id", "bbox"))
    if not is_integer(image) or image not in image_ids:
        raise UserError(f"{where} belongs to image id {short_json(image)}, which is not in 'images'")
    if not is_integer(category) or category not in categories:
        raise UserError(f"{where} has category id {short_json(category)}, which is not in 'categories' (known: {_some(categories)})")
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(side) for side in box):
        raise UserError(f"{where} has bbox {short_json(box)}, which is not four finite numbers x, y, width, height")
    area = annotation.get("area")
    if area is not None and not is_number(area):
        raise UserError(f"{where} has area {short_json(area)}, which is not a finite number")
    for key in ("iscrowd", "ignore"):
        if not is_flag(annotation.get(key)):
            raise UserError(f"{where} has {key} {short_json(annotation[key])}, which is neither 0 nor 1")


def _checked_ids(entries: list, kind: str, path: Path) -> set[int]:
    """The ids of a list of objects, all of them different integers."""
    ids: set[int] = set()
    for position, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise UserError(f"{path}: {kind} number {position} (from 0) is not an object: {short_json(entry)}")
        identity: Any = entry.get("id")
        if not is_integer(identity):
            raise UserError(f"{path}: {kind} number {position} (from 0) has id {short_json(identity)}, which is not an integer")
        if identity in ids:
            raise UserError(f"{path}: {kind} id {identity} is given twice")
        ids.add(identity)
    return ids


def _some(ids: Iterable[int], limit: int = 5) -> str:
    ordered = sorted(ids)
    return ", ".join(str(i) for i in ordered[:limit]) + (f", ... {len(ordered)} in all" if len(ordered) > limit else "")
