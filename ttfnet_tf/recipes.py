"""The recipes that come with the package: `configs/` of a clone, `ttfnet_tf/configs/` of an installed package."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_NO_RUNS = ("_base", "published")  # what all recipes share; published figures


def recipes_folder() -> Path:
    """The folder of the recipes."""
    inside = _PACKAGE / "configs"  # written by setup.py into wheels
    return inside if inside.is_dir() else _PACKAGE.parent / "configs"


def recipes() -> dict[str, str]:
    """{name for `ttfnet train`, e.g. "ttfnet_r18_1x" or "ablations/table1": the first sentence of the file}."""
    folder = recipes_folder()
    files = sorted(folder.rglob("*.yaml"), key=lambda path: (len(path.parts), path.name))
    names = {path.relative_to(folder).with_suffix("").as_posix(): path for path in files}
    return {name: _first_sentence(path) for name, path in names.items() if name not in _NO_RUNS}


def find_recipe(name: str | Path) -> Path:
    """The file that `name` means: a file of that name, else the recipe; `name` itself if there is neither."""
    path = Path(name)
    return path if path.is_file() else recipe_file(name) or path


def recipe_file(name: str | Path) -> Path | None:
    """The file of a recipe, None if there is none of that name.

    Args:
        name: "ttfnet_r18_1x", "ttfnet_r18_1x.yaml" and "configs/ttfnet_r18_1x.yaml" are the same.
    """
    path = Path(name)
    if path.is_absolute() or ".." in path.parts:
        return None
    inner = Path(*path.parts[1:]) if path.parts[:1] == ("configs",) else path
    file = recipes_folder() / (inner if inner.suffix == ".yaml" else f"{inner}.yaml")
    return file if file.is_file() else None


def recipe_hint(name: str | Path) -> str:
    """What to do about a `name` that is no file and no recipe, for the end of a message."""
    nearest = [] if Path(name).is_absolute() else difflib.get_close_matches(Path(name).stem, list(recipes()), n=1)
    if nearest:
        return f"did you mean '{nearest[0]}'? ttfnet train --list prints the recipes"
    return "name a YAML file, or a recipe that ttfnet train --list prints"


def recipe_path(file: Path) -> str:
    """How to name a file on the command line: a recipe as configs/..., which works from every folder; others from here."""
    folder = recipes_folder()
    return f"configs/{file.relative_to(folder).as_posix()}" if file.is_relative_to(folder) else os.path.relpath(file)


def _first_sentence(path: Path) -> str:
    """Of the comment that a recipe begins with."""
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("# "):
            break
        comment.append(line[2:])
    sentence, _, _ = " ".join(comment).partition(". ")
    return sentence.rstrip(".")
