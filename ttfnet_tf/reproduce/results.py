"""What the runs of a table came to, beside what was published: tables in Markdown, JSON, and a plot."""

from __future__ import annotations

import itertools
import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_json, write_text
from ttfnet_tf.reproduce import plots
from ttfnet_tf.reproduce.cells import FIGURES, Cell, Published, Table
from ttfnet_tf.reproduce.plan import Run
from ttfnet_tf.reproduce.run import is_done, read_result
from ttfnet_tf.runs.run_folder import read_metrics

_PARTS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_CLEAR = 0.4  # points of AP by which published figures must differ for their order to be looked for, where a table names no tolerance
_TITLE_LENGTH = 110  # characters of the second line over a plot


@dataclass(frozen=True)
class RunResult:
    """What lies in a run's folder."""

    seed: int
    state: str  # "done", "failed", "unfinished" or "missing"
    failure: str | None
    figures: Mapping[str, float]  # of the last evaluation in percent: AP, AP50, ...; empty if there was none
    curve: tuple[tuple[float, float], ...]  # (epoch, AP in percent) of each evaluation
    hours: float | None  # of training without evaluation, by the logged speed


@dataclass(frozen=True)
class CellResult:
    """The runs of one cell."""

    cell: Cell
    runs: tuple[RunResult, ...]

    @property
    def finals(self) -> tuple[float, ...]:
        """AP at the end of every run that came to its end, in percent."""
        return tuple(run.figures["AP"] for run in self.runs if run.state == "done" and run.figures)

    @property
    def mean(self) -> float | None:
        """Mean of `finals`."""
        return sum(self.finals) / len(self.finals) if self.finals else None

    @property
    def spread(self) -> float | None:
        """Largest less smallest of `finals`; None below two."""
        return max(self.finals) - min(self.finals) if len(self.finals) > 1 else None

    @property
    def difference(self) -> float | None:
        """Measured less published AP in points."""
        published = self.cell.published.get("AP")
        return None if published is None or self.mean is None else self.mean - published


@dataclass(frozen=True)
class Trend:
    """Whether cells stand in the published order."""

    same: int  # pairs in the published order
    pairs: int  # pairs that were measured and whose published AP differ by more than the tolerance


@dataclass(frozen=True)
class Circumstances:
    """How the runs differ from the published ones."""

    comparable: bool  # the published set and recipe, so that figures and not only their order can be held together
    data: str | None  # folder of --data
    scale: float | None
    overrides: tuple[str, ...]

    def line(self) -> str:
        """For people."""
        parts = [f"data {self.data}"] if self.data else []
        parts += [f"scale {self.scale:g}"] if self.scale is not None else []
        parts += [f"settings {' '.join(self.overrides)}"] if self.overrides else []
        return "; ".join(parts) or "the published recipes"


def collect(runs: Sequence[Run]) -> tuple[CellResult, ...]:
    """Reads the folders of runs, finished or not.

    Raises:
        UserError: a file in them is damaged.
    """
    grouped = itertools.groupby(runs, key=lambda run: run.cell.name)
    return tuple(CellResult(members[0].cell, tuple(map(_read, members))) for _, group in grouped if (members := list(group)))


def trend(results: Sequence[CellResult]) -> Trend:
    """Counts the pairs of cells whose order was published clearly enough, and those of them that are in it here."""
    measured = [result for result in results if result.difference is not None]
    same = pairs = 0
    for first, second in itertools.combinations(measured, 2):
        gap = second.cell.published["AP"] - first.cell.published["AP"]
        if abs(gap) > max(_tolerance(first), _tolerance(second)):
            pairs += 1
            same += (second.mean - first.mean) * gap > 0
    return Trend(same, pairs)


