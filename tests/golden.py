"""Arrays recorded from the official implementation, and where to find them.

Each family is `<family>.npz` (keys `<case>/<name>`) and `<family>.json` (`cases`: the settings of each case). They lie in the folder
that the environment variable TTFNET_GOLDEN names, by default `../shared/golden` beside the repository. A family that is not there is
read from the small subset in `tests/golden_subset`, so that parity is always tested on something.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

SUBSET = Path(__file__).resolve().parent / "golden_subset"


def folder(family: str) -> Path:
    """The folder that holds `<family>.npz` and `<family>.json`.

    Raises:
        FileNotFoundError: TTFNET_GOLDEN names no folder, or the family is neither there nor in the subset.
    """
    named = os.environ.get("TTFNET_GOLDEN")
    if named and not Path(named).is_dir():
        raise FileNotFoundError(f"TTFNET_GOLDEN={named} is not a folder")
    complete = Path(named) if named else SUBSET.parent.parent.parent / "shared" / "golden"
    for candidate in (complete, SUBSET):
        if (candidate / f"{family}.npz").is_file() and (candidate / f"{family}.json").is_file():
            return candidate
    raise FileNotFoundError(f"no golden family {family} in {complete} or {SUBSET}")


@functools.cache
def document(family: str) -> dict:
    """The whole `<family>.json`: `cases`, and in some families more keys."""
    return json.loads((folder(family) / f"{family}.json").read_text())


@functools.cache
def load(family: str) -> tuple[list[dict], Mapping[str, np.ndarray]]:
    """All cases of a family (dicts of settings; `case` is the name) and its arrays (`arrays["<case>/<name>"]`, read on access)."""
    return document(family)["cases"], np.load(folder(family) / f"{family}.npz")


def cases(family: str, kind: str | None = None) -> list:
    """Parameters for `pytest.mark.parametrize("case", golden.cases(...))`; the test's id is the name of the case.

    Args:
        kind: keep the cases whose `kind` is this; None keeps all.
    """
    import pytest

    return [pytest.param(case, id=case["case"]) for case in load(family)[0] if kind is None or case.get("kind") == kind]


def arrays_of(family: str, case: dict) -> dict[str, np.ndarray]:
    """The arrays of one case by their short names."""
    _, arrays = load(family)
    prefix = case["case"] + "/"
    return {key[len(prefix) :]: arrays[key] for key in arrays if key.startswith(prefix)}


def write_subset(family: str, names: list[str]) -> None:
    """Copies the named cases (or, without their `<case>/` arrays, just their settings) into `tests/golden_subset`.

    Top-level keys other than `cases` are kept. Run by hand, once, when a family gets its subset.
    """
    settings, arrays = load(family)
    chosen = [case for case in settings if case["case"] in names]
    missing = set(names) - {case["case"] for case in chosen}
    if missing:
        raise ValueError(f"no such cases in {family}: {sorted(missing)}")
    SUBSET.mkdir(exist_ok=True)
    kept = {key: arrays[key] for key in arrays if any(key.startswith(name + "/") for name in names)}
    np.savez_compressed(SUBSET / f"{family}.npz", **kept)
    (SUBSET / f"{family}.json").write_text(json.dumps({**document(family), "cases": chosen}, indent=1) + "\n")


def target_keywords(case: dict) -> dict:
    """The settings of a `targets` or `losses` case as keywords of `paint_targets`."""
    settings = case["settings"]
    return {
        "image_size": (case["input_h"], case["input_w"]),
        "num_classes": case["num_fg"],
        "alpha": settings.get("alpha", 0.54),
        "beta": settings.get("beta", 0.54),
        "area": "gaussian" if settings.get("wh_gaussian", True) else "rectangle",
        "weight": settings.get("wh_area_process", "log") or "none",
        "box_per_class": not settings.get("wh_agnostic", True),
    }


def dense_targets(case: dict, arrays: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    """The maps of a `targets` case: what was recorded and, where the order of equal boxes matters, also the stable order's."""
    height, width, groups = case["map_h"], case["map_w"], case["groups"]
    heatmap = np.zeros((height, width, case["num_fg"]), np.float32)
    heatmap[tuple(arrays["hm_idx"].T)] = arrays["hm_val"]
    accepted = []
    for prefix in ("reg", "stable_reg") if case["tie_sensitive"] else ("reg",):
        box_target = np.full((height, width, groups, 4), -1, np.float32)
        box_weight = np.zeros((height, width, groups), np.float32)
        cells = tuple(arrays[f"{prefix}_idx"].T)
        box_target[cells], box_weight[cells] = arrays[f"{prefix}_box"], arrays[f"{prefix}_w"]
        accepted.append({"heatmap": heatmap, "box_target": box_target.reshape(height, width, -1), "box_weight": box_weight})
    return accepted
