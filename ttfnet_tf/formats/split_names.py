"""Names of splits: train, val, test and their usual spellings."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from ttfnet_tf.errors import UserError

USUAL = ("train", "val", "test")
_ALIASES = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}

T = TypeVar("T")


def split_name(name: str) -> str:
    """valid and validation become val, and the like; other names stay."""
    return _ALIASES.get(name.lower(), name)


def split_rank(name: str) -> tuple[int, str]:
    """Sort key: train, val, test, then the others by name."""
    return (USUAL.index(name) if name in USUAL else len(USUAL), name)


def choose_splits(found: dict[str, T], split: str | None, where: Path) -> dict[str, T]:
    """All splits, or only the requested one.

    Raises:
        UserError: there is no such split.
    """
    if split is None:
        return found
    for name in (split, split_name(split)):
        if name in found:
            return {name: found[name]}
    raise UserError(f"{where}: has no split '{split}'; there {'are' if len(found) > 1 else 'is'} {', '.join(found)}")
