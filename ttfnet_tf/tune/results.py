"""What a study leaves: the table of trials, and the best run as an ordinary configuration."""

from __future__ import annotations

import contextlib
import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.files import remove, remove_left_over, write_text
from ttfnet_tf.json_text import number, read_json
from ttfnet_tf.outputs import written_by
from ttfnet_tf.runs.lock import NAME as LOCK
from ttfnet_tf.runs.run_folder import REPEAT, read_metrics
from ttfnet_tf.tune.record import BEST, TABLE, TRIALS, WRITER
from ttfnet_tf.tune.space import Tuned, overrides_of, shown
from ttfnet_tf.tune.trials import Trial, best_of

TRIAL = "trial.yaml"  # in the run's folder


def run_folder(folder: Path, trial: Trial) -> Path:
    """The run of a trial."""
    return folder / TRIALS / f"{trial.number:03d}"


def best_average_precision(run: Path) -> float | None:
    """The highest AP of a run's evaluations, that of the checkpoint which the other commands read; None where there is none."""
    found = [line["AP"] for line in read_metrics(run) if "AP" in line and line["AP"] >= 0]
    # A run that was killed after its best checkpoint and resumed from an earlier one has lost the line of that evaluation.
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found.append(number(read_json(run / "checkpoints/best.json")["AP"]))
    return max(found, default=None)


def write_results(folder: Path, trials: Sequence[Trial], space: Sequence[Tuned]) -> None:
    """Writes trials.csv and best.yaml, and removes the checkpoints of every trial that has ended and is not the best.

    Raises:
        UserError: the folder cannot be written.
    """
    write_text(folder / TABLE, _csv(trials, space))
    best = best_of(trials)
    if best is not None:
        _write_best(folder, best)
    for trial in trials:
        if trial.state != "running" and trial is not best:
            remove(run_folder(folder, trial) / "checkpoints")


def remove_rubbish(run: Path) -> None:
    """Removes the lock and the half-written files of a process that was killed."""
    remove(run / LOCK)
    for parent, _, _ in os.walk(run):
        remove_left_over(Path(parent), again=True)


def table(trials: Sequence[Trial], space: Sequence[Tuned]) -> list[str]:
    """The lines of a table for a terminal, the best trial marked."""
    best = best_of(trials)
    keys = [one.key for one in space]
    rows = [["trial", "AP", "minutes", "state", *(key.rpartition(".")[2] for key in keys)]]
    for trial in trials:
        values = [shown(trial.values[key]) if key in trial.values else "" for key in keys]
        mark = " *" if trial is best else ""
        rows.append([f"{trial.number:03d}{mark}", _figure(trial), f"{trial.minutes:.1f}", trial.state, *values])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]


def _figure(trial: Trial) -> str:
    return "" if trial.average_precision is None or trial.state == "failed" else f"{trial.average_precision:.3f}"


def _csv(trials: Sequence[Trial], space: Sequence[Tuned]) -> str:
    keys = [one.key for one in space]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "AP", "minutes", *keys, "reason"])
    for trial in trials:
        values = [shown(trial.values[key]) if key in trial.values else "" for key in keys]
        writer.writerow([f"{trial.number:03d}", trial.state, _figure(trial), f"{trial.minutes:.2f}", *values, trial.reason])
    return text.getvalue()


def _write_best(folder: Path, best: Trial) -> None:
    """The settings of the best run without its clock, so that they repeat it step by step."""
    run = run_folder(folder, best)
    file = run / REPEAT if (run / REPEAT).exists() else run / TRIAL
    settings = "".join(line for line in file.read_text(encoding="utf-8").splitlines(keepends=True) if not line.startswith("#"))
    lines = (
        f"The best trial of a study, {written_by(WRITER)}: {best.number:03d} with AP {_figure(best)}.",
        f"Tuned: {' '.join(overrides_of(best.values))}",
        f"The same again: ttfnet train {BEST} --work-dir DIR",
        f"For an hour: ttfnet train {BEST} --work-dir DIR train.minutes=60",
    )
    write_text(folder / BEST, "".join(f"# {line}\n" for line in lines) + settings)
