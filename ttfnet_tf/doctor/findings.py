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
    min_box_size: float = 1.0  # px of the original image
    min_image_size: int = 32  # px
    empty_images: str = "drop"
    broken_images: str = "raise"
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
_SKIPPED = {("broken_images", "skip"): ("warning", "skipped and counted (data.broken_images=skip)")}
_READ_STOPS = "training stops when the image's turn comes"

KINDS: dict[str, Kind] = {
    # The file as a whole.
    "not-json": Kind("error", "files that are not JSON", _STOPS),
    "not-coco": Kind("error", "files that hold no object", _STOPS),
    "section-missing": Kind("error", "sections that are missing or not a list", _STOPS),
    "section-empty": Kind("error", "sections without an entry", _STOPS),
    "entry-malformed": Kind("error", "entries that are not objects", _STOPS),
    "nothing-to-use": Kind("error", "files that leave no image to train on", "training stops before the first step"),
    # Ids and names.
    "id-not-integer": Kind("error", "entries without an integer id", _STOPS),
    "category-id-twice": Kind("error", "category ids given again", _STOPS),
    "image-id-twice": Kind("error", "image ids given again", _STOPS),
    "annotation-id-twice": Kind("error", "annotation ids given again", _STOPS),
    "image-id-negative": Kind("error", "image ids below 0", _STOPS),
    "image-id-unknown": Kind("error", "annotations of an image that is not in 'images'", _STOPS),
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
        "each entry is an image of its own: the boxes of one are background in the other",
        "each entry is an image of its own: detections on the boxes of the other count as wrong",
    ),
    # Images as the annotations tell of them.
    "image-without-file": Kind("error", "images without a file_name", _STOPS),
    "image-without-size": Kind("error", "images without width and height in pixels", _STOPS),
    "image-small": Kind("warning", "images with a side below data.min_image_size", "left out of training"),
    "image-without-boxes": Kind(
        "note",
        "images without an annotation",
        "left out of training (data.empty_images=drop)",
        "every detection on them counts as wrong",
        {("empty_images", "keep"): ("note", "trained on as background (data.empty_images=keep)")},
    ),
    "image-without-usable-box": Kind(
        "note",
        "images whose annotations are all left out",
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
        "boxes in shares of the image instead of pixels",
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
    "box-outside": Kind("warning", "boxes outside their image", _LEFT_OUT, "stay in the ground truth" + _COUNTS),
    "box-partly-outside": Kind(
        "warning",
        "boxes that leave their image by more than half a pixel",
        "clipped to the image after resizing",
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
    "box-whole-image": Kind("note", "boxes of the whole image", "trained on as they are", "count like others"),
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
    # Image files.
    "image-missing": Kind(
        "error",
        "image files that are not there",
        "training stops before the first step",
        under={("broken_images", "skip"): ("warning", "skipped and counted (data.broken_images=skip), unless all are missing")},
    ),
    "image-empty": Kind("error", "image files of 0 bytes", _READ_STOPS, under=_SKIPPED),
    "image-truncated": Kind("error", "image files that are cut short", _READ_STOPS, under=_SKIPPED),
    "image-broken": Kind("error", "files that are no readable image", _READ_STOPS, under=_SKIPPED),
    "unused-image-unreadable": Kind("note", "missing or broken files of images that are left out anyway", "nothing: they are not opened"),
    "size-differs": Kind(
        "error",
        "images of another size than the annotations say",
        "boxes are taken as pixels of the file's image: wrong if they were drawn on another size",
    ),
    "exif-turned": Kind(
        "error",
        "images that EXIF turns, annotated unturned",
        "the image is turned as EXIF says and its boxes are not: they miss their objects",
    ),
    "exif-ambiguous": Kind(
        "warning",
        "images that EXIF turns or mirrors without changing width and height",
        "turned as EXIF says; right only if the boxes were drawn on the turned image",
    ),
    "exif-applied": Kind("note", "images that EXIF turns, annotated as turned", "turned as EXIF says, as the annotations expect"),
    "image-grey": Kind("note", "grey images", "become RGB with three equal channels"),
    "image-cmyk": Kind("note", "CMYK images", "become RGB without a colour profile"),
    "image-16-bit": Kind("note", "images of 16 bits a channel", "keep the upper 8 bits"),
    "image-alpha": Kind("note", "images with an alpha channel", "lose it; hidden colours show"),
    "image-animated": Kind("note", "images of several frames", "the first frame is taken"),
    "image-suffix": Kind("note", "images of another format than their name says", "read by content, whatever the name"),
    # Copies.
    "image-twice": Kind(
        "warning",
        "images that are byte for byte another of the same file",
        "trained on more often; boxes of one entry are background in the other",
        "counted more often",
    ),
    "image-similar": Kind("warning", "images that look like another of the same file", "trained on more often", "counted more often"),
    "leak": Kind("error", "training images that are byte for byte a validation image", "trained on: the AP measures memory"),
    "leak-similar": Kind("warning", "training images that look like a validation image", "trained on: the AP may measure memory"),
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
