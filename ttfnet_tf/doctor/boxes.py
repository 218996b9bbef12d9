"""Checks annotations one by one: references, malformed numbers, the crowd rule; and boxes that are all of another format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ttfnet_tf.data.box_rules import is_flag
from ttfnet_tf.doctor.box_geometry import OUTSIDE, check_geometry
from ttfnet_tf.doctor.findings import Findings, Settings
from ttfnet_tf.doctor.ids_and_names import entries_with_id
from ttfnet_tf.doctor.inventory import ImageEntry, Inventory, SoundBox
from ttfnet_tf.doctor.single_answers import box_of, whole_number
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
    misread, wrong = _other_format(sound)
    for box in wrong:
        findings.add(misread, "annotations", box.position, **box.about, detail=f"bbox {short_json(box.annotation['bbox'])}")
        box.image.faulty = True
    inventory.boxes.update(box.annotation["category_id"] for box in wrong)
    positions = {box.position for box in wrong}
    check_geometry([box for box in sound if box.position not in positions], inventory, findings, settings)


def _check_annotation(
    position: int, annotation: dict, images: Mapping[int, ImageEntry | None], inventory: Inventory, findings: Findings
) -> SoundBox | None:
    """The annotation if it can be read and its image is sound."""
    image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
    image = images.get(whole_number(image_id))
    about = {"file": image.file if image else "", "image_id": image_id, "annotation_id": annotation["id"]}
    if annotation["id"] == 0:
        findings.add("annotation-id-zero", "annotations", position, **about)
    faults = _faults(annotation, image, images, category_id, inventory.categories)
    for code, detail in faults:
        findings.add(code, "annotations", position, **about, detail=detail)
    if image is None:
        return None
    image.annotations += 1
    inventory.declared[whole_number(category_id)] += 1
    if faults:
        image.faulty = True
        return None
    return SoundBox(position, annotation, image)


def _faults(
    annotation: dict,
    image: ImageEntry | None,
    images: Mapping[int, ImageEntry | None],
    category_id: object,
    categories: Mapping[int, str],
) -> list[tuple[str, str]]:
    """Faults that stop training: (code, detail)."""
    faults = []
    for key, value, known in (("image", annotation.get("image_id"), images), ("category", category_id, categories)):
        if type(value) is not int or value not in known:
            is_meant = type(value) is not int and whole_number(value) in known
            code = "reference-not-integer" if is_meant else f"{key}-id-unknown"
            faults.append((code, f"{key} id {short_json(value)}"))
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(side) for side in box):
        size = image.size if image else None
        is_number_of_json = isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) for side in box)
        code = "box-not-finite" if is_number_of_json else "box-malformed"
        faults.append((code if box_of(annotation, size) is None else "box-in-another-form", f"bbox {short_json(box)}"))
    area = annotation.get("area")
    if area is not None and not is_number(area):
        faults.append(("area-malformed", f"area {short_json(area)}"))
    return faults


def _is_object(box: SoundBox, findings: Findings, settings: Settings) -> bool:
    """Whether training takes the box as an object: the rules for `iscrowd` and `ignore`."""

    def add(code, detail=""):
        findings.add(code, "annotations", box.position, **box.about, detail=detail)

    crowd = box.annotation.get("iscrowd")
    for key in ("iscrowd", "ignore"):
        if not is_flag(box.annotation.get(key)):
            add("crowd-malformed", f"{key} is {short_json(box.annotation[key])}")
            box.image.faulty = True
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


def _other_format(sound: Sequence[SoundBox]) -> tuple[str, Sequence[SoundBox]]:
    """The boxes of another format than COCO's, with the code for it: those inside the first pixel of their image, or all of the file."""
    if not sound:
        return "", ()
    boxes = np.array([box.annotation["bbox"] for box in sound], np.float64)
    limit = np.array([box.image.size[::-1] for box in sound], np.float64)  # [N, 2] width, height
    first, second = boxes[:, :2], boxes[:, 2:]
    in_first_pixel = (boxes >= 0).all(axis=1) & (first + second <= 1.001).all(axis=1) & (second > 0).all(axis=1)
    if (boxes[in_first_pixel] % 1 != 0).any():
        return "boxes-relative", [box for box, is_inside in zip(sound, in_first_pixel) if is_inside]
    is_outside = (first + second > limit + OUTSIDE).any(axis=1)
    fits_as_corners = (boxes >= 0).all() and (second > first).all() and (second <= limit + OUTSIDE).all()
    return ("boxes-as-corners", sound) if len(boxes) >= 3 and is_outside.mean() >= 0.3 and fits_as_corners else ("", ())
