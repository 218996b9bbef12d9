"""One annotation file against the rules of `data.coco` and against itself; no image is opened.

Unlike `data.coco`, which stops at the first fault, this goes on with what is still sound, so that one call names everything. 100,000
annotations take about a second.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf.boxes import STRIDE
from ttfnet_tf.doctor.findings import Findings, Settings
from ttfnet_tf.errors import UserError

OUTSIDE = 0.5  # px beyond the border that are nobody's fault: annotators round
ASPECT = 50  # longer over shorter side
IMBALANCE = 100  # boxes of the largest class over those of another
_WHOLE = 0.995  # share of both sides
_LARGEST = 2**53  # numbers from here on are refused as not finite by `data.coco`


@dataclass
class Entry:
    """An image of the file whose id, name and size are sound."""

    position: int  # in 'images'
    id: int
    file: str
    size: tuple[float, float]  # (height, width) as stated
    annotations: int = 0  # all that belong to it
    usable: int = 0  # boxes that training would use
    faulty: bool = False  # one of its annotations stops training
    used: bool = True  # whether training or evaluation opens it


@dataclass
class Contents:
    """What the other checks need to know of a file."""

    entries: list[Entry] = field(default_factory=list)
    categories: dict[int, str] = field(default_factory=dict)  # id -> name
    annotations: int = 0
    boxes: Counter = field(default_factory=Counter)  # category id -> usable boxes


def read_annotations(path: str | Path, findings: Findings) -> Any:
    """The parsed file, or None after a finding.

    Raises:
        UserError: the file is not there or cannot be read.
    """
    path = Path(path)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a COCO instances JSON") from None
    except UnicodeDecodeError:
        findings.add("not-json", detail="is not UTF-8 text")
    except RecursionError:
        findings.add("not-json", detail="is nested too deep")
    except ValueError as error:
        place = f" at line {error.lineno}" if isinstance(error, json.JSONDecodeError) else ""
        findings.add("not-json", detail=f"{getattr(error, 'msg', error)}{place}")
    return None


def check_annotations(content: Any, findings: Findings, settings: Settings, *, training: bool) -> Contents:
    """Adds to `findings` whatever is wrong or worth knowing about a parsed file.

    Args:
        content: what `read_annotations` gave; not changed.
        findings: of this file.
        settings: what is left out, and the size that boxes are measured at.
        training: whether it is a training file; images of a validation file are never left out.
    """
    result = Contents()
    if not isinstance(content, dict):
        findings.add("not-coco", detail=f"holds a {type(content).__name__}, not an object")
        return result
    sections = {}
    for name in ("images", "annotations", "categories"):
        section = content.get(name)
        if not isinstance(section, list):
            findings.add("section-missing", detail=f"no list '{name}'")
        elif not section and name != "annotations":
            findings.add("section-empty", detail=f"'{name}' is empty")
        sections[name] = section if isinstance(section, list) else []
    # A file without one of its sections would only repeat itself below, once for every annotation.
    if findings.codes() & {"section-missing", "section-empty"}:
        return result
    result.annotations = len(sections["annotations"])
    result.categories = _check_categories(sections["categories"], findings)
    images = _check_images(sections["images"], findings)
    result.entries = [entry for entry in images.values() if entry is not None]
    declared = Counter()
    _check_boxes(sections["annotations"], images, result, declared, findings, settings)
    if training:
        _check_use(result, findings, settings)
        _check_classes(result, declared, findings)
    else:
        for entry in result.entries:
            if not entry.annotations:
                findings.add("image-without-boxes", "images", entry.position, file=entry.file, image_id=entry.id)
    return result


def _identified(section: list, name: str, kind: str, findings: Findings) -> Iterator[tuple[int, dict, bool]]:
    """(position, entry, is the first of its id) of the entries that are objects with an integer id."""
    first: dict[int, int] = {}
    for position, entry in enumerate(section):
        if not isinstance(entry, dict):
            findings.add("entry-malformed", name, position, detail=f"{kind} number {position} (from 0) is {_short(entry)}")
            continue
        identity = entry.get("id")
        about = {"file": _text(entry.get("file_name")), "image_id": entry.get("image_id")}
        about["image_id" if kind == "image" else "annotation_id"] = identity
        if type(identity) is not int:
            findings.add("id-not-integer", name, position, **about, detail=f"{kind} number {position} (from 0) has id {_short(identity)}")
            continue
        if identity in first:
            findings.add(f"{kind}-id-twice", name, position, **about, detail=f"{kind} id {identity}", other=first[identity])
        yield position, entry, first.setdefault(identity, position) == position


def _check_categories(section: list, findings: Findings) -> dict[int, str]:
    categories: dict[int, str] = {}
    names: dict[str, int] = {}
    for position, category, is_first in _identified(section, "categories", "category", findings):
        if not is_first:
            continue
        identity, name = category["id"], category.get("name")
        categories[identity] = _text(name)
        if not isinstance(name, str) or not name:
            findings.add("category-without-name", "categories", position, detail=f"category id {identity} has name {_short(name)}")
        elif name in names:
            findings.add("category-name-twice", "categories", position, detail=f"'{name}' is category id {names[name]} and {identity}")
        else:
            names[name] = identity
    ids = sorted(categories)
    for before, after in zip(ids, ids[1:]):
        if after > before + 1:
            missing = str(before + 1) if after == before + 2 else f"{before + 1} to {after - 1}"
            findings.add("category-ids-gap", "categories", detail=f"no category id {missing}")
    return categories


def _check_images(section: list, findings: Findings) -> dict[int, Entry | None]:
    """Entries by id; None stands for one that has a fault."""
    images: dict[int, Entry | None] = {}
    names: dict[str, int] = {}
    for position, image, is_first in _identified(section, "images", "image", findings):
        if not is_first:
            continue
        identity, name = image["id"], image.get("file_name")
        about = {"file": _text(name), "image_id": identity}
        images[identity] = None
        height, width = image.get("height"), image.get("width")
        has_name = isinstance(name, str) and name != ""
        has_size = all(_is_number(side) and side >= 1 for side in (height, width))
        if identity < 0:
            findings.add("image-id-negative", "images", position, **about)
        if not has_name:
            findings.add("image-without-file", "images", position, **about, detail=f"has file_name {_short(name)}")
        if not has_size:
            sides = f"width {_short(image.get('width'))}, height {_short(image.get('height'))}"
            findings.add("image-without-size", "images", position, **about, detail=sides)
        if has_name and name in names:
            findings.add("file-name-twice", "images", position, **about, detail="listed before", other=names[name])
        elif has_name:
            names[name] = position
        if has_name and has_size:
            images[identity] = Entry(position, identity, name, (height, width))
    return images


def _check_boxes(section, images, result: Contents, declared: Counter, findings: Findings, settings: Settings) -> None:
    """Goes over 'annotations'; counts into `result`, and annotations of every kind by category into `declared`."""
    sound = []  # (position, annotation, entry) of usable boxes
    for position, annotation, _ in _identified(section, "annotations", "annotation", findings):
        image_id, category_id = annotation.get("image_id"), annotation.get("category_id")
        known = type(image_id) is int and image_id in images
        entry = images[image_id] if known else None
        about = {"file": entry.file if entry else "", "image_id": image_id, "annotation_id": annotation["id"]}

        def add(code, detail="", *, position=position, about=about):
            findings.add(code, "annotations", position, **about, detail=detail)

        if annotation["id"] == 0:
            add("annotation-id-zero")
        faults = _faults(annotation, known, category_id, result.categories)
        for code, detail in faults:
            add(code, detail)
        if entry is None:
            continue
        entry.annotations += 1
        if faults:
            entry.faulty = True
            declared[category_id if type(category_id) is int else None] += 1
            continue
        declared[category_id] += 1
        crowd = annotation.get("iscrowd")
        if crowd and (type(crowd) not in (int, bool) or crowd != 1):
            add("crowd-malformed", f"iscrowd is {_short(crowd)}")
            continue
        if annotation.get("area") is None:
            add("area-missing")
        if annotation.get("ignore"):
            add("box-ignore")
        elif crowd:
            add("box-crowd")
            if settings.crowd == "object":
                sound.append((position, annotation, entry))
        else:
            sound.append((position, annotation, entry))
    misread = _misread_as_a_whole(sound)
    if misread:
        for position, annotation, entry in sound:
            about = {"file": entry.file, "image_id": entry.id, "annotation_id": annotation["id"]}
            findings.add(misread, "annotations", position, **about, detail=f"bbox {_short(annotation['bbox'])}")
            entry.faulty = True
        result.boxes.update(annotation["category_id"] for _, annotation, _ in sound)
        return
    _check_geometry(sound, result, findings, settings)


def _faults(annotation: dict, known_image: bool, category_id, categories) -> list[tuple[str, str]]:
    """What of one annotation stops training: [(code, detail)]."""
    faults = []
    if not known_image:
        faults.append(("image-id-unknown", f"image id {_short(annotation.get('image_id'))}"))
    if type(category_id) is not int or category_id not in categories:
        faults.append(("category-id-unknown", f"category id {_short(category_id)}"))
    box = annotation.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(type(side) in (int, float) for side in box):
        faults.append(("box-malformed", f"bbox {_short(box)}"))
    elif not all(_is_number(side) for side in box):
        faults.append(("box-not-finite", f"bbox {_short(box)}"))
    area = annotation.get("area")
    if area is not None and not _is_number(area):
        faults.append(("area-malformed", f"area {_short(area)}"))
    return faults


def _misread_as_a_whole(sound) -> str | None:
    """The code for a file whose boxes are all of another format than COCO's."""
    if not sound:
        return None
    boxes = np.array([annotation["bbox"] for _, annotation, _ in sound], np.float64)
    limit = np.array([entry.size[::-1] for _, _, entry in sound], np.float64)  # [N, 2] width, height
    first, second = boxes[:, :2], boxes[:, 2:]
    if (boxes >= 0).all() and (first + second <= 1.001).all() and (second > 0).all() and (boxes % 1 != 0).any():
        return "boxes-relative"
    leaves = (first + second > limit + OUTSIDE).any(axis=1)
    fits_as_corners = (boxes >= 0).all() and (second > first).all() and (second <= limit + OUTSIDE).all()
    return "boxes-as-corners" if len(boxes) >= 3 and leaves.mean() >= 0.3 and fits_as_corners else None


