"""Runs made one after the other.

Training itself is a function that the caller hands in, so that planning and listing need no TensorFlow. A finished run leaves result.json
and is not made again; any other goes on where it stopped, as `ttfnet train` does. `results` makes tables and plots of what lies in the
folders.
"""

from __future__ import annotations

import dataclasses
import gc
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ttfnet_tf.config import Config
from ttfnet_tf.errors import DivergenceError, UserError
from ttfnet_tf.files import write_json
from ttfnet_tf.reproduce.plan import Run
from ttfnet_tf.runs.run_folder import read_metrics

RESULT = "result.json"


def run_all(runs: Sequence[Run], train: Callable[[Config, Path], Any], say: Callable[[str], None] = print) -> bool:
    """Makes the runs that are not done, one after the other.

    A run that diverges is noted as failed, which is its result, and does not keep the others from running.

    Args:
        runs: from `plan`.
        train: `train.run_training`; its result has `finished` and `step`.
        say: called with each line for people.

    Returns:
        False if a signal stopped one; the same call goes on there.

    Raises:
        UserError: a run cannot start or go on.
    """
    for number, run in enumerate(runs, start=1):
        title = f"[{number}/{len(runs)}] {run.cell.name} seed {run.seed}"
        if is_done(run):
            say(f"{title}: done before, {run.folder}")
            continue
        say(f"{title}: {run.folder}")
        try:
            result = train(run.config, run.folder)
        except DivergenceError as error:
            say(f"{title}: failed, {error}")
            _write_result(run, failure=str(error))
            continue
        finally:
            gc.collect()  # the last network, which reference cycles would keep
        if not result.finished:
            say(f"{title}: stopped and saved at step {result.step}; the same command goes on from there")
            return False
        _write_result(run, failure=None)
    return True


def is_done(run: Run) -> bool:
    """Whether the folder holds the end of exactly this run, failed or not."""
    return (content := read_result(run)) is not None and content["config"] == dataclasses.asdict(run.config)


def read_result(run: Run) -> dict[str, Any] | None:
    """result.json of the run's folder: "config" (settings) and "failure" (a line, or None); None where there is none.

    Raises:
        UserError: the file is damaged.
    """
    file = run.folder / RESULT
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return {"config": content["config"], "failure": content["failure"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file}: is damaged; delete it, then the run is looked at again") from None


def _write_result(run: Run, failure: str | None) -> None:
    measured = [line for line in read_metrics(run.folder) if "AP" in line]
    content = {"failure": failure, "AP": measured[-1]["AP"] if measured else None, "config": dataclasses.asdict(run.config)}
    write_json(run.folder / RESULT, content)
