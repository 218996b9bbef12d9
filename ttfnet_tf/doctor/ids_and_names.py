"""Checks ids, names and sizes: of categories, of images, and the ids of annotations."""

from __future__ import annotations

from collections.abc import Iterator

from ttfnet_tf.data.file_names import file_name_fault
from ttfnet_tf.doctor.findings import Findings
from ttfnet_tf.doctor.inventory import ImageEntry, text_or_empty
from ttfnet_tf.json_text import is_number, short_json
from ttfnet_tf.plain_text import printable


def entries_with_id(section: list, name: str, kind: str, findings: Findings) -> Iterator[tuple[int, dict, bool]]:
    """(position, entry, is the first of its id) of the entries that are objects with an integer id; adds findings about the others.

    Args:
        section: list of the file.
        name: of the section, such as "images".
        kind: of one entry, such as "image".
        findings: of this file.
    """
    first: dict[int, int] = {}
    for position, entry in enumerate(section):
        if not isinstance(entry, dict):
            findings.add("entry-malformed", name, position, detail=f"{kind} number {position} (from 0) is {short_json(entry)}")
            continue
        identity = entry.get("id")
        about = {"file": text_or_empty(entry.get("file_name")), "image_id": entry.get("image_id")}
        about["image_id" if kind == "image" else "annotation_id"] = identity
        if type(identity) is not int:
            detail = f"{kind} number {position} (from 0) has id {short_json(identity)}"
            findings.add("id-not-integer", name, position, **about, detail=detail)
            continue
        if identity in first:
            findings.add(f"{kind}-id-twice", name, position, **about, detail=f"{kind} id {identity}", other=first[identity])
        yield position, entry, first.setdefault(identity, position) == position


def check_categories(section: list, findings: Findings) -> dict[int, str]:
    """Names by category id."""
    categories: dict[int, str] = {}
    names: dict[str, int] = {}
    for position, category, is_first in entries_with_id(section, "categories", "category", findings):
        if not is_first:
            continue
        identity, name = category["id"], category.get("name")
        categories[identity] = text_or_empty(name)
        if not isinstance(name, str) or not name:
            findings.add("category-without-name", "categories", position, detail=f"category id {identity} has name {short_json(name)}")
            continue
        if printable(name) != name:
            findings.add("category-name-unprintable", "categories", position, detail=f"category id {identity} has name {short_json(name)}")
        if name in names:
            findings.add("category-name-twice", "categories", position, detail=f"'{name}' is category id {names[name]} and {identity}")
        else:
            names[name] = identity
    ids = sorted(categories)
    for before, after in zip(ids, ids[1:]):
        if after > before + 1:
            missing = str(before + 1) if after == before + 2 else f"{before + 1} to {after - 1}"
            findings.add("category-ids-gap", "categories", detail=f"no category id {missing}")
    return categories


def check_image_entries(section: list, findings: Findings) -> dict[int, ImageEntry | None]:
    """Images by id; None stands for one without a sound name or size."""
    images: dict[int, ImageEntry | None] = {}
    names: dict[str, int] = {}
    for position, image, is_first in entries_with_id(section, "images", "image", findings):
        if not is_first:
            continue
        identity, name = image["id"], image.get("file_name")
        about = {"file": text_or_empty(name), "image_id": identity}
        images[identity] = None
        height, width = image.get("height"), image.get("width")
        has_name = isinstance(name, str) and name != "" and file_name_fault(name) is None
        has_size = all(is_number(side) and side >= 1 for side in (height, width))
        if identity < 0:
            findings.add("image-id-negative", "images", position, **about)
        if not has_name:
            findings.add("image-without-file", "images", position, **about, detail=f"has file_name {short_json(name)}")
        if not has_size:
            findings.add(
                "image-without-size", "images", position, **about, detail=f"width {short_json(width)}, height {short_json(height)}"
            )
        if has_name and name in names:
            findings.add("file-name-twice", "images", position, **about, detail="listed before", other=names[name])
        elif has_name:
            names[name] = position
        if has_name and has_size:
            images[identity] = ImageEntry(position, identity, name, (height, width))
    return images