def markdown(table: Table, results: Sequence[CellResult], about: Circumstances) -> str:
    """The page about a table: measured beside published."""
    figures = [figure for figure in FIGURES if figure != "AP" and any(figure in result.cell.published for result in results)]
    has_target = any("AP" in result.cell.published for result in results)
    columns = {"cell": [result.cell.name for result in results]}
    for figure in figures:
        columns[f"{figure} published"] = [_number(r.cell.published.get(figure), 2 if figure == "ratio" else 1) for r in results]
    if has_target:
        columns["AP published"] = [_number(result.cell.published.get("AP")) for result in results]
    columns["AP measured"] = [_number(result.mean) for result in results]
    if any(len(result.runs) > 1 for result in results):
        columns["spread"] = [_number(result.spread) for result in results]
    if has_target and about.comparable:
        columns["difference"] = [_number(result.difference, sign=True) for result in results]
        columns["tolerance"] = [_number(result.cell.tolerance) for result in results]
        columns["within"] = [_within(result) for result in results]
    elif has_target:
        places = _places(results)
        columns["place published"] = [str(places.get(result.cell.name, ("", ""))[0]) for result in results]
        columns["place here"] = [str(places.get(result.cell.name, ("", ""))[1]) for result in results]
    columns["state"] = [_state(result.runs) for result in results]

    lines = [f"# {table.name}: {table.title}", "", f"{table.question} Source: {table.source}.", "", f"Runs: {about.line()}."]
    if has_target and not about.comparable:
        lines += ["Published figures are of COCO and the whole recipe: only the order of cells can be held against them."]
    lines += ["", _pipes(columns), _pipes(["---"] * len(columns)), *map(_pipes, zip(*columns.values())), ""]
    if (order := trend(results)).pairs:
        lines += [f"Order: {order.same} of {order.pairs} pairs of cells that differ clearly where published are in the same order here."]
    if spreads := [result.spread for result in results if result.spread is not None]:
        lines += [f"Seeds of a cell differ by up to {max(spreads):.1f} points."]
    lines += [f"Failed: {r.cell.name} seed {run.seed}: {run.failure}" for r in results for run in r.runs if run.failure]
    return "\n".join(lines).rstrip() + "\n"


def write(table: Table, results: Sequence[CellResult], about: Circumstances, folder: Path, *, plot: bool = True) -> list[Path]:
    """Writes results.md, results.json and results.png into `folder`; returns their paths.

    Raises:
        UserError: they cannot be written, or matplotlib is missing.
    """
    files = [folder / "results.md", folder / "results.json"]
    write_text(files[0], markdown(table, results, about))
    write_json(files[1], _as_json(table, results, about))
    if plot:
        files.append(folder / "results.png")
        shown = [result for result in results if any(run.curve for run in result.runs)]
        plots.cells(
            files[-1],
            f"{table.name}: {table.title}\n{textwrap.shorten(about.line(), _TITLE_LENGTH, placeholder=' ...')}",
            {result.cell.name: [run.curve for run in result.runs] for result in shown},
            {result.cell.name: result.finals for result in shown},
            {result.cell.name: result.cell.published["AP"] for result in shown if "AP" in result.cell.published},
        )
    return files


def trade_off_points(published: Published, own: Sequence[Mapping[str, Any]] = ()) -> list[tuple[str, str, dict[str, float]]]:
    """(family, name, figures) of every published detector with hours or FPS, and of our own.

    Args:
        published: from `cells.read_published`.
        own: mappings with "name" and figures AP, hours, fps.
    """
    points = [(detector.family, detector.name, dict(detector.published)) for detector in published.detectors]
    for name in ("table6", "repository"):
        points += [("TTFNet", cell.name, dict(cell.published)) for cell in published.tables[name].cells]
    points += [("ours", str(entry["name"]), {key: float(entry[key]) for key in ("AP", "hours", "fps") if key in entry}) for entry in own]
    return [(family, name, figures) for family, name, figures in points if "AP" in figures and {"hours", "fps"} & set(figures)]


