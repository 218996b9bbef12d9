"""The rules of `--fix`: what is done about each kind of finding. Findings without a rule stay as they are."""

from __future__ import annotations

from collections import Counter
from typing import Any

from ttfnet_tf.data.box_rules import is_flag
from ttfnet_tf.doctor.findings import Place
from ttfnet_tf.doctor.fix_draft import Draft, Rules
from ttfnet_tf.doctor.fix_moves import fit_to_file, is_box, rotate_boxes
from ttfnet_tf.doctor.image_files import ImageFacts, inspect_image, look_for_missing
from ttfnet_tf.doctor.single_answers import box_of, number_of, whole_number
from ttfnet_tf.json_text import json_text
from ttfnet_tf.plain_text import printable

_NO = ("0", "0.0", "false", "no", "none", "")


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
    number = whole_number(old)
    new = draft.new_id(section, -1 if number is None else number)
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


def _printable_name(draft: Draft, place: Place) -> None:
    """Blanks in place of line breaks; a name that has nothing else gets one."""
    name = " ".join(printable(draft.entry(place)["name"]).split())
    draft.change("categories", place.position, name=name or f"category {draft.entry(place)['id']}")


def _file_that_is_there(draft: Draft, place: Place) -> None:
    draft.change("images", place.position, file_name=draft.facts_of(place).found_as)


def _references(draft: Draft, place: Place) -> None:
    annotation = draft.entry(place)
    numbers = {key: whole_number(annotation.get(key)) for key in ("image_id", "category_id")}
    changed = {key: number for key, number in numbers.items() if number is not None and type(annotation[key]) is not int}
    if changed:
        draft.change("annotations", place.position, **changed)


def _size_of_file(draft: Draft, place: Place) -> None:
    """The stated numbers if they are text, else those of the file; an image whose file says nothing is dropped."""
    image = draft.entry(place)
    stated = [number_of(image.get(side)) for side in ("width", "height")]
    if None not in stated and min(stated) >= 1:
        draft.change("images", place.position, width=stated[0], height=stated[1])
        return
    if not draft.split.with_images and not draft.split.images.is_dir():  # nothing is known about the file
        return
    facts = _facts_of_file(draft, image["file_name"])
    if facts.problem:
        draft.drop_image(place.position)
    else:
        draft.change("images", place.position, width=facts.size[1], height=facts.size[0])


def _facts_of_file(draft: Draft, name: str) -> ImageFacts:
    """What the file holds that an entry names, or must mean."""
    facts = look_for_missing([inspect_image(draft.split.images / name)], [name], draft.split.images)[0]
    return inspect_image(draft.split.images / facts.found_as) if facts.found_as else facts


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


def _box(draft: Draft, place: Place) -> None:
    annotation = draft.entry(place)
    try:
        size = draft.size_of(annotation)
    except KeyError:  # of no image
        return
    box = box_of(annotation, size)
    if box is not None:
        draft.change("annotations", place.position, bbox=box)


def _area(draft: Draft, place: Place) -> None:
    box, area = draft.entry(place).get("bbox"), number_of(draft.entry(place).get("area"))
    if area is not None and area > 0 and isinstance(draft.entry(place)["area"], str):
        draft.change(place.section, place.position, area=area)
    elif is_box(box):
        draft.change(place.section, place.position, area=box[2] * box[3])


def _crowd(draft: Draft, place: Place) -> None:
    """Texts such as "0" and "no" are 0, all other values that are no flag 1: such a box is background, as before."""
    annotation = draft.entry(place)
    wrong = {key: str(annotation[key]).strip().lower() for key in ("iscrowd", "ignore") if not is_flag(annotation.get(key))}
    draft.change(place.section, place.position, **{key: int(text not in _NO) for key, text in wrong.items()})


# Applied in turn, each to what the one before has left: after them, every entry has its id, name and size, and every number is one.
ENTRY_RULES: tuple[Rules, ...] = (
    {"entry-malformed": _remove},
    {
        "id-not-integer": _new_id,
        "image-id-negative": _new_id,
        "annotation-id-twice": _new_id,
        "category-id-twice": _repeated_category_id,
    },
    {"image-id-twice": _repeated_image_id, "category-without-name": _name, "category-name-unprintable": _printable_name},
    {"image-without-file": _drop_image, "image-without-size": _size_of_file},
    {"reference-not-integer": _references},
    {"box-in-another-form": _box},
)
# Then these, which use what the image files hold: first those that lie there under another name.
IMAGE_RULES: tuple[Rules, ...] = (
    {"image-misnamed": _file_that_is_there},
    {
        "image-missing": _drop_image,
        "image-empty": _drop_image,
        "image-truncated": _drop_image,
        "image-broken": _drop_image,
        "leak": _drop_image,
        "exif-turned": rotate_boxes,
        "size-differs": fit_to_file,
        "image-twice": _exact_copy,
    },
)
# Then these, again and again. What is removed gives no box: of no image, of no class, or without numbers anywhere.
OBJECTS_LOST = ("image-id-unknown", "category-id-unknown", "box-malformed", "box-not-finite")
ANNOTATION_RULES: tuple[Rules, ...] = (
    dict.fromkeys(OBJECTS_LOST, _remove),
    {"area-malformed": _area, "crowd-malformed": _crowd, "file-name-twice": _repeated_file},
    {"boxes-relative": _to_pixels, "boxes-as-corners": _to_sides},
    {"box-zero": _remove, "box-negative": _remove, "box-outside": _remove, "area-zero": _area, "box-partly-outside": _clip},
    {"area-too-large": _area, "box-twice": _remove},
)
