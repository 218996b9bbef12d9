"""Checkpoints: saved, restored, and loaded as a model. `training.state` says what one holds."""

from __future__ import annotations

import math
import re
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from ttfnet_tf import build
from ttfnet_tf.config import Config
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import remove, temporary_path, write_json
from ttfnet_tf.json_text import integer, number, read_json
from ttfnet_tf.keras2 import keras
from ttfnet_tf.locations import is_url
from ttfnet_tf.models.parameters import named_parameters
from ttfnet_tf.runs import checkpoint_files
from ttfnet_tf.runs.checkpoint_files import step_of
from ttfnet_tf.runs.checkpoint_writer import OBJECT_GRAPH, CheckpointWriter
from ttfnet_tf.runs.moving_average import MovingAverage
from ttfnet_tf.runs.remote_run import fetched
from ttfnet_tf.runs.run_folder import Labels, read_config, read_labels


class CheckpointStore:
    """The `checkpoints/` folder of a run.

    Every worker of a multi-worker run must call `save`, because it may read variables of all of them; only the chief's files stay.

    Args:
        folder: the `checkpoints/` folder.
        state: everything that a run needs to resume, by name; "model" is the network.
        keep: number of latest checkpoints to keep.
        writes: False for workers other than the chief.
        on_saved: called after each checkpoint.

    Attributes:
        saved_step: of the newest checkpoint, once it was restored or written.
    """

    def __init__(
        self,
        folder: Path,
        state: Mapping[str, tf.Module],
        *,
        keep: int,
        writes: bool = True,
        on_saved: Callable[[], object] = lambda: None,
    ):
        self.folder = folder
        self.writes = writes
        self.saved_step: int | None = None
        self._keep, self._on_saved = keep, on_saved
        self._model = state["model"]
        self._checkpoint = tf.train.Checkpoint(**state)
        strategies = {type(getattr(variable, "distribute_strategy", None)) for variable in self._model.variables}
        self._writer = CheckpointWriter(self._checkpoint, collective=tf.distribute.MultiWorkerMirroredStrategy in strategies)

    def restore_latest(self, say: Callable[[str], object] = print) -> int | None:
        """Loads the newest complete checkpoint; returns its step, or None where there is none.

        Args:
            say: gets a line if one that should be there is missing or incomplete, so that an earlier one was loaded.

        Raises:
            UserError: the file is damaged or belongs to another model, or none is complete any more.
        """
        latest, note = checkpoint_files.current(self.folder)
        if note is not None:
            say(f"note: {note}")
        if latest is not None:
            _restore(self._checkpoint, latest, self._model, self.folder.parent)
            self.saved_step = step_of(latest)
        return self.saved_step

    def remove_rubbish(self) -> None:
        """Removes what a killed process has left behind; call it after `restore_latest`, and only while no other process writes."""
        if self.writes:
            checkpoint_files.remove_rubbish(self.folder, keep=self._keep)
            checkpoint_files.remove_rubbish(self.folder / "best")
            record = self.folder / "best.json"
            if record.exists():
                checkpoint_files.keep_only(self.folder / "best", int(_read_best(record)["step"]))

    def save(self, step: int) -> None:
        """Writes `checkpoints/step-<step>` and deletes the oldest beyond `keep`.

        Raises:
            UserError: the disk is full or the folder cannot be written; earlier checkpoints stay as they are.
        """
        prefix = self.folder / f"step-{step}"
        try:
            if self.writes:
                with checkpoint_files.new_checkpoint(self.folder, step) as aside:
                    self._writer.write(aside)
                checkpoint_files.make_current(self.folder, step, keep=self._keep)
            else:
                self._write_and_delete()
        except (tf.errors.OpError, OSError) as error:
            raise _cannot_save(prefix, error) from None
        self.saved_step = step
        self._on_saved()

    def save_if_best(self, model: keras.Model, step: int, average_precision: float) -> bool:
        """Keeps `model` as `checkpoints/best/` if no earlier evaluation had a higher AP; the earliest of equals stays.

        Raises:
            UserError: it cannot be written, or best.json is damaged.
        """
        if not self.writes:
            return False
        record = self.folder / "best.json"
        best = _read_best(record) if record.exists() else {"step": -1, "AP": float("-inf")}
        if average_precision <= best["AP"] and step != best["step"]:
            return False
        prefix = self.folder / "best" / f"step-{step}"
        if step == best["step"]:  # of a run that was killed after it; until the new one is complete, the latest checkpoint stands in
            record.unlink()
        try:
            with checkpoint_files.new_checkpoint(prefix.parent, step) as aside:
                tf.train.Checkpoint(model=model).write(aside)
        except (tf.errors.OpError, OSError) as error:
            raise _cannot_save(prefix, error) from None
        write_json(record, {"step": step, "AP": average_precision})
        checkpoint_files.keep_only(prefix.parent, step)
        return True

    def _write_and_delete(self) -> None:
        """The part of a worker that is not the chief in writing a checkpoint."""
        aside = temporary_path(self.folder / f"worker-{_worker_index()}")
        aside.mkdir(parents=True, exist_ok=True)
        try:
            self._checkpoint.write(str(aside / "step"))
        finally:
            remove(aside)


