"""The paper's Figure 4: AP against hours of training and against frames a second, of published detectors and of our own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ttfnet_tf.errors import UserError
from ttfnet_tf.json_text import number, read_json
from ttfnet_tf.reproduce.cells import Published

TABLES = ("table6", "repository")  # of TTFNet itself


def trade_off_points(published: Published, own: Sequence[Mapping[str, Any]] = ()) -> list[tuple[str, str, dict[str, float]]]:
    """(family, name, figures) of every published detector with hours or frames a second, and of our own.

    Args:
        published: from `cells.read_published`.
        own: mappings with "name" and figures AP, hours, fps.
    """
    points = [(detector.family, detector.name, dict(detector.published)) for detector in published.detectors]
    for name in TABLES:
        points += [("TTFNet", cell.name, dict(cell.published)) for cell in published.tables[name].cells]
    points += [("ours", str(entry["name"]), {key: float(entry[key]) for key in ("AP", "hours", "fps") if key in entry}) for entry in own]
    return [(family, name, figures) for family, name, figures in points if "AP" in figures and {"hours", "fps"} & set(figures)]


def own_points(folder: Path) -> list[dict[str, Any]]:
    """Finished cells of a results.json that can be compared with published ones, for `trade_off_points`; hours are of this machine.

    Args:
        folder: that `tables.write_results` wrote into; without the file the list is empty.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / "results.json"
    if not file.exists():
        return []
    try:
        content = read_json(file)
        points = []
        for cell in content["cells"] if content["comparable"] else ():
            hours = [number(run["hours"]) for run in cell["runs"] if run["state"] == "done" and run["hours"] is not None]
            if cell["AP"] is not None and hours:
                points.append({"name": str(cell["name"]), "AP": number(cell["AP"]), "hours": sum(hours) / len(hours)})
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise UserError(f"{file}: is damaged; delete it and write it again with --collect") from None
    return points


def read_own_points(file: str | Path) -> list[dict[str, Any]]:
    """Points of one's own detectors, a YAML list of {name, AP, hours, fps}, for `trade_off_points`.

    Raises:
        UserError: the file cannot be read, or an entry lacks its name, AP, or both hours and fps.
    """
    try:
        content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise UserError(f"--own {file}: cannot be read ({' '.join(str(error).split())[:120]})") from None
    if not isinstance(content, list):
        raise UserError(f"--own {file}: must be a list such as - {{name: mine, AP: 30.1, hours: 2.0, fps: 100}}")
    for entry in content:
        numbers = isinstance(entry, Mapping) and all(isinstance(entry.get(key, 0), (int, float)) for key in ("AP", "hours", "fps"))
        if not numbers or "name" not in entry or "AP" not in entry or not {"hours", "fps"} & set(entry):
            raise UserError(f"--own {file}: {entry} must have name, AP in percent, and hours or fps")
    return content
