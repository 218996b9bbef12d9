"""A cleaned copy of an annotation file, and a list of everything that was removed or changed on the way.

Only what has one sensible answer is mended. What has several is left and told, or, where training would be wrong, the image is set
aside with its annotations. Removed entries are kept whole in the list, so that nothing is lost.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttfnet_tf.doctor.annotations import OUTSIDE, check_annotations
from ttfnet_tf.doctor.check import Split
from ttfnet_tf.doctor.findings import Finding, Findings, Place, Settings
from ttfnet_tf.doctor.images import ImageFacts, look_at
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_json, write_text

_ROUNDS = 4  # a mended fault may show another, such as a box that is a copy only after clipping
_HOPELESS = ("not-json", "not-coco", "section-missing", "section-empty")


@dataclass
class Fixed:
    """What `write_fixed` did."""

    out: Path
    changes: Path  # JSON lines: action, code, section, entry (as it was), and what it became
    counts: Counter  # (action, section, code) -> entries
    left: list[Finding]  # what is still to be found in the cleaned file; no errors

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"  {action:8} {section:12} {count:7}  {code}" for (action, section, code), count in sorted(self.counts.items())]
        total = sum(self.counts.values())
        lines.append(f"written: {self.out}, and the {total} entries removed or changed to {self.changes}")
        left = ", ".join(f"{len(one.places)} {one.code}" for one in self.left if one.severity == "warning")
        return [*lines, f"left for you to look at: {left}"] if left else lines


def changes_path(out: str | Path) -> Path:
    """Where the list goes: beside the cleaned file."""
    out = Path(out)
    return out.with_name(f"{out.name}.changes.jsonl")


def refuse_existing(out: str | Path) -> None:
    """Raises UserError if a file would be written over."""
    for path in (Path(out), changes_path(out)):
        if path.exists() or path.is_symlink():
            raise UserError(f"--fix {out}: {path} is there already and is not written over; name a new file")


def write_fixed(split: Split, out: str | Path, settings: Settings) -> Fixed:
    """Writes the cleaned annotations of `split` to `out`, and the list of changes beside it.

    Args:
        split: checked, with its images or without; not changed.
        out: a new file.
        settings: of the check.

    Raises:
        UserError: `out` exists or cannot be written, or an error has no single answer; then nothing is written.
    """
    refuse_existing(out)
    hopeless = [finding for finding in split.findings if finding.code in _HOPELESS]
    if hopeless:
        _refuse(split, hopeless[0])
    mender = _Mender(split)
    for code, rule in _IMAGE_RULES.items():
        mender.apply(code, rule, split.findings.places(code))
    mender.settle()
    is_training = split.name == "train"
    for _ in range(_ROUNDS):
        before = len(mender.log)
        for rules in _ROUND:
            found = Findings(split.name, settings)
            check_annotations(mender.content, found, settings, training=is_training)
            for code, rule in rules.items():
                mender.apply(code, rule, found.places(code))
            mender.settle()
        if len(mender.log) == before:
            break
    left = list(found)
    errors = [finding for finding in left if finding.severity == "error"]
    if errors:
        _refuse(split, errors[0])
    fixed = Fixed(Path(out), changes_path(out), Counter((one["action"], one["section"], one["code"]) for one in mender.log), left)
    write_text(fixed.changes, "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in mender.log))
    write_json(fixed.out, mender.content)
    return fixed


def _refuse(split: Split, finding: Finding) -> None:
    detail = f" ({finding.places[0].detail})" if finding.places[0].detail else ""
    raise UserError(f"{split.annotations}: {finding.code}{detail} has no single answer; mend it by hand, nothing was written")


class _Mender:
    """A copy of the annotations under change. Positions stay what they are until `settle`."""

    def __init__(self, split: Split):
        self.split = split
        self.content: dict[str, Any] = {name: list(part) if isinstance(part, list) else part for name, part in split.content.items()}
        self.log: list[dict] = []
        self._code = ""
        self._gone: dict[str, set[int]] = {}
        self._index: dict[str, dict[str, list[int]]] = {}
        self._ids: dict[str, set[int]] = {}
        self._highest: dict[str, int] = {}
        self._facts = {entry.position: one for entry, one in zip(split.contents.entries, split.facts)}

    def apply(self, code: str, rule: Callable[[_Mender, Place], None], places: list[Place]) -> None:
        """Runs one rule on all places where the entry is still there."""
        self._code = code
        for place in places:
            if place.position < 0 or place.position not in self._gone.get(place.section, ()):
                rule(self, place)

    def settle(self) -> None:
        """Takes removed entries out; positions of earlier findings are void afterwards."""
        for section, gone in self._gone.items():
            self.content[section] = [entry for position, entry in enumerate(self.content[section]) if position not in gone]
        self._gone, self._index, self._ids = {}, {}, {}

    def entry(self, place: Place) -> Any:
        return self.content[place.section][place.position]

    def is_there(self, section: str, position: int) -> bool:
        return position not in self._gone.get(section, ())

    def remove(self, section: str, position: int) -> None:
        gone = self._gone.setdefault(section, set())
        if position not in gone:
            gone.add(position)
            self.log.append({"action": "removed", "code": self._code, "section": section, "entry": self.content[section][position]})

    def change(self, section: str, position: int, **keys) -> None:
        before = self.content[section][position]
        self.content[section][position] = {**before, **keys}
        self.log.append({"action": "changed", "code": self._code, "section": section, "entry": before, "to": keys})

    def annotations_of(self, key: str, identity: Any) -> list[int]:
        """Positions of the annotations that are there and whose `key` ("image_id" or "category_id") was `identity` at the last `settle`."""
        if key not in self._index:
            index = self._index[key] = {}
            for position, annotation in enumerate(self.content["annotations"]):
                if isinstance(annotation, dict):
                    index.setdefault(json.dumps(annotation.get(key)), []).append(position)
        return [position for position in self._index[key].get(json.dumps(identity), []) if self.is_there("annotations", position)]

    def of_image(self, identity: Any) -> list[int]:
        return self.annotations_of("image_id", identity)

    def size_of(self, annotation: dict) -> tuple[float, float]:
        """(height, width) as its image states them."""
        if "sizes" not in self._index:
            self._index["sizes"] = {json.dumps(one["id"]): [one["height"], one["width"]] for one in self.content["images"]}
        height, width = self._index["sizes"][json.dumps(annotation["image_id"])]
        return height, width

    def facts_of(self, place: Place) -> ImageFacts:
        """Before the first `settle` only: positions are those of the file."""
        return self._facts[place.position]

    def set_aside(self, position: int) -> None:
        """Removes an image and its annotations."""
        identity = self.content["images"][position].get("id")
        self.remove("images", position)
        for annotation in self.of_image(identity):
            self.remove("annotations", annotation)

    def new_id(self, section: str, wanted: int = -1) -> int:
        """`wanted` if it is 0 or more and free, else one above all."""
        if section not in self._ids:
            ids = (one.get("id") for one in self.content[section] if isinstance(one, dict))
            self._ids[section] = {one for one in ids if type(one) is int} | {0}
            self._highest[section] = max(self._ids[section])
        if wanted < 0 or wanted in self._ids[section]:
            wanted = self._highest[section] + 1
        self._ids[section].add(wanted)
        self._highest[section] = max(self._highest[section], wanted)
        return wanted


# The rules: what is done at one place. Those that are not here leave the entry as it is.


def _remove(mender: _Mender, place: Place) -> None:
    mender.remove(place.section, place.position)


def _set_aside(mender: _Mender, place: Place) -> None:
    mender.set_aside(place.position)


def _new_id(mender: _Mender, place: Place) -> None:
    """An id that is free; annotations that name the old one follow."""
    section, entry = place.section, mender.entry(place)
    old = entry.get("id")
    if section != "annotations" and old is None:  # nobody can tell what belongs to it
        _remove(mender, place)
        return
    number = int(old) if (isinstance(old, str) and old.isdecimal()) or (isinstance(old, float) and old.is_integer()) else -1
    new = mender.new_id(section, number)
    mender.change(section, place.position, id=new)
    if section != "annotations":
        key = "image_id" if section == "images" else "category_id"
        for position in mender.annotations_of(key, old):
            mender.change("annotations", position, **{key: new})


def _image_again(mender: _Mender, place: Place) -> None:
    first = mender.content["images"][place.other]
    if first.get("file_name") != mender.entry(place).get("file_name"):  # its annotations may belong to either
        mender.set_aside(place.other)
    _remove(mender, place)


def _category_again(mender: _Mender, place: Place) -> None:
    if mender.content["categories"][place.other].get("name") == mender.entry(place).get("name"):
        _remove(mender, place)


def _file_again(mender: _Mender, place: Place) -> None:
    """Two entries of one file become one."""
    first, second = mender.content["images"][place.other], mender.entry(place)
    if not mender.is_there("images", place.other) or any(first.get(side) != second.get(side) for side in ("width", "height")):
        return
    for position in mender.of_image(second.get("id")):
        mender.change("annotations", position, image_id=first.get("id"))
    _remove(mender, place)


def _copy(mender: _Mender, place: Place) -> None:
    """A copy with the same boxes says nothing new; one with others is for a person to look at."""

    def boxes(image):
        found = (mender.content["annotations"][position] for position in mender.of_image(image.get("id")))
        return Counter(json.dumps([one.get("bbox"), one.get("category_id"), one.get("iscrowd")]) for one in found)

    first = mender.content["images"][place.other]
    if mender.is_there("images", place.other) and boxes(first) == boxes(mender.entry(place)):
        mender.set_aside(place.position)


def _name(mender: _Mender, place: Place) -> None:
    mender.change("categories", place.position, name=f"category {mender.entry(place)['id']}")


def _size_of_file(mender: _Mender, place: Place) -> None:
    name = mender.entry(place).get("file_name")
    facts = look_at(mender.split.images / name) if mender.split.facts and isinstance(name, str) and name else None
    if facts is None or facts.problem:
        mender.set_aside(place.position)
    else:
        mender.change("images", place.position, width=facts.size[1], height=facts.size[0])


def _other_size(mender: _Mender, place: Place) -> None:
    """The file was resized after it was annotated, or its size is stated wrongly; what cannot be told is set aside."""
    facts, image = mender.facts_of(place), mender.entry(place)
    (height, width), stated = facts.size, (image["height"], image["width"])
    boxes = [mender.content["annotations"][position].get("bbox") for position in mender.of_image(image["id"])]
    if not all(_is_box(box) for box in boxes):
        mender.set_aside(place.position)
        return

    def fit(height, width):
        return all(x >= -OUTSIDE and y >= -OUTSIDE and x + w <= width + OUTSIDE and y + h <= height + OUTSIDE for x, y, w, h in boxes)

    x_scale, y_scale = width / stated[1], height / stated[0]
    if fit(*stated) and abs(x_scale / y_scale - 1) < 0.01:
        _move(mender, place, facts.size, lambda x, y: (x * x_scale, y * y_scale))
    elif fit(height, width):
        mender.change("images", place.position, width=width, height=height)
    else:
        mender.set_aside(place.position)


def _turn(mender: _Mender, place: Place) -> None:
    """Boxes of the stored image to those of the image that EXIF makes of it."""
    facts = mender.facts_of(place)
    height, width = facts.stored
    turns = {
        5: lambda x, y: (y, x),
        6: lambda x, y: (height - y, x),
        7: lambda x, y: (height - y, width - x),
        8: lambda x, y: (y, width - x),
    }
    _move(mender, place, facts.size, turns[facts.orientation])


def _move(mender: _Mender, place: Place, size: tuple[int, int], point: Callable[[float, float], tuple[float, float]]) -> None:
    """Gives an image another (H, W) and moves its boxes and polygons; other shapes cannot be moved and are set aside."""
    positions = mender.of_image(mender.entry(place)["id"])
    moved = []
    for position in positions:
        annotation = mender.content["annotations"][position]
        polygons, box = annotation.get("segmentation"), annotation.get("bbox")
        has_polygons = isinstance(polygons, list) and all(isinstance(one, list) and len(one) % 2 == 0 for one in polygons)
        if "keypoints" in annotation or not (polygons is None or has_polygons) or not _is_box(box):
            mender.set_aside(place.position)
            return
        corners = [point(box[0], box[1]), point(box[0] + box[2], box[1] + box[3])]
        (x1, x2), (y1, y2) = (sorted(values) for values in zip(*corners))
        keys: dict[str, Any] = {"bbox": [x1, y1, x2 - x1, y2 - y1]}
        if polygons:
            keys["segmentation"] = [[value for pair in zip(one[::2], one[1::2]) for value in point(*pair)] for one in polygons]
        if isinstance(annotation.get("area"), (int, float)) and box[2] * box[3]:
            keys["area"] = annotation["area"] * (keys["bbox"][2] * keys["bbox"][3]) / (box[2] * box[3])
        moved.append((position, keys))
    for position, keys in moved:
        mender.change("annotations", position, **keys)
    mender.change("images", place.position, width=size[1], height=size[0])


def _to_pixels(mender: _Mender, place: Place) -> None:
    annotation = mender.entry(place)
    height, width = mender.size_of(annotation)
    x, y, w, h = annotation["bbox"]
    _set_box(mender, place, [x * width, y * height, w * width, h * height], width * height)


def _to_sides(mender: _Mender, place: Place) -> None:
    x1, y1, x2, y2 = mender.entry(place)["bbox"]
    _set_box(mender, place, [x1, y1, x2 - x1, y2 - y1])


def _clip(mender: _Mender, place: Place) -> None:
    annotation = mender.entry(place)
    height, width = mender.size_of(annotation)
    x, y, w, h = annotation["bbox"]
    left, top = max(x, 0), max(y, 0)
    _set_box(mender, place, [left, top, min(x + w, width) - left, min(y + h, height) - top])


def _set_box(mender: _Mender, place: Place, box: list[float], area_scale: float = 1.0) -> None:
    keys: dict[str, Any] = {"bbox": box}
    area = mender.entry(place).get("area")
    if area is not None:
        keys["area"] = min(area * area_scale, box[2] * box[3])
    mender.change(place.section, place.position, **keys)


def _area(mender: _Mender, place: Place) -> None:
    box = mender.entry(place).get("bbox")
    if _is_box(box):
        mender.change(place.section, place.position, area=box[2] * box[3])


def _crowd(mender: _Mender, place: Place) -> None:
    text = str(mender.entry(place)["iscrowd"]).strip().lower()
    if text in ("0", "0.0", "false", "no", "1", "1.0", "true", "yes"):
        mender.change(place.section, place.position, iscrowd=int(text in ("1", "1.0", "true", "yes")))
    else:
        _remove(mender, place)


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) and abs(side) < 2**53 for side in box)


_Rules = dict[str, Callable[[_Mender, Place], None]]
# On the file as it was read: these need what the images told.
_IMAGE_RULES: _Rules = {
    "image-missing": _set_aside,
    "image-empty": _set_aside,
    "image-truncated": _set_aside,
    "image-broken": _set_aside,
    "leak": _set_aside,
    "exif-turned": _turn,
    "size-differs": _other_size,
    "image-twice": _copy,
}
# Then in turn, each on what the one before has left.
_ROUND: tuple[_Rules, ...] = (
    {"entry-malformed": _remove},
    {"id-not-integer": _new_id, "image-id-negative": _new_id, "annotation-id-twice": _new_id, "category-id-twice": _category_again},
    {"image-id-twice": _image_again, "category-without-name": _name},
    {"image-without-file": _set_aside, "image-without-size": _size_of_file},
    {"image-id-unknown": _remove, "category-id-unknown": _remove, "box-malformed": _remove, "box-not-finite": _remove},
    {"area-malformed": _area, "crowd-malformed": _crowd, "file-name-twice": _file_again},
    {"boxes-relative": _to_pixels, "boxes-as-corners": _to_sides},
    {"box-zero": _remove, "box-negative": _remove, "box-outside": _remove, "area-zero": _area, "box-partly-outside": _clip},
    {"area-too-large": _area, "box-twice": _remove},
    {},  # what is left
)