@dataclass(frozen=True)
class LoadedRun:
    """A trained model, in float32, with what is needed to use it."""

    config: Config
    labels: Labels
    model: keras.Model
    step: int
    folder: Path  # the work directory


def load_run(path: str | Path, *, image_size: tuple[int, int] | None = None) -> LoadedRun:
    """The model of a work directory, in float32, with averaged weights where the run keeps them.

    Args:
        path: a work directory (its best checkpoint by AP, else its latest), or one checkpoint in it such as
            `runs/x/checkpoints/step-370`.
        image_size: (H, W) in pixels of the network's input, multiples of 32; by default that of the run.

    Raises:
        UserError: there is no run or no checkpoint, or one that does not fit the settings beside it; `image_size` is not possible.
    """
    folder, prefix = locate(fetched(str(path)) if is_url(path) else Path(path))
    overrides = [] if image_size is None else [f"data.image_size={np.asarray(image_size).tolist()}"]
    config, labels = read_config(folder, overrides), read_labels(folder)
    model = build.model_of(config, len(labels.class_names))
    is_best = prefix.parent.name == "best"
    objects = {"model": model}
    if config.optim.ema_decay and not is_best:
        objects["average"] = MovingAverage(named_parameters(model, trainable_only=True), config.optim.ema_decay)
    _restore(tf.train.Checkpoint(**objects), prefix, model, folder)
    if "average" in objects:
        objects["average"].copy_to(named_parameters(model, trainable_only=True))
    return LoadedRun(config, labels, model, step_of(prefix), folder)


