"""What every reader returns and every writer takes: a data set of splits, images and boxes.

Boxes are COCO's: x, y, width, height in pixels, x and y the left and upper edge counted from 0, continuous. A pixel in column c reaches
from c to c + 1, so a box over the pixels c1 to c2 has x = c1 and width c2 - c1 + 1. docs/formats.md has the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ttfnet_tf.errors import UserError

T = TypeVar("T")
# Iterates over a long list with a progress line: (label, items) -> the same items.
Progress = Callable[[str, Sequence[T]], Iterable[T]]


@dataclass(frozen=True)
class Box:
    """One object."""

    label: str | int  # class of the source: its name, or the number that `Category.label` has
    bbox: tuple[float, float, float, float]  # COCO x, y, width, height in pixels
    extra: dict = field(default_factory=dict)  # more keys of the annotation, such as truncated


@dataclass
class ImageRecord:
    """One image."""

    path: Path  # of the file, whether it exists or not
    size: tuple[int, int]  # (height, width) in pixels
    boxes: list[Box]
    id: int = -1  # -1 until `numbering.number_images`


@dataclass
class Split:
    """Images that become one annotation file."""

    name: str
    images: list[ImageRecord]
    root: Path  # folder that file names are relative to


@dataclass(frozen=True)
class Category:
    """One class."""

    id: int
    name: str
    label: str | int  # of its boxes


@dataclass
class DataSet:
    """Everything that was read."""

    categories: list[Category]  # in the order they are written
    splits: list[Split]
    notes: Counter[str] = field(default_factory=Counter)  # decisions of the reader -> how often


class Problems:
    """Mistakes in annotation files as lines, in the order of reading."""

    def __init__(self):
        self.lines: list[str] = []

    def add(self, path: Path, line: int | None, text: str) -> None:
        """`line` counts from 1; None for the file as a whole."""
        self.lines.append(f"{path}:{line}: {text}" if line else f"{path}: {text}")

    def __len__(self) -> int:
        return len(self.lines)

    def raise_unless(self, skip: bool) -> None:
        """Raises a UserError with the first problem and the number of others, unless images with problems are skipped."""
        if self.lines and not skip:
            more = len(self.lines) - 1
            others = f" ({more} more problem{'s' * (more > 1)} in this data set)" if more else ""
            raise UserError(f"{self.lines[0]}{others}; fix it, or add --skip-broken to skip such images")


def no_progress(label: str, items: Sequence[T]) -> Iterable[T]:
    """A `Progress` that prints nothing."""
    return items


def tidy(value: float) -> float | int:
    """Pixels rounded to four decimals, whole ones as integers."""
    value = round(value, 4)
    return int(value) if value == int(value) else value
