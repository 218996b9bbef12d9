"""Checkpoints: what a run needs to go on exactly, and the model that evaluation found best."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import Config
from ttfnet_tf.errors import UserError
from ttfnet_tf.optim import MovingAverage
from ttfnet_tf.parameters import named_parameters
from ttfnet_tf.run_folder import Labels, read_config, read_labels, write_text


class CheckpointStore:
    """The `checkpoints/` folder of a run.

    Every worker of a multi-worker run must call `save`, for it may read variables of all of them; only the chief's files stay.

    Args:
        folder: the `checkpoints/` folder.
        state: everything that a run needs to go on, by name.
        keep: number of latest checkpoints to keep.
        writes: False for workers other than the chief.
    """

    def __init__(self, folder: Path, state: Mapping[str, tf.Module], *, keep: int, writes: bool = True):
        self.folder = folder
        self.writes = writes
        self._checkpoint = tf.train.Checkpoint(**state)
        where = folder if writes else folder / f"worker-{_worker_index()}"
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(where), max_to_keep=keep, checkpoint_name="step")

    def restore_latest(self) -> int | None:
        """Loads the newest checkpoint; returns its step, or None where there is none.

        Raises:
            UserError: the file is damaged or belongs to another model.
        """
        latest = tf.train.latest_checkpoint(str(self.folder))
        if latest is None:
            return None
        try:
            self._checkpoint.read(latest).assert_existing_objects_matched()
        except (tf.errors.OpError, ValueError, AssertionError) as error:
            raise UserError(_cannot_restore(latest, error)) from None
        return _step_of(latest)

    def save(self, step: int) -> None:
        """Writes `checkpoints/step-<step>` and drops the oldest beyond `keep`.

        Raises:
            UserError: the disk is full or the folder cannot be written; earlier checkpoints stay as they are.
        """
        try:
            self._manager.save(checkpoint_number=step)
        except (tf.errors.OpError, OSError) as error:
            reason = getattr(error, "message", None) or str(error)
            raise UserError(f"{self.folder}: checkpoint of step {step} could not be written: {reason.splitlines()[0]}") from None
        if not self.writes:
            shutil.rmtree(self._manager.directory, ignore_errors=True)

    def save_if_best(self, model: tf.keras.Model, step: int, average_precision: float) -> bool:
        """Keeps `model` as `checkpoints/best/` if no earlier evaluation had a higher AP; the earliest of equals stays."""
        if not self.writes:
            return False
        record = self.folder / "best.json"
        best = json.loads(record.read_text()) if record.exists() else {"step": -1, "AP": float("-inf")}
        if average_precision <= best["AP"] and step != best["step"]:
            return False
        tf.train.Checkpoint(model=model).write(str(self.folder / "best" / f"step-{step}"))
        write_text(record, json.dumps({"step": step, "AP": average_precision}))
        for file in (self.folder / "best").glob("step-*"):
            if not file.name.startswith(f"step-{step}."):
                file.unlink()
        return True


@dataclass(frozen=True)
class LoadedRun:
    """A trained model with what is needed to use it."""

    config: Config
    labels: Labels
    model: tf.keras.Model
    step: int
    folder: Path  # the work directory


def load_run(path: str | Path) -> LoadedRun:
    """The model of a work directory, with averaged weights where the run keeps them.

    Args:
        path: a work directory (its best checkpoint by AP, else its latest), or one checkpoint in it such as
            `runs/x/checkpoints/step-370`.

    Raises:
        UserError: no run or no checkpoint there, or one that does not fit the settings beside it.
    """
    folder, prefix = _locate(Path(path))
    config, labels = read_config(folder), read_labels(folder)
    model = build.model_of(config, len(labels.class_names))
    is_best = prefix.parent.name == "best"
    objects = {"model": model}
    if config.optim.ema_decay and not is_best:
        objects["average"] = MovingAverage(named_parameters(model, trainable_only=True), config.optim.ema_decay)
    try:
        tf.train.Checkpoint(**objects).read(str(prefix)).assert_existing_objects_matched().expect_partial()
    except (tf.errors.OpError, ValueError, AssertionError) as error:
        raise UserError(_cannot_restore(prefix, error)) from None
    if "average" in objects:
        copy_average(objects["average"], named_parameters(model, trainable_only=True))
    return LoadedRun(config, labels, model, _step_of(prefix), folder)


def copy_average(average: MovingAverage, parameters: Mapping[str, tf.Variable]) -> None:
    """Writes the averaged values into `parameters`, which must be in the order the average was made with."""
    for value, parameter in zip(average.averages.values(), parameters.values()):
        parameter.assign(value)


def _locate(path: Path) -> tuple[Path, Path]:
    """(work directory, checkpoint prefix)."""
    if path.is_dir():
        record = path / "checkpoints" / "best.json"
        if record.exists():
            return path, path / "checkpoints" / "best" / f"step-{json.loads(record.read_text())['step']}"
        latest = tf.train.latest_checkpoint(str(path / "checkpoints"))
        if latest is None:
            raise UserError(f"{path}: holds no checkpoint; name a work directory that training has written")
        return path, Path(latest)
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    if not prefix.with_name(prefix.name + ".index").exists():
        raise UserError(f"{path}: is neither a work directory nor a checkpoint such as runs/x/checkpoints/step-370")
    folder = prefix.parent.parent if prefix.parent.name != "best" else prefix.parent.parent.parent
    return folder, prefix


def _step_of(prefix: str | Path) -> int:
    return int(Path(prefix).name.rpartition("-")[2])


def _cannot_restore(prefix: str | Path, error: Exception) -> str:
    reason = str(getattr(error, "message", None) or error).strip().splitlines()[0]
    return f"{prefix}: does not fit the model of its config.yaml, or is damaged ({reason})"


def _worker_index() -> int:
    return tf.distribute.cluster_resolver.TFConfigClusterResolver().task_id or 0
