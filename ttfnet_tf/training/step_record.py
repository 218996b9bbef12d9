"""The record of a bad step: a folder that holds everything needed to compute the step again.

batch.npz           the global batch, as the pipeline gave it
weights.*           the network before the step, as a checkpoint of TensorFlow
config.yaml         settings
labels.json         classes
report.json         what training saw, and what `inspect_step` found; numbers that are not finite are strings there
"""

from __future__ import annotations

import dataclasses
import shlex
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import new_folder, remove, write_json, write_text
from ttfnet_tf.json_text import integer, number, read_json, with_text
from ttfnet_tf.keras2 import keras
from ttfnet_tf.runs.checkpoint import write_weights
from ttfnet_tf.runs.run_folder import Labels
from ttfnet_tf.training.divergence import BadStep
from ttfnet_tf.training.step_inspection import suspects
from ttfnet_tf.weights.npz import read_npz

REPORT = "report.json"
MOST_RECORDS = 5  # of a run; later bad steps have a message only
_RECENT = 20  # good steps before the bad one in a record
_NAMED = 8  # image ids in a message
_LARGEST_BATCH = 2**34  # bytes of a batch with its target maps


@dataclass
class StepRecorder:
    """Writes the records of a run's bad steps.

    Attributes:
        folder: of the records, `RUN/divergence`.
        writes: whether this process writes; False for workers other than the chief.
        config_yaml: settings of the run.
        labels: of the run.
        files: image id -> path of the image file.
        replicas: that share a batch.
        read_batch: number of a batch of the data -> its arrays.
        copy_model: weights from the first argument into the second, or into a new network where that is None; returns it.
        inspect: (network, batch, loss scale) -> result of `inspect_step`.
    """

    folder: Path
    writes: bool
    config_yaml: str
    labels: Labels
    files: Mapping[int, Path]
    replicas: int
    read_batch: Callable[[int], Mapping[str, np.ndarray]]
    copy_model: Callable[[keras.Model, keras.Model | None], keras.Model]
    inspect: Callable[[keras.Model, Mapping[str, np.ndarray], float], dict[str, Any]]
    _recent: deque = field(default_factory=lambda: deque(maxlen=_RECENT))

    def add_good_steps(self, first_step: int, rates: Sequence[float], history: Mapping[str, np.ndarray]) -> None:
        """Remembers good steps in case the next one is bad; `history` has one entry for each of `rates`."""
        for row, lr in enumerate(rates):
            self._recent.append((first_step + row, lr, history, row))

    def record(self, bad: BadStep, batch_number: int, model: keras.Model) -> tuple[str, str]:
        """Writes the record of a bad step if this process writes and there is room.

        Args:
            bad: the step.
            batch_number: of its batch in the data.
            model: the network, unchanged by the step.

        Returns:
            For the message: what is known about the images of the batch, and how to look at the step again.
        """
        batch = self.read_batch(batch_number)
        image_ids = [int(image_id) for image_id in batch["image_id"]]
        folder = self.folder / f"step-{bad.step + 1}"
        if not self.writes:
            return _listed(image_ids), f"its record is written by the chief: {folder}"
        copy = self.copy_model(model, None)
        inspection = self.inspect(copy, batch, bad.loss_scale)
        images = self._images(image_ids, suspects(inspection))
        if len([old for old in self.folder.glob("step-*") if old != folder]) >= MOST_RECORDS:
            return images, f"not recorded, because {self.folder} holds {MOST_RECORDS} steps"
        try:
            # The inspection has moved the running statistics of the copy.
            self._write(folder, self.copy_model(model, copy), batch, self._report(bad, image_ids, inspection))
        except UserError as error:
            return images, f"its record could not be written ({error})"
        return images, f"replay it: ttfnet replay {shlex.quote(str(folder))}"

    def _images(self, image_ids: Sequence[int], bad_ids: Sequence[int]) -> str:
        if not bad_ids:
            return _listed(image_ids)
        file = f" ({self.files[bad_ids[0]]})" if len(bad_ids) == 1 and bad_ids[0] in self.files else ""
        verb = "has" if len(bad_ids) == 1 else "have"
        return f"and of its {len(image_ids)} images {_listed(bad_ids)} {verb} a loss that is not finite{file}"

    def _report(self, bad: BadStep, image_ids: Sequence[int], inspection: Mapping[str, Any]) -> dict[str, Any]:
        recent = [
            {"step": step + 1, "lr": lr, **{name: float(history[name][row]) for name in ("loss", "gradient_norm")}}
            for step, lr, history, row in self._recent
        ]
        return {
            "step": bad.step + 1,
            "reason": bad.reason,
            "lr": bad.lr,
            "replicas": self.replicas,
            "loss_scale": bad.loss_scale,
            "running_mean": bad.mean_loss,
            "image_ids": list(image_ids),
            "files": {str(image_id): str(self.files[image_id]) for image_id in image_ids if image_id in self.files},
            "in_training": dict(bad.metrics or {}),
            "recent": recent,
            "found": inspection,
        }

    def _write(self, folder: Path, model: keras.Model, batch: Mapping[str, np.ndarray], report: Mapping[str, Any]) -> None:
        """Replaces an earlier record in the same folder."""
        with new_folder(folder) as aside:
            np.savez_compressed(aside / "batch.npz", **batch)
            write_weights(model, aside / "weights")
            write_text(aside / "config.yaml", self.config_yaml)
            write_json(aside / "labels.json", dataclasses.asdict(self.labels))
            write_json(aside / REPORT, with_text(report))
            remove(folder)


def read_report(folder: str | Path) -> dict[str, Any]:
    """report.json of a record.

    Raises:
        UserError: it is missing or damaged.
    """
    file = Path(folder) / REPORT
    try:
        report = _numbers(read_json(file))
        integer(report["replicas"]), number(report["loss_scale"]), report["found"]["layers"]
        return report
    except FileNotFoundError:
        raise UserError(f"{folder}: holds no {REPORT}; name a folder such as RUN/divergence/step-12 that training has written") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file}: is damaged; the step cannot be replayed from it") from None


def read_batch(folder: str | Path) -> dict[str, np.ndarray]:
    """batch.npz of a record.

    Raises:
        UserError: it is missing or damaged.
    """
    path = Path(folder) / "batch.npz"
    try:
        return read_npz(path, largest_compressed=_LARGEST_BATCH)
    except (OSError, ValueError):
        raise UserError(f"{path}: is missing or damaged; the step cannot be replayed without it") from None


def _listed(image_ids: Sequence[int]) -> str:
    shown = ", ".join(str(image_id) for image_id in image_ids[:_NAMED])
    more = f" and {len(image_ids) - _NAMED} more" if len(image_ids) > _NAMED else ""
    return f"image id{'s' if len(image_ids) > 1 else ''} {shown}{more}"


def _numbers(tree):
    """The inverse of `with_text`."""
    if isinstance(tree, dict):
        return {key: _numbers(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_numbers(value) for value in tree]
    return float(tree) if tree in ("nan", "inf", "-inf") else tree
