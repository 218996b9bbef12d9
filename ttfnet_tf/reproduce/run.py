"""Makes the planned runs one after the other.

The caller passes the training function, so that planning and listing need no TensorFlow. A finished run leaves result.json and is not
made again; an unfinished one is resumed, as `ttfnet train` does.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ttfnet_tf.config import Config, config_of
from ttfnet_tf.errors import DivergenceError, UserError
from ttfnet_tf.files import write_json
from ttfnet_tf.json_text import read_json
from ttfnet_tf.reproduce.plan import Run
from ttfnet_tf.runs.run_folder import read_metrics

RESULT = "result.json"


def run_all(runs: Sequence[Run], train: Callable[[Config, Path], Any], say: Callable[[str], None] = print) -> bool:
    """Makes the runs that are not done, one after the other.

    A run that diverges is recorded as failed, and the others still run.

    Args:
        runs: from `plan`.
        train: `training.run.run_training`; its result has `finished` and `step`.
        say: called with each line of progress.

    Returns:
        False if a signal stopped a run; the same call resumes it.

    Raises:
        UserError: a run cannot start or resume.
    """
    for number, run in enumerate(runs, start=1):
        title = f"[{number}/{len(runs)}] {run.cell.name} seed {run.seed}"
        if is_done(run):
            say(f"{title}: already done, {run.folder}")
            continue
        say(f"{title}: {run.folder}")
        try:
            result = train(run.config, run.folder)
        except DivergenceError as error:
            say(f"{title}: failed, {error}")
            _write_result(run, failure=str(error))
            continue
        if not result.finished:
            say(f"{title}: stopped and saved at step {result.step}; the same command resumes it")
            return False
        _write_result(run, failure=None)
    return True


def is_done(run: Run) -> bool:
    """Whether the folder holds the result of exactly this run, failed or not."""
    content = read_result(run)
    return content is not None and config_of(content["config"], source=str(run.folder / RESULT)) == run.config


def read_result(run: Run) -> dict[str, Any] | None:
    """result.json of the run's folder: "config" (settings) and "failure" (a line, or None); None where there is none.

    Raises:
        UserError: the file is damaged.
    """
    file = run.folder / RESULT
    if not file.exists():
        return None
    try:
        content = read_json(file)
        if not isinstance(content["config"], dict) or not isinstance(content["failure"], (str, type(None))):
            raise ValueError
        return {"config": content["config"], "failure": content["failure"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file}: is damaged; delete it, and the run is checked again") from None


def _write_result(run: Run, failure: str | None) -> None:
    measured = [line for line in read_metrics(run.folder) if "AP" in line]
    content = {"failure": failure, "AP": measured[-1]["AP"] if measured else None, "config": dataclasses.asdict(run.config)}
    write_json(run.folder / RESULT, content)