def _check_geometry(sound, result: Contents, findings: Findings, settings: Settings) -> None:
    seen: dict[tuple, dict[int, int]] = {}  # (image, box) -> {category: position}
    for position, annotation, entry in sound:
        x, y, width, height = box = annotation["bbox"]
        area = annotation.get("area")

        def add(code, detail="", *, position=position, annotation=annotation, entry=entry, **more):
            about = {"file": entry.file, "image_id": entry.id, "annotation_id": annotation["id"]}
            findings.add(code, "annotations", position, **about, detail=f"bbox {_short(annotation['bbox'])}{detail}", **more)

        code = _reason_left_out(box, area, entry.size, settings)
        if code:
            add(code, {"area-zero": f", area {area}", "box-outside": f" in an image of {_size(entry)}"}.get(code, ""))
            continue
        entry.usable += 1
        result.boxes[annotation["category_id"]] += 1

        bottom, right = entry.size
        beyond = max(-x, -y, x + width - right, y + height - bottom)
        if beyond > OUTSIDE:
            add("box-partly-outside", f" leaves its image of {_size(entry)} by {beyond:.4g} px")
        resized = width * settings.image_size[1] / right, height * settings.image_size[0] / bottom
        if min(resized) < STRIDE:
            code = "box-below-pixel" if min(resized) < 1 else "box-below-cell"
            add(code, f" is {resized[0]:.3g} x {resized[1]:.3g} px after resizing")
        if max(width, height) > ASPECT * min(width, height):
            add("box-aspect")
        if width >= _WHOLE * right and height >= _WHOLE * bottom:
            add("box-whole-image")
        if area is not None and area > 1.01 * width * height + 1:
            add("area-too-large", f" has {width * height:.6g} px, its area is {area:.6g}")

        classes = seen.setdefault((entry.id, *box), {})
        category = annotation["category_id"]
        if category in classes:
            add("box-twice", other=classes[category])
        elif classes:
            names = " and ".join(f"'{result.categories[one]}'" for one in [*classes, category])
            add("box-two-classes", f" is {names}")
        classes.setdefault(category, position)