def own_points(folder: Path) -> list[dict[str, Any]]:
    """Cells of a results.json whose runs are comparable and done, as `trade_off_points` takes them; hours are those of this machine.

    Args:
        folder: that `write` wrote into; empty where there is no such file.

    Raises:
        UserError: the file is damaged.
    """
    file = folder / "results.json"
    if not file.exists():
        return []
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        points = []
        for cell in content["cells"] if content["comparable"] else ():
            hours = [run["hours"] for run in cell["runs"] if run["state"] == "done" and run["hours"] is not None]
            if cell["AP"] is not None and hours:
                points.append({"name": cell["name"], "AP": float(cell["AP"]), "hours": sum(hours) / len(hours)})
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file}: is damaged; delete it, and write it again with --collect") from None
    return points


def _read(run: Run) -> RunResult:
    lines = read_metrics(run.folder)
    measured = [line for line in lines if "AP" in line]
    content = read_result(run)
    state = "unfinished" if lines else "missing"
    failure = None
    if content is not None and is_done(run):
        failure = content["failure"]
        state = "failed" if failure else "done"
    figures = {key: 100.0 * measured[-1][key] for key in _PARTS if key in measured[-1]} if measured else {}
    curve = tuple((float(line["epoch"]), 100.0 * line["AP"]) for line in measured)
    return RunResult(run.seed, state, failure, figures, curve, _hours(lines, run.config.train.batch_size))


def _hours(lines: Sequence[Mapping[str, Any]], batch_size: int) -> float | None:
    """From the steps and the speed of each line."""
    seconds, before = 0.0, 0
    for line in lines:
        if speed := line.get("images_per_second"):
            seconds += (line["step"] - before) * batch_size / speed
            before = line["step"]
    return seconds / 3600.0 if before else None


def _tolerance(result: CellResult) -> float:
    return _CLEAR if result.cell.tolerance is None else result.cell.tolerance


def _places(results: Sequence[CellResult]) -> dict[str, tuple[int, int]]:
    """Cell -> its place by published and by measured AP, from 1, among the cells that have both."""
    both = [result for result in results if result.difference is not None]
    return {
        result.cell.name: (
            1 + sum(other.cell.published["AP"] > result.cell.published["AP"] for other in both),
            1 + sum(other.mean > result.mean for other in both),
        )
        for result in both
    }


def _within(result):
    if result.difference is None or result.cell.tolerance is None:
        return ""
    return "yes" if abs(result.difference) <= result.cell.tolerance + 1e-9 else "no"


def _state(runs):
    counts = {state: sum(run.state == state for run in runs) for state in ("done", "failed", "unfinished", "missing")}
    found = [(state, count) for state, count in counts.items() if count]
    if len(found) == 1:
        return found[0][0]
    return ", ".join(f"{count} {state}" for state, count in found)


def _number(value, digits=1, *, sign=False):
    return "" if value is None else f"{value:{'+' if sign else ''}.{digits}f}"


def _pipes(row):
    return f"| {' | '.join(row)} |"


def _as_json(table, results, about):
    order = trend(results)
    return {
        "table": table.name,
        "title": table.title,
        "source": table.source,
        "comparable": about.comparable,
        "data": about.data,
        "scale": about.scale,
        "overrides": list(about.overrides),
        "order": {"same": order.same, "pairs": order.pairs},
        "cells": [
            {
                "name": result.cell.name,
                "settings": list(result.cell.settings),
                "published": dict(result.cell.published),
                "tolerance": result.cell.tolerance,
                "AP": result.mean,
                "spread": result.spread,
                "difference": result.difference if about.comparable else None,
                "runs": [
                    {
                        "seed": run.seed,
                        "state": run.state,
                        "failure": run.failure,
                        "figures": dict(run.figures),
                        "curve": [list(point) for point in run.curve],
                        "hours": run.hours,
                    }
                    for run in result.runs
                ],
            }
            for result in results
        ],
    }
