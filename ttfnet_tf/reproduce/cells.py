"""Published figures, cell by cell, with the settings of each: `configs/published.yaml` as frozen dataclasses.

Needs neither TensorFlow nor `config`; `plan` turns cells into runs.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ttfnet_tf.errors import UserError
from ttfnet_tf.recipes import recipes_folder

PUBLISHED = recipes_folder() / "published.yaml"
# Columns in the order of the tables. AP and its parts in percent.
FIGURES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "ratio", "hours", "fps")


@dataclass(frozen=True)
class Cell:
    """One trained network of a table."""

    name: str
    config: Path  # run configuration
    settings: tuple[str, ...]  # key=value, on top of it
    published: Mapping[str, float]  # keys of FIGURES; empty where nothing was published
    tolerance: float | None  # points of AP by which another run may differ; None: a single run proves nothing


@dataclass(frozen=True)
class Table:
    """One table or figure of the paper."""

    name: str
    title: str
    source: str
    question: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Detector:
    """Another detector, for comparison."""

    name: str
    family: str
    size: tuple[int, int]  # (height, width) of the input in pixels, the longer side of a range
    published: Mapping[str, float]  # keys of FIGURES


@dataclass(frozen=True)
class Published:
    """Everything in the file."""

    sources: Mapping[str, str]
    tables: Mapping[str, Table]
    detectors: tuple[Detector, ...]

    def table(self, name: str) -> Table:
        """The table of that name.

        Raises:
            UserError: there is none; the message names the nearest.
        """
        if name not in self.tables:
            raise UserError(f"unknown table '{name}'; {_nearest(name, self.tables)}")
        return self.tables[name]


def read_published(path: Path = PUBLISHED) -> Published:
    """Reads the file of published figures.

    Raises:
        UserError: it is missing or is not YAML, or a key or name in it is missing, unknown or repeated.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); the package is incomplete, install it again") from None
    except yaml.YAMLError as error:
        raise UserError(f"{path}: is not YAML ({' '.join(str(error).split())})") from None
    _check(content, str(path), ("sources", "tables", "detectors"))
    tables = {name: _table(name, entry, path) for name, entry in content["tables"].items()}
    detectors = tuple(_detector(entry, path) for entry in content["detectors"])
    return Published(content["sources"], tables, detectors)


def select(table: Table, names: Sequence[str]) -> tuple[Cell, ...]:
    """The cells of these names in the order of the table; all cells if no name is given.

    Raises:
        UserError: an unknown name; the message names the nearest.
    """
    known = {cell.name: cell for cell in table.cells}
    for name in names:
        if name not in known:
            raise UserError(f"{table.name} has no cell '{name}'; {_nearest(name, known)}")
    return tuple(cell for cell in table.cells if not names or cell.name in names)


def _nearest(name, known):
    return f"did you mean '{difflib.get_close_matches(name, list(known), n=1, cutoff=0.0)[0]}'?"


def _table(name: str, entry: Any, path: Path) -> Table:
    where = f"{path}: {name}"
    _check(entry, where, ("title", "source", "question", "tolerance", "cells"), ("config",))
    cells: list[Cell] = []
    for given in entry["cells"]:
        _check(given, f"{where}: cell {given}", ("name",), ("config", "settings", "tolerance", *FIGURES))
        config = given.get("config", entry.get("config"))
        if config is None:
            raise UserError(f"{where}: cell {given['name']} has no config, nor has the table")
        if given["name"] in {cell.name for cell in cells}:
            raise UserError(f"{where}: has two cells {given['name']}")
        tolerance = given["tolerance"] if "tolerance" in given else entry["tolerance"]
        settings = tuple(given.get("settings", ()))
        cells.append(Cell(given["name"], path.parent / config, settings, _figures(given), tolerance))
    return Table(name, entry["title"], entry["source"], entry["question"], tuple(cells))


def _detector(entry: Any, path: Path) -> Detector:
    _check(entry, f"{path}: detector {entry}", ("name", "family", "size"), FIGURES)
    return Detector(entry["name"], entry["family"], (entry["size"][0], entry["size"][1]), _figures(entry))


def _figures(entry: Mapping[str, Any]) -> dict[str, float]:
    return {figure: float(entry[figure]) for figure in FIGURES if entry.get(figure) is not None}


def _check(entry: Any, where: str, required: Sequence[str], optional: Sequence[str] = ()) -> None:
    if not isinstance(entry, dict):
        raise UserError(f"{where}: must have the keys {', '.join(required)}")
    for key in required:
        if key not in entry:
            raise UserError(f"{where}: has no {key}")
    for key in entry:
        if key not in (*required, *optional):
            raise UserError(f"{where}: unknown key '{key}'; {_nearest(str(key), (*required, *optional))}")
