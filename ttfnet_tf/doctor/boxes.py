"""Checks annotations one by one: references, malformed numbers, the crowd rule; and boxes that are all of another format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ttfnet_tf.doctor.box_geometry import OUTSIDE, check_geometry
from ttfnet_tf.doctor.findings import Findings, Settings
from ttfnet_tf.doctor.ids_and_names import entries_with_id
from ttfnet_tf.doctor.inventory import ImageEntry, Inventory, SoundBox
from ttfnet_tf.json_text import is_number, short_json


def check_boxes(
    section: list, images: Mapping[int, ImageEntry | None], inventory: Inventory, findings: Findings, settings: Settings
) -> None:
    """Checks 'annotations', and counts them into `inventory` and its images.

    Args:
        section: the list of annotations.
        images: of `ids_and_names.check_image_entries`.
        inventory: counts by category are added.
        findings: of this file.
        settings: as in `annotations.check_annotations`.
    """
    sound = []
    for position, annotation, _ in entries_with_id(section, "annotations", "annotation", findings):
        box = _check_annotation(position, annotation, images, inventory, findings)
        if box is not None and _is_object(box, findings, settings):
            sound.append(box)
    misread = _other_format(sound)
    if misread is None:
        check_geometry(sound, inventory, findings, settings)
        return
    for box in sound:
        findings.add(misread, "annotations", box.position, **box.about, detail=f"bbox {short_json(box.annotation['bbox'])}")
        box.image.faulty = True
    inventory.boxes.update(box.annotation["category_id"] for box in sound)


def _check_annotation(
    position: int, annotation: dict, images: Mapping[int, ImageEntry | None], inventory: Inventory, findings: Findings
) -> SoundBox | None:
    """The annotation if it can be read and its image is sound."""
    image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
    is_known = type(image_id) is int and image_id in images
    image = images[image_id] if is_known else None
    about = {"file": image.file if image else "", "image_id": image_id, "annotation_id": annotation["id"]}
    if annotation["id"] == 0:
        findings.add("annotation-id-zero", "annotations", position, **about)
    faults = _faults(annotation, is_known, category_id, inventory.categories)
    for code, detail in faults:
        findings.add(code, "annotations", position, **about, detail=detail)
    if image is None:
        return None
    image.annotations += 1
    inventory.declared[category_id if type(category_id) is int else None] += 1
    if faults:
        image.faulty = True
        return None
    return SoundBox(position, annotation, image)


def _faults(annotation: dict, is_known_image: bool, category_id: object, categories: Mapping[int, str]) -> list[tuple[str, str]]:
    """Faults that stop training: (code, detail)."""
    faults = []
    if not is_known_image:
        faults.append(("image-id-unknown", f"image id {short_json(annotation.get('image_id'))}"))
    if type(category_id) is not int or category_id not in categories:
        faults.append(("category-id-unknown", f"category id {short_json(category_id)}"))
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(type(side) in (int, float) for side in box):
        faults.append(("box-malformed", f"bbox {short_json(box)}"))
    elif not all(is_number(side) for side in box):
        faults.append(("box-not-finite", f"bbox {short_json(box)}"))
    area = annotation.get("area")
    if area is not None and not is_number(area):
        faults.append(("area-malformed", f"area {short_json(area)}"))
    return faults


def _is_object(box: SoundBox, findings: Findings, settings: Settings) -> bool:
    """Whether training takes the box as an object: the rules for `iscrowd` and `ignore`."""

    def add(code, detail=""):
        findings.add(code, "annotations", box.position, **box.about, detail=detail)

    crowd = box.annotation.get("iscrowd")
    if crowd and (type(crowd) not in (int, bool) or crowd != 1):
        add("crowd-malformed", f"iscrowd is {short_json(crowd)}")
        return False
    if box.annotation.get("area") is None:
        add("area-missing")
    if box.annotation.get("ignore"):
        add("box-ignore")
        return False
    if crowd:
        add("box-crowd")
        return settings.crowd == "object"
    return True


def _other_format(sound: Sequence[SoundBox]) -> str | None:
    """The code for a file whose boxes are all of another format than COCO's."""
    if not sound:
        return None
    boxes = np.array([box.annotation["bbox"] for box in sound], np.float64)
    limit = np.array([box.image.size[::-1] for box in sound], np.float64)  # [N, 2] width, height
    first, second = boxes[:, :2], boxes[:, 2:]
    if (boxes >= 0).all() and (first + second <= 1.001).all() and (second > 0).all() and (boxes % 1 != 0).any():
        return "boxes-relative"
    is_outside = (first + second > limit + OUTSIDE).any(axis=1)
    fits_as_corners = (boxes >= 0).all() and (second > first).all() and (second <= limit + OUTSIDE).all()
    return "boxes-as-corners" if len(boxes) >= 3 and is_outside.mean() >= 0.3 and fits_as_corners else None
