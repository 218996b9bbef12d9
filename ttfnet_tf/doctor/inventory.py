"""What an annotation file holds, as far as it is sound: the images, categories and boxes that other checks build on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass
class ImageEntry:
    """An image whose id, file name and size are sound."""

    position: int  # in 'images'
    id: int
    file: str
    size: tuple[float, float]  # (height, width) as annotated
    annotations: int = 0  # all that belong to it
    usable: int = 0  # boxes that training would use
    faulty: bool = False  # one of its annotations stops training
    used: bool = True  # training or evaluation opens it

    @property
    def size_text(self) -> str:
        """WIDTHxHEIGHT."""
        height, width = self.size
        return f"{width:g}x{height:g}"


class SoundBox(NamedTuple):
    """An annotation that can be read, of an image that is sound."""

    position: int  # in 'annotations'
    annotation: dict
    image: ImageEntry

    @property
    def about(self) -> dict:
        """Keywords of `Findings.add` that name it."""
        return {"file": self.image.file, "image_id": self.image.id, "annotation_id": self.annotation["id"]}


@dataclass
class Inventory:
    """The sound parts of one annotation file."""

    images: list[ImageEntry] = field(default_factory=list)
    categories: dict[int, str] = field(default_factory=dict)  # id -> name
    annotations: int = 0
    declared: Counter = field(default_factory=Counter)  # category id -> annotations of every kind
    boxes: Counter = field(default_factory=Counter)  # category id -> usable boxes


def text_or_empty(value: Any) -> str:
    return value if isinstance(value, str) else ""
