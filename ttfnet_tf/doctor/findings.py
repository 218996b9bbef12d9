"""Every kind of finding: its code, how bad it is, and what training does about it under the given settings.

Severities: an error stops training or makes it, or its figures, wrong; a warning costs something, such as boxes that are left out; a
note is good to know. What is said of training is the behaviour of `data.coco`, `data.pipeline` and `evaluate`; what they do differs
between a training and a validation file, and so do the texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

SEVERITIES = ("error", "warning", "note")


@dataclass(frozen=True)
class Settings:
    """The settings that decide what training does about a finding; those of the `data` section, and one of the model."""

    image_size: tuple[int, int] = (512, 512)  # (H, W) in pixels of the input
    crowd: str = "background"
    min_box_size: float = 1.0  # px of the original picture
    min_image_size: int = 32  # px
    empty_images: str = "drop"
    broken_pictures: str = "raise"
    box_per_class: bool = False


@dataclass(frozen=True)
class Kind:
    """One kind of finding.

    Attributes:
        severity: one of `SEVERITIES`.
        what: the things counted.
        effect: what training does about it.
        validation: what evaluation does about it in a validation file; None: the same words fit.
        under: {(setting, value): (severity, effect)} that hold instead under that setting, except where `validation` is said.
    """

    severity: str
    what: str
    effect: str
    validation: str | None = None
    under: dict[tuple[str, object], tuple[str, str]] = field(default_factory=dict)


_STOPS = "training stops while reading the file"
_COUNTS = "; evaluation counts them as objects that were not found"
_LEFT_OUT = "left out: their objects are taught as background"
_SKIPPED = {("broken_pictures", "skip"): ("warning", "skipped and counted (data.broken_pictures=skip)")}
_READ_STOPS = "training stops when the picture's turn comes"

KINDS: dict[str, Kind] = {
    # The file as a whole.
    "not-json": Kind("error", "files that are not JSON", _STOPS),
    "not-coco": Kind("error", "files that hold no object", _STOPS),
    "section-missing": Kind("error", "sections that are missing or not a list", _STOPS),
    "section-empty": Kind("error", "sections without an entry", _STOPS),
    "entry-malformed": Kind("error", "entries that are not objects", _STOPS),
    "nothing-to-use": Kind("error", "files that leave no picture to train on", "training stops before the first step"),
    # Ids and names.
    "id-not-integer": Kind("error", "entries without an integer id", _STOPS),
    "category-id-twice": Kind("error", "category ids given again", _STOPS),
    "image-id-twice": Kind("error", "image ids given again", _STOPS),
    "annotation-id-twice": Kind("error", "annotation ids given again", _STOPS),
    "image-id-negative": Kind("error", "image ids below 0", _STOPS),
    "image-id-unknown": Kind("error", "annotations of a picture that is not in 'images'", _STOPS),
    "category-id-unknown": Kind("error", "annotations of a category that is not in 'categories'", _STOPS),
    "annotation-id-zero": Kind("note", "annotations with id 0", "gets another id in memory, for COCOeval takes 0 for 'no match'"),
    "category-ids-gap": Kind("note", "gaps between category ids", "nothing is lost: labels count the ids in rising order"),
    "category-without-name": Kind("error", "categories without a name", _STOPS),
    "category-name-twice": Kind(
        "warning", "category names given again", "trained as classes of their own; the table of APs tells them apart by id"
    ),
    "file-name-twice": Kind(
        "warning",
        "file names given again",
        "each entry is a picture of its own: the boxes of one are background in the other",
        "each entry is a picture of its own: detections on the boxes of the other count as wrong",
    ),
    # Pictures as the annotations tell of them.
    "picture-without-file": Kind("error", "pictures without a file_name", _STOPS),
    "picture-without-size": Kind("error", "pictures without width and height in pixels", _STOPS),
    "picture-small": Kind("warning", "pictures with a side below data.min_image_size", "left out of training"),
    "picture-without-boxes": Kind(
        "note",
        "pictures without an annotation",
        "left out of training (data.empty_images=drop)",
        "every detection on them counts as wrong",
        {("empty_images", "keep"): ("note", "trained on as background (data.empty_images=keep)")},
    ),
    "picture-without-usable-box": Kind(
        "note",
        "pictures whose annotations are all left out",
        "left out of training (data.empty_images=drop)",
        under={("empty_images", "keep"): ("warning", "trained on as if nothing were on them (data.empty_images=keep)")},
    ),
    # Boxes.
    "box-malformed": Kind("error", "boxes that are not four numbers", _STOPS),
    "box-not-finite": Kind("error", "boxes with NaN or infinity", _STOPS),
    "area-malformed": Kind("error", "areas that are not finite numbers", _STOPS),
    "crowd-malformed": Kind(
        "error",
        "iscrowd other than 0, 1, true or false",
        "anything but 0, false, null and '' counts as crowd, the text '0' too",
    ),
    "boxes-relative": Kind(
        "error",
        "boxes in shares of the picture instead of pixels",
        "taken as pixels: below data.min_box_size they are left out, and training stops when no box remains",
    ),
    "boxes-as-corners": Kind(
        "error", "boxes as x1, y1, x2, y2 instead of x, y, width, height", "taken as x, y, width, height: every box is too large"
    ),
    "box-zero": Kind("warning", "boxes with a side of 0", _LEFT_OUT, "stay in the ground truth" + _COUNTS),
    "box-negative": Kind(
        "warning", "boxes with a negative side", _LEFT_OUT, "stay in the ground truth" + _COUNTS + " unless their area is negative too"
    ),
    "area-zero": Kind(
        "warning", "real boxes with an area of 0 or less", _LEFT_OUT, "taken as small objects (area 0) or left out (area below 0)"
    ),
    "area-too-large": Kind(
        "warning",
        "areas larger than their box",
        "nothing: the area of a box comes from its sides",
        "APs, APm and APl sort objects by this area",
    ),
    "area-missing": Kind("note", "annotations without area", "taken as width x height"),
    "box-outside": Kind("warning", "boxes outside their picture", _LEFT_OUT, "stay in the ground truth" + _COUNTS),
    "box-partly-outside": Kind(
        "warning",
        "boxes that leave their picture by more than half a pixel",
        "clipped to the picture after resizing",
        "stay as they are in the ground truth, while detections are clipped: their IoU is below 1",
    ),
    "box-below-minimum": Kind(
        "warning", "boxes with a side below data.min_box_size", _LEFT_OUT, "stay in the ground truth" + _COUNTS + ", or were found by luck"
    ),
    "box-below-pixel": Kind(
        "warning",
        "boxes with a side below one input pixel after resizing",
        "trained on, but hardly to be found; raise data.image_size",
        "count like others, but are hardly to be found",
    ),
    "box-below-cell": Kind(
        "note",
        "boxes with a side below one cell (4 input pixels) after resizing",
        "trained on; neighbours share cells with them",
        "count like others",
    ),
    "box-aspect": Kind(
        "warning",
        "boxes more than 50 times as long as wide",
        "trained on as they are; look whether a coordinate is wrong",
        "count like others",
    ),
    "box-whole-picture": Kind("note", "boxes of the whole picture", "trained on as they are", "count like others"),
    "box-twice": Kind(
        "warning",
        "boxes given again with the same class",
        "one object: they have the same peak and the same cells",
        "counted as several objects, of which one is found",
    ),
    "box-two-classes": Kind(
        "warning",
        "boxes given again with another class",
        "a peak in each class, one box for both",
        "counted in each class",
        under={("box_per_class", True): ("warning", "a peak and a box in each class (model.box_per_class=true)")},
    ),
    "box-crowd": Kind(
        "note",
        "crowd boxes",
        "background (data.crowd=background)",
        "detections inside them count neither as right nor as wrong",
        {("crowd", "object"): ("warning", "trained on as single objects (data.crowd=object), while evaluation takes them as crowds")},
    ),
    "box-ignore": Kind("note", "boxes marked ignore", _LEFT_OUT, "left out, but evaluation takes 'ignore' from iscrowd alone: they count"),
    # Classes.
    "category-unused": Kind(
        "warning", "categories without an annotation", "a class that is never shown: its AP is 0 where validation has it"
    ),
    "class-without-usable-box": Kind(
        "warning", "categories whose boxes are all left out", "a class that is never shown, only as background"
    ),
    "class-without-validation": Kind("warning", "categories with training boxes and no validation box", "no AP for them (-1)"),
    "class-imbalance": Kind(
        "note", "classes with less than a hundredth of the boxes of the largest", "every box counts alike: these learn late"
    ),
    "categories-differ": Kind(
        "error", "validation categories of other ids or names than the training ones", "training stops before the first step"
    ),
    # Picture files.
    "picture-missing": Kind(
        "error",
        "picture files that are not there",
        "training stops before the first step",
        under={("broken_pictures", "skip"): ("warning", "skipped and counted (data.broken_pictures=skip), unless all are missing")},
    ),
    "picture-empty": Kind("error", "picture files of 0 bytes", _READ_STOPS, under=_SKIPPED),
    "picture-truncated": Kind("error", "picture files that are cut short", _READ_STOPS, under=_SKIPPED),
    "picture-broken": Kind("error", "files that are no readable picture", _READ_STOPS, under=_SKIPPED),
    "unused-picture-unreadable": Kind(
        "note", "missing or broken files of pictures that are left out anyway", "nothing: they are not opened"
    ),
    "size-differs": Kind(
        "error",
        "pictures of another size than the annotations say",
        "boxes are taken as pixels of the file's picture: wrong if they were drawn on another size",
    ),
    "exif-turned": Kind(
        "error",
        "pictures that EXIF turns, annotated unturned",
        "the picture is turned as EXIF says and its boxes are not: they miss their objects",
    ),
    "exif-ambiguous": Kind(
        "warning",
        "pictures that EXIF turns or mirrors without changing width and height",
        "turned as EXIF says; right only if the boxes were drawn on the turned picture",
    ),
    "exif-applied": Kind("note", "pictures that EXIF turns, annotated as turned", "turned as EXIF says, as the annotations expect"),
    "picture-grey": Kind("note", "grey pictures", "become RGB with three equal channels"),
    "picture-cmyk": Kind("note", "CMYK pictures", "become RGB without a colour profile"),
    "picture-16-bit": Kind("note", "pictures of 16 bits a channel", "keep the upper 8 bits"),
    "picture-alpha": Kind("note", "pictures with an alpha channel", "lose it; hidden colours show"),
    "picture-animated": Kind("note", "pictures of several frames", "the first frame is taken"),
    "picture-suffix": Kind("note", "pictures of another format than their name says", "read by content, whatever the name"),
    # Copies.
    "picture-twice": Kind(
        "warning",
        "pictures that are byte for byte another of the same file",
        "trained on more often; boxes of one entry are background in the other",
        "counted more often",
    ),
    "picture-similar": Kind("warning", "pictures that look like another of the same file", "trained on more often", "counted more often"),
    "leak": Kind("error", "training pictures that are byte for byte a validation picture", "trained on: the AP measures memory"),
    "leak-similar": Kind("warning", "training pictures that look like a validation picture", "trained on: the AP may measure memory"),
}


class Place(NamedTuple):
    """Where something was found."""

    section: str  # images, annotations or categories; "" for the file as a whole
    position: int  # in that section, from 0; -1 for the file as a whole
    file: str = ""
    image_id: object = None
    annotation_id: object = None
    detail: str = ""
    other: int | None = None  # position of the entry that it is a copy of


@dataclass(frozen=True)
class Finding:
    """All places of one kind in one file."""

    code: str
    split: str  # "train" or "val"
    severity: str
    effect: str
    places: list[Place]

    @property
    def what(self) -> str:
        return KINDS[self.code].what

    def to_json(self) -> dict:
        """The count and the first place."""
        first = self.places[0]
        example = {"file": first.file, "image_id": first.image_id, "annotation_id": first.annotation_id, "detail": first.detail}
        about = {"code": self.code, "severity": self.severity, "split": self.split, "count": len(self.places)}
        return {**about, "what": self.what, "example": example, "effect": self.effect}


class Findings:
    """Collects what is found in one annotation file.

    Args:
        split: "train" or "val".
        settings: decide severities and effects.
    """

    def __init__(self, split: str, settings: Settings):
        self.split, self.settings = split, settings
        self._places: dict[str, list[Place]] = {}

    def add(self, code: str, section: str = "", position: int = -1, **more) -> None:
        """Notes one place; keywords as in `Place`."""
        if code not in KINDS:
            raise ValueError(f"unknown kind of finding {code!r}")
        self._places.setdefault(code, []).append(Place(section, position, **more))

    def codes(self) -> set[str]:
        return set(self._places)

    def places(self, code: str) -> list[Place]:
        return self._places.get(code, [])

    def __iter__(self) -> Iterator[Finding]:
        """Worst first, otherwise in the order of `KINDS`."""
        found = []
        for code, kind in KINDS.items():
            if code in self._places:
                severity, effect = kind.severity, kind.effect
                if self.split == "val" and kind.validation is not None:
                    effect = kind.validation
                else:
                    for (name, value), instead in kind.under.items():
                        if getattr(self.settings, name) == value:
                            severity, effect = instead
                found.append(Finding(code, self.split, severity, effect, self._places[code]))
        return iter(sorted(found, key=lambda one: SEVERITIES.index(one.severity)))
