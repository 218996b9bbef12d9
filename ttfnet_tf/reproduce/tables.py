"""Measured beside published: results.md, results.json and results.png of a table."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ttfnet_tf.files import write_json, write_text
from ttfnet_tf.json_text import read_json
from ttfnet_tf.outputs import marked, written_by
from ttfnet_tf.reproduce import plots
from ttfnet_tf.reproduce.cells import FIGURES, Table
from ttfnet_tf.reproduce.results import CellResult, trend

WRITER = "ttfnet reproduce"
RESULTS = ("results.md", "results.json", "results.png")
_TITLE_LENGTH = 110  # characters of the second line over a plot


@dataclass(frozen=True)
class Conditions:
    """Under which conditions the runs were made, compared with the published ones."""

    comparable: bool  # same data set and recipe as published: figures can be compared, not only their order
    data: str | None  # folder of --data
    scale: float | None
    overrides: tuple[str, ...]

    def line(self) -> str:
        """One line for people."""
        parts = [f"data {self.data}"] if self.data else []
        parts += [f"scale {self.scale:g}"] if self.scale is not None else []
        parts += [f"settings {' '.join(self.overrides)}"] if self.overrides else []
        return "; ".join(parts) or "the published recipes"


def write_results(table: Table, results: Sequence[CellResult], about: Conditions, folder: Path, *, plot: bool = True) -> list[Path]:
    """Writes results.md, results.json and results.png into `folder`; returns their paths.

    Raises:
        UserError: they cannot be written, or matplotlib is missing.
    """
    files = [folder / "results.md", folder / "results.json"]
    write_text(files[0], f"{as_markdown(table, results, about)}\n<!-- {written_by(WRITER)} -->\n")
    write_json(files[1], marked(WRITER, _as_json(table, results, about)))
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


def is_result(file: Path) -> bool:
    """Whether a file is a results.json, of this or an earlier version."""
    try:
        content = read_json(file)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"table", "comparable", "cells"} <= set(content)


def as_markdown(table: Table, results: Sequence[CellResult], about: Conditions) -> str:
    """The page of a table: measured beside published figures."""
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
        ranks = _ranks(results)
        columns["rank published"] = [str(ranks.get(result.cell.name, ("", ""))[0]) for result in results]
        columns["rank here"] = [str(ranks.get(result.cell.name, ("", ""))[1]) for result in results]
    columns["state"] = [_state(result.runs) for result in results]

    lines = [f"# {table.name}: {table.title}", "", f"{table.question} Source: {table.source}.", "", f"Runs: {about.line()}."]
    if has_target and not about.comparable:
        lines += ["Published figures are for COCO and the full recipe: here only the order of the cells can be compared with them."]
    lines += ["", _pipes(columns), _pipes(["---"] * len(columns)), *map(_pipes, zip(*columns.values())), ""]
    if (order := trend(results)).pairs:
        lines += [f"Order: {order.same} of {order.pairs} pairs of cells that clearly differ as published have the same order here."]
    if spreads := [result.spread for result in results if result.spread is not None]:
        lines += [f"Seeds of a cell differ by up to {max(spreads):.1f} points."]
    lines += [f"Failed: {r.cell.name} seed {run.seed}: {run.failure}" for r in results for run in r.runs if run.failure]
    return "\n".join(lines).rstrip() + "\n"


def _ranks(results: Sequence[CellResult]) -> dict[str, tuple[int, int]]:
    """Cell -> its rank by published and by measured AP, from 1, among the cells that have both."""
    both = {one.cell.name: (one.cell.published["AP"], one.mean) for one in results if one.mean is not None and one.difference is not None}
    return {
        name: (
            1 + sum(other > published for other, _ in both.values()),
            1 + sum(other > mean for _, other in both.values()),
        )
        for name, (published, mean) in both.items()
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
