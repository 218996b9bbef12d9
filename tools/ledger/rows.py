"""A row of the ledger, and the CSV file of them."""

from __future__ import annotations

import csv
import dataclasses
import math
import shlex
from pathlib import Path


class RowError(ValueError):
    """A file that holds something else than rows, or a figure that is not a number."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One run: a system trained on a data set for so many minutes, and its detections measured."""

    system: str
    version: str  # of the package that trains
    data: str  # name of the data set
    start: str  # none (random weights) or imagenet (of the backbone)
    minutes: float  # asked for
    minutes_used: float  # of training, evaluations excluded
    minutes_whole: float  # of the whole command: imports, preparation, training, detections
    images_per_second: float | None  # training images over `minutes_used`; None where the system does not say
    AP: float
    AP50: float
    parameters: int
    input: str  # HEIGHTxWIDTH in pixels
    batch: int  # images of a step
    seed: int
    cores: int
    processor: str
    commit: str  # of this repository
    command: str

    def key(self) -> tuple:
        """Of two rows with the same key the later one counts."""
        return self.system, self.data, self.start, self.minutes, self.size, self.seed, self.processor

    @property
    def size(self) -> str:
        """What `--size` named; "" where the system has the input of its own, which `fit` chooses by the minutes."""
        words = shlex.split(self.command)
        return words[words.index("--size") + 1] if "--size" in words else ""


FIELDS = tuple(field.name for field in dataclasses.fields(Row))
_DIGITS = {"minutes": "g", "minutes_used": ".2f", "minutes_whole": ".2f", "images_per_second": ".2f", "AP": ".3f", "AP50": ".3f"}
_INTEGERS = ("parameters", "batch", "seed", "cores")


def append_row(path: Path, row: Row) -> None:
    """Adds a row; writes the head first where the file is new.

    Raises:
        RowError: the file has other columns, or a figure is not a number.
    """
    for name in _DIGITS:
        value = getattr(row, name)
        if value is not None and not math.isfinite(value):
            raise RowError(f"{name}={value}, expected a number")
    is_new = not path.exists() or path.stat().st_size == 0
    if not is_new:
        read_rows(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(FIELDS)
        writer.writerow([_text(name, getattr(row, name)) for name in FIELDS])


def read_rows(path: Path) -> list[Row]:
    """The rows of a file; none where there is no file.

    Raises:
        RowError: a line is not a row.
    """
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        head, *lines = list(csv.reader(file)) or [[]]
    if tuple(head) != FIELDS:
        raise RowError(f"{path}: has the columns {', '.join(head) or 'of an empty file'}, expected {', '.join(FIELDS)}")
    rows = []
    for number, line in enumerate(lines, 2):
        if len(line) != len(FIELDS):
            raise RowError(f"{path}, line {number}: {len(line)} values, expected {len(FIELDS)}")
        try:
            rows.append(Row(**{name: _value(name, text) for name, text in zip(FIELDS, line)}))
        except ValueError as error:
            raise RowError(f"{path}, line {number}: {error}") from None
    return rows


def latest(rows: list[Row]) -> list[Row]:
    """The rows without those that were run again, in the order of their first run."""
    return list({row.key(): row for row in rows}.values())


def _text(name: str, value) -> str:
    if value is None:
        return ""
    return format(value, _DIGITS[name]) if name in _DIGITS else str(value)


def _value(name: str, text: str):
    if name in _DIGITS:
        return float(text) if text else None
    return int(text) if name in _INTEGERS else text