def _reason_left_out(box, area, size, settings: Settings) -> str | None:
    """The code of the rule by which `data.coco` leaves a box out."""
    x, y, width, height = box
    if width < 0 or height < 0:
        return "box-negative"
    if width == 0 or height == 0:
        return "box-zero"
    if area is not None and area <= 0:
        return "area-zero"
    if width < settings.min_box_size or height < settings.min_box_size:
        return "box-below-minimum"
    if x >= size[1] or y >= size[0] or x + width <= 0 or y + height <= 0:
        return "box-outside"
    return None


def _check_use(result: Contents, findings: Findings, settings: Settings) -> None:
    """Which images of a training file are left out, and whether any is left."""
    for entry in result.entries:
        about = {"file": entry.file, "image_id": entry.id}
        if min(entry.size) < settings.min_image_size:
            entry.used = False
            findings.add("image-small", "images", entry.position, **about, detail=f"is {_size(entry)}")
        elif not entry.annotations:
            entry.used = settings.empty_images == "keep"
            findings.add("image-without-boxes", "images", entry.position, **about)
        elif not entry.usable and not entry.faulty:
            entry.used = settings.empty_images == "keep"
            findings.add("image-without-usable-box", "images", entry.position, **about, detail=f"{entry.annotations} annotations")
    if not any(entry.used for entry in result.entries):
        findings.add("nothing-to-use", detail="every image is left out")


def _check_classes(result: Contents, declared: Counter, findings: Findings) -> None:
    for identity, name in result.categories.items():
        if not declared[identity]:
            findings.add("category-unused", "categories", detail=f"'{name}' (category id {identity})")
        elif not result.boxes[identity]:
            detail = f"'{name}' (category id {identity}): {declared[identity]} annotations, all left out"
            findings.add("class-without-usable-box", "categories", detail=detail)
    if result.boxes:
        largest, most = result.boxes.most_common(1)[0]
        for identity, count in sorted(result.boxes.items(), key=lambda pair: pair[1]):
            if count * IMBALANCE < most:
                detail = f"'{result.categories[identity]}' has {count}, '{result.categories[largest]}' {most}"
                findings.add("class-imbalance", "categories", detail=detail)


def _is_number(value) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < _LARGEST


def _size(entry: Entry) -> str:
    height, width = entry.size
    return f"{width:g}x{height:g}"


def _text(value) -> str:
    return value if isinstance(value, str) else ""


def _short(value) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."