def write_weights(model: keras.Model, prefix: Path) -> None:
    """Writes the weights of a network only, as files that begin with `prefix`, into a folder that is not yet in use.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    try:
        tf.train.Checkpoint(model=model).write(str(prefix))
    except (tf.errors.OpError, OSError) as error:
        raise _cannot_save(prefix, error) from None


def read_weights(model: keras.Model, prefix: Path, folder: Path) -> None:
    """Reads what `write_weights` wrote; `folder` has the settings that the network was built from.

    Raises:
        UserError: the files are missing or damaged, or belong to another network.
    """
    _restore(tf.train.Checkpoint(model=model), prefix, model, folder)


def locate(path: Path) -> tuple[Path, Path]:
    """(work directory, checkpoint prefix) of a run or of one checkpoint in it.

    Raises:
        UserError: there is no checkpoint.
    """
    if path.is_dir():
        record = path / "checkpoints" / "best.json"
        if record.exists():
            return path, path / "checkpoints" / "best" / f"step-{_read_best(record)['step']}"
        latest, note = checkpoint_files.current(path / "checkpoints")
        if note is not None:
            print(f"note: {note}", file=sys.stderr)
        if latest is None:
            raise UserError(f"{path}: holds no checkpoint; name a work directory that training has written")
        return path, latest
    prefix = path.with_suffix("") if path.suffix == ".index" else path
    if not prefix.with_name(prefix.name + ".index").exists():
        raise UserError(f"{path}: is neither a work directory nor a checkpoint such as runs/x/checkpoints/step-370")
    folder = prefix.parent.parent if prefix.parent.name != "best" else prefix.parent.parent.parent
    return folder, prefix


def _read_best(record: Path) -> dict[str, float]:
    try:
        content = read_json(record)
        best = {"step": integer(content["step"]), "AP": number(content["AP"])}
        if best["step"] < 0 or not -1 <= best["AP"] <= 1:
            raise ValueError
        return best
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{record}: is damaged; delete it to use the latest checkpoint instead") from None


def _restore(checkpoint: tf.train.Checkpoint, prefix: Path, model: keras.Model, folder: Path) -> None:
    """Loads a checkpoint that holds exactly the weights of `model`, and everything else that `checkpoint` has.

    TensorFlow itself matches layers by their number, and would silently load the rest into a model without the offset convolutions.
    """
    try:
        stored = _stored_weights(prefix)
        expected = Counter((_lasting_name(variable.name), tuple(variable.shape)) for variable in model.variables)
        if stored != expected:
            name = min(name for name, _ in (stored - expected) + (expected - stored))
            raise UserError(
                f"{prefix}: does not fit config.yaml and labels.json of {folder}: {name} is {_shapes(stored, name)} in the checkpoint and "
                f"{_shapes(expected, name)} in the model; restore the settings that it was trained with"
            )
        checkpoint.read(str(prefix)).assert_existing_objects_matched().expect_partial()
    except UserError:
        raise
    except Exception as error:  # TensorFlow, protobuf and Python raise a dozen classes for files that are cut short or changed
        raise UserError(f"{prefix}: is damaged ({_reason(error)}); delete its files and use an earlier checkpoint") from None


def _stored_weights(prefix: Path) -> Counter[tuple[str, tuple[int, ...]]]:
    """Lasting name and shape of every variable of the model in a checkpoint."""
    reader = tf.train.load_checkpoint(str(prefix))
    shapes = reader.get_variable_to_shape_map()
    data_size = sum(file.stat().st_size for file in prefix.parent.glob(f"{prefix.name}.data-*"))
    if sum(math.prod(shape) for shape in shapes.values()) > data_size:  # before TensorFlow takes memory for them
        raise ValueError("its data are shorter than its shapes say")
    nodes = TrackableObjectGraph.FromString(reader.get_tensor(OBJECT_GRAPH)).nodes
    found: Counter[tuple[str, tuple[int, ...]]] = Counter()
    seen: set[int] = set()
    waiting = [child.node_id for child in nodes[0].children if child.local_name == "model"]
    while waiting:
        number = waiting.pop()
        if number not in seen:
            seen.add(number)
            waiting += [child.node_id for child in nodes[number].children]
            found.update((_lasting_name(a.full_name), tuple(shapes[a.checkpoint_key])) for a in nodes[number].attributes)
    return found


def _lasting_name(name: str) -> str:
    """A variable's name without the numbers that Keras counts up in a process: keras-cv's "conv_block29_bn/beta" is "conv_block_bn/beta".

    Names of our own layers are module paths, such as "backbone.layer1.0.bn1/beta", and stay.
    """
    name = name.partition(":")[0]
    return name if "." in name.partition("/")[0] else re.sub(r"_?\d+", "", name)


def _shapes(weights: Counter[tuple[str, tuple[int, ...]]], name: str) -> str:
    return " and ".join(str(list(shape)) for found, shape in sorted(weights) if found == name) or "missing"


def _cannot_save(prefix: Path, error: Exception) -> UserError:
    return UserError(
        f"{prefix}: cannot be written ({_reason(error)}); earlier checkpoints are whole: free some space, then start the same command again"
    )


def _reason(error: Exception) -> str:
    """TensorFlow's message without the names of operations and temporary files."""
    line = (getattr(error, "message", None) or str(error)).strip().splitlines()[0]
    return re.sub(r"{{.*?}} *| *\[Op:\w+\]", "", line).rpartition("; ")[2]


def _worker_index() -> int:
    return tf.distribute.cluster_resolver.TFConfigClusterResolver().task_id or 0
