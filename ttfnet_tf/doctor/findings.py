"""What was found in one annotation file: findings of `kinds.KINDS` with the places where they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ttfnet_tf.doctor.kinds import KINDS, SEVERITIES


@dataclass(frozen=True)
class Settings:
    """The settings that decide what training does about a finding: those of the `data` section, and one of the model."""

    image_size: tuple[int, int] = (512, 512)  # (H, W) in pixels of the input
    keep_ratio: bool = False  # of images, when they are resized
    crowd: str = "background"
    min_box_size: float = 1.0  # px of the original image
    min_image_size: int = 32  # px
    empty_images: str = "drop"
    broken_images: str = "raise"
    box_per_class: bool = False


class Place(NamedTuple):
    """Where something was found."""

    section: str  # images, annotations or categories; "" for the file as a whole
    position: int  # in that section, from 0; -1 for the file as a whole
    file: str = ""
    image_id: object = None
    annotation_id: object = None
    detail: str = ""
    other: int | None = None  # position of the entry that it repeats


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

    @property
    def advice(self) -> str:
        return KINDS[self.code].advice

    def to_json(self) -> dict:
        """The number of places and the first one."""
        first = self.places[0]
        example = {"file": first.file, "image_id": first.image_id, "annotation_id": first.annotation_id, "detail": first.detail}
        about = {"code": self.code, "severity": self.severity, "split": self.split, "count": len(self.places)}
        return {**about, "what": self.what, "example": example, "effect": self.effect, "advice": self.advice}


class Findings:
    """Collects the findings of one annotation file.

    Args:
        split: "train" or "val".
        settings: decide severities and effects.
    """

    def __init__(self, split: str, settings: Settings):
        self.split, self.settings = split, settings
        self._places: dict[str, list[Place]] = {}

    def add(self, code: str, section: str = "", position: int = -1, **more) -> None:
        """Adds one place; keywords as in `Place`."""
        if code not in KINDS:
            raise ValueError(f"unknown kind of finding {code!r}")
        self._places.setdefault(code, []).append(Place(section, position, **more))

    def codes(self) -> set[str]:
        return set(self._places)

    def places(self, code: str) -> list[Place]:
        return self._places.get(code, [])

    def __iter__(self) -> Iterator[Finding]:
        """Worst first, otherwise in the order of `KINDS`."""
        found = [Finding(code, self.split, *self._judge(code), self._places[code]) for code in KINDS if code in self._places]
        return iter(sorted(found, key=lambda one: SEVERITIES.index(one.severity)))

    def _judge(self, code: str) -> tuple[str, str]:
        """(severity, effect) in this split under the settings."""
        kind = KINDS[code]
        if self.split == "val" and kind.validation is not None:
            return kind.severity, kind.validation
        for (name, value), instead in kind.under.items():
            if getattr(self.settings, name) == value:
                return instead
        return kind.severity, kind.effect
