"""The rules of `--fix`: what is done about each kind of finding. Findings without a rule stay as they are."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ttfnet_tf.doctor.findings import Place
from ttfnet_tf.doctor.fix_draft import Draft, Rules
from ttfnet_tf.doctor.fix_moves import fit_to_file, is_box, rotate_boxes
from ttfnet_tf.doctor.image_files import inspect_image
from ttfnet_tf.json_text import json_text


def _remove(draft: Draft, place: Place) -> None:
    draft.remove(place.section, place.position)


def _drop_image(draft: Draft, place: Place) -> None:
    draft.drop_image(place.position)


# Ids, names, repeated entries.


def _new_id(draft: Draft, place: Place) -> None:
    """A free id; annotations that name the old one follow."""
    section, entry = place.section, draft.entry(place)
    old = entry.get("id")
    if section != "annotations" and old is None:  # which annotations belong to it is unknown
        _remove(draft, place)
        return
    number = int(old) if (isinstance(old, str) and old.isdecimal()) or (isinstance(old, float) and old.is_integer()) else -1
    new = draft.new_id(section, number)
    draft.change(section, place.position, id=new)
    if section != "annotations":
        key = "image_id" if section == "images" else "category_id"
        for position in draft.annotations_of(key, old):
            draft.change("annotations", position, **{key: new})


def _repeated_image_id(draft: Draft, place: Place) -> None:
    first = draft.content["images"][place.other]
    if first.get("file_name") != draft.entry(place).get("file_name"):  # the annotations may belong to either
        draft.drop_image(place.other)
    _remove(draft, place)


def _repeated_category_id(draft: Draft, place: Place) -> None:
    if draft.content["categories"][place.other].get("name") == draft.entry(place).get("name"):
        _remove(draft, place)


def _repeated_file(draft: Draft, place: Place) -> None:
    """Two entries of one file become one."""
    first, second = draft.content["images"][place.other], draft.entry(place)
    if not draft.exists("images", place.other) or any(first.get(side) != second.get(side) for side in ("width", "height")):
        return
    for position in draft.annotations_of("image_id", second.get("id")):
        draft.change("annotations", position, image_id=first.get("id"))
    _remove(draft, place)


def _exact_copy(draft: Draft, place: Place) -> None:
    """Drops a copy with the same boxes; one with other boxes stays, for a person to decide."""

    def boxes(image):
        annotations = (draft.content["annotations"][position] for position in draft.annotations_of("image_id", image.get("id")))
        return Counter(json_text([one.get("bbox"), one.get("category_id"), one.get("iscrowd")]) for one in annotations)

    first = draft.content["images"][place.other]
    if draft.exists("images", place.other) and boxes(first) == boxes(draft.entry(place)):
        draft.drop_image(place.position)


def _name(draft: Draft, place: Place) -> None:
    draft.change("categories", place.position, name=f"category {draft.entry(place)['id']}")


def _size_of_file(draft: Draft, place: Place) -> None:
    name = draft.entry(place).get("file_name")
    facts = inspect_image(draft.split.images / name) if draft.split.facts and isinstance(name, str) and name else None
    if facts is None or facts.problem:
        draft.drop_image(place.position)
    else:
        draft.change("images", place.position, width=facts.size[1], height=facts.size[0])


# Boxes.


def _to_pixels(draft: Draft, place: Place) -> None:
    annotation = draft.entry(place)
    height, width = draft.size_of(annotation)
    x, y, w, h = annotation["bbox"]
    _set_box(draft, place, [x * width, y * height, w * width, h * height], width * height)


def _to_sides(draft: Draft, place: Place) -> None:
    x1, y1, x2, y2 = draft.entry(place)["bbox"]
    _set_box(draft, place, [x1, y1, x2 - x1, y2 - y1])


def _clip(draft: Draft, place: Place) -> None:
    annotation = draft.entry(place)
    height, width = draft.size_of(annotation)
    x, y, w, h = annotation["bbox"]
    left, top = max(x, 0), max(y, 0)
    _set_box(draft, place, [left, top, min(x + w, width) - left, min(y + h, height) - top])


def _set_box(draft: Draft, place: Place, box: list[float], area_scale: float = 1.0) -> None:
    keys: dict[str, Any] = {"bbox": box}
    area = draft.entry(place).get("area")
    if area is not None:
        keys["area"] = min(area * area_scale, box[2] * box[3])
    draft.change(place.section, place.position, **keys)


def _area(draft: Draft, place: Place) -> None:
    box = draft.entry(place).get("bbox")
    if is_box(box):
        draft.change(place.section, place.position, area=box[2] * box[3])


def _crowd(draft: Draft, place: Place) -> None:
    text = str(draft.entry(place)["iscrowd"]).strip().lower()
    if text in ("0", "0.0", "false", "no", "1", "1.0", "true", "yes"):
        draft.change(place.section, place.position, iscrowd=int(text in ("1", "1.0", "true", "yes")))
    else:
        _remove(draft, place)


# Applied once, to the original file: these use what its images hold.
IMAGE_RULES: Rules = {
    "image-missing": _drop_image,
    "image-empty": _drop_image,
    "image-truncated": _drop_image,
    "image-broken": _drop_image,
    "leak": _drop_image,
    "exif-turned": rotate_boxes,
    "size-differs": fit_to_file,
    "image-twice": _exact_copy,
}
# Applied in turn, each to what the one before has left.
ANNOTATION_RULES: tuple[Rules, ...] = (
    {"entry-malformed": _remove},
    {
        "id-not-integer": _new_id,
        "image-id-negative": _new_id,
        "annotation-id-twice": _new_id,
        "category-id-twice": _repeated_category_id,
    },
    {"image-id-twice": _repeated_image_id, "category-without-name": _name},
    {"image-without-file": _drop_image, "image-without-size": _size_of_file},
    {"image-id-unknown": _remove, "category-id-unknown": _remove, "box-malformed": _remove, "box-not-finite": _remove},
    {"area-malformed": _area, "crowd-malformed": _crowd, "file-name-twice": _repeated_file},
    {"boxes-relative": _to_pixels, "boxes-as-corners": _to_sides},
    {"box-zero": _remove, "box-negative": _remove, "box-outside": _remove, "area-zero": _area, "box-partly-outside": _clip},
    {"area-too-large": _area, "box-twice": _remove},
)
