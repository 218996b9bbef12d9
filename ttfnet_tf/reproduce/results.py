"""What the runs of a table reached: AP, curves and hours, read from their folders."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ttfnet_tf.reproduce.cells import Cell
from ttfnet_tf.reproduce.plan import Run
from ttfnet_tf.reproduce.run import is_done, read_result
from ttfnet_tf.runs.run_folder import read_metrics

_PARTS = ("AP", "AP50", "AP75", "APs", "APm", "APl")
_CLEAR = 0.4  # points of AP: published figures that differ by less have no clear order, where a table names no tolerance


@dataclass(frozen=True)
class RunResult:
    """One run, as far as it got."""

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
        """Final AP of every finished run, in percent."""
        return tuple(run.figures["AP"] for run in self.runs if run.state == "done" and run.figures)

    @property
    def mean(self) -> float | None:
        """Mean of `finals`; None if there are none."""
        return sum(self.finals) / len(self.finals) if self.finals else None

    @property
    def spread(self) -> float | None:
        """Largest minus smallest of `finals`; None for fewer than two."""
        return max(self.finals) - min(self.finals) if len(self.finals) > 1 else None

    @property
    def difference(self) -> float | None:
        """Measured minus published AP in points."""
        published = self.cell.published.get("AP")
        return None if published is None or self.mean is None else self.mean - published


@dataclass(frozen=True)
class Trend:
    """How far the cells are in the published order of AP."""

    same: int  # pairs in the published order
    pairs: int  # pairs that were measured and whose published AP differ by more than the tolerance


def collect(runs: Sequence[Run]) -> tuple[CellResult, ...]:
    """Reads the results of runs, finished or not, from their folders.

    Raises:
        UserError: a file in a folder is damaged.
    """
    grouped = itertools.groupby(runs, key=lambda run: run.cell.name)
    return tuple(CellResult(members[0].cell, tuple(map(_read, members))) for _, group in grouped if (members := list(group)))


def trend(results: Sequence[CellResult]) -> Trend:
    """Counts the pairs of cells with a clear published order, and how many of them have the same order here."""
    measured = [(one, one.cell.published["AP"], one.mean) for one in results if one.mean is not None and one.difference is not None]
    same = pairs = 0
    for (first, first_published, first_mean), (second, second_published, second_mean) in itertools.combinations(measured, 2):
        gap = second_published - first_published
        if abs(gap) > max(_tolerance(first), _tolerance(second)):
            pairs += 1
            same += (second_mean - first_mean) * gap > 0
    return Trend(same, pairs)


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
    """Hours of training from the steps and the speed of each line; None if no speed was logged."""
    seconds, before = 0.0, 0
    for line in lines:
        if speed := line.get("images_per_second"):
            seconds += (line["step"] - before) * batch_size / speed
            before = line["step"]
    return seconds / 3600.0 if before else None


def _tolerance(result: CellResult) -> float:
    return _CLEAR if result.cell.tolerance is None else result.cell.tolerance
