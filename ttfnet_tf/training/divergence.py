"""What the host does about a bad step: writes it down, then stops, leaves it out or has the run go back.

`sentinel` finds bad steps on the device, `replay` is the record, docs/divergence.md the rules in words.
"""

from __future__ import annotations

import math
import shlex
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import Config
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.errors import DivergenceError, UserError
from ttfnet_tf.runs.run_folder import Labels, RunFolder
from ttfnet_tf.training.replay import inspect_step, suspects, write_record
from ttfnet_tf.training.sentinel import Sentinel

SKIPS_IN_A_ROW = 10  # with train.on_divergence=skip, a run ends at the next
RETURNS_IN_A_ROW = 3  # to the same checkpoint, with train.on_divergence=rollback
MOST_RECORDS = 5  # of a run; later bad steps are only told
_RECENT = 20  # good steps before it that a record tells
_NAMED = 8  # image ids of a message


class DivergenceGuard:
    """Deals with the bad steps of one run.

    Args:
        config: settings of the run.
        folder: of the run; records go into its `divergence/`.
        split: training images.
        strategy: that `model` was made under.
        model: the network that is trained.
        sentinel: that judges its steps.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        split: CocoSplit,
        strategy: tf.distribute.Strategy,
        model: tf.keras.Model,
        sentinel: Sentinel,
    ):
        self.config, self.folder, self.split = config, folder, split
        self.strategy, self.model, self.sentinel = strategy, model, sentinel
        self._recent: deque[tuple[int, float, Mapping[str, tf.Tensor], int]] = deque(maxlen=_RECENT)

    def note(self, first_step: int, rates: Sequence[float], history: Mapping[str, tf.Tensor]) -> None:
        """Remembers good steps, in case the next is not; `history` has one entry for each of `rates`."""
        for row, lr in enumerate(rates):
            self._recent.append((first_step + row, lr, history, row))
        if rates and self.config.train.on_divergence == "skip" and self.sentinel.in_a_row.numpy():
            self.sentinel.in_a_row.assign(0)

    def before_save(self) -> None:
        """A new checkpoint: returns to an earlier one count no longer."""
        if self.config.train.on_divergence == "rollback":
            self.sentinel.in_a_row.assign(0)

    def handle(self, step: int, lr: float, seen: Mapping[str, float] | None, loss_scale: float, say: Callable[[str], None]) -> str:
        """Writes the record of a bad step and decides.

        Args:
            step: from 0.
            lr: its learning rate.
            seen: the losses and the gradient norm of the step; None where the network could not be computed.
            loss_scale: of the step.
            say: takes a line for people.

        Returns:
            "skip": the step is left out, and the device goes on; "rollback": the caller goes back to the last checkpoint.

        Raises:
            DivergenceError: the run ends here.
        """
        policy = self.config.train.on_divergence
        reason = self._reason(seen)
        ids, again = self._record(step, lr, seen, loss_scale, reason)
        what = f"{self.folder.path}: {reason} at step {step + 1}, {ids}"
        in_a_row = int(self.sentinel.in_a_row.numpy()) + 1
        if policy == "stop":
            rest = "start with another --work-dir, or go on with train.on_divergence=skip or rollback"
            raise DivergenceError(f"{what}; {again}; lower optim.lr (now {lr:g}) or raise optim.warmup_steps and {rest}")
        if policy == "skip" and seen is None:
            raise DivergenceError(f"{what}; {again}; a step that ends so cannot be left out: go on with train.on_divergence=rollback")
        if in_a_row > (SKIPS_IN_A_ROW if policy == "skip" else RETURNS_IN_A_ROW):
            done = f"{SKIPS_IN_A_ROW} steps before it were left out" if policy == "skip" else f"{RETURNS_IN_A_ROW} returns did not help"
            raise DivergenceError(f"{what}; {done}; {again}; lower optim.lr (now {lr:g}) and start with another --work-dir")
        self.sentinel.in_a_row.assign(in_a_row)
        self.sentinel.left_out.assign_add(1)
        if policy == "skip":
            self.sentinel.release()
            left_out = int(self.sentinel.left_out.numpy())
            say(f"{what}; left out ({left_out} so far); {again}")
        else:
            say(f"{what}; {again}")
        return policy

    def _reason(self, seen: Mapping[str, float] | None) -> str:
        if seen is None:
            return "the offsets of a deformable convolution are not finite"
        loss, mean = seen["loss"], float(self.sentinel.mean.numpy())
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(seen["gradient_norm"]):
            return f"the gradient norm is {seen['gradient_norm']}"
        return f"the loss is {loss:.4g}, {loss / mean:.0f} times its running mean {mean:.4g}"

    def _record(self, step, lr, seen, loss_scale, reason) -> tuple[str, str]:
        """Writes it, if this process writes; returns who was in the batch, and how to see the step again."""
        batch = self._batch(step)
        image_ids = [int(image_id) for image_id in batch["image_id"]]
        folder = self.folder.path / "divergence" / f"step-{step + 1}"
        if not self.folder.writes:
            return _listed(image_ids), f"its record is written by the chief: {folder}"
        files = {image.id: image.path for image in self.split.images}
        model = self._copy()
        found = inspect_step(
            self.config,
            model,
            batch,
            num_classes=self.split.num_classes,
            replicas=self.strategy.num_replicas_in_sync,
            loss_scale=loss_scale,
        )
        blamed = suspects(found)
        who = _listed(image_ids)
        if blamed:
            who = f"and of its {len(image_ids)} images {_listed(blamed)} {'has' if len(blamed) == 1 else 'have'} a loss that is not finite"
            who += f" ({files[blamed[0]]})" if len(blamed) == 1 and blamed[0] in files else ""
        if len([old for old in folder.parent.glob("step-*") if old != folder]) >= MOST_RECORDS:
            return who, f"not recorded, for {folder.parent} holds {MOST_RECORDS} steps"
        report = {
            "step": step + 1,
            "reason": reason,
            "lr": lr,
            "replicas": self.strategy.num_replicas_in_sync,
            "loss_scale": loss_scale,
            "running_mean": float(self.sentinel.mean.numpy()),
            "image_ids": image_ids,
            "files": {str(image_id): str(files[image_id]) for image_id in image_ids if image_id in files},
            "in_training": dict(seen or {}),
            "recent": self._recent_steps(),
            "found": found,
        }
        try:
            labels = Labels(tuple(self.split.class_names), tuple(self.split.category_ids))
            # The values the copy had before it was looked at: running statistics have moved.
            write_record(folder, self.config, labels, self._copy(model), batch, report)
        except UserError as error:
            return who, f"it could not be written down ({error})"
        return who, f"see it again: ttfnet replay {shlex.quote(str(folder))}"

    def _batch(self, step: int) -> dict[str, np.ndarray]:
        """The global batch, read again: it is a function of the step alone."""
        dataset = build.train_dataset(self.config, self.split, start_step=step + int(self.sentinel.data_offset.numpy()))
        return {name: values.numpy() for name, values in next(iter(dataset)).items()}

    def _copy(self, copy: tf.keras.Model | None = None) -> tf.keras.Model:
        """The network of the first replica here, as a plain model."""
        copy = copy or build.model_of(self.config, self.split.num_classes)
        for target, source in zip(copy.variables, self.model.variables):
            target.assign(self.strategy.experimental_local_results(source)[0])
        return copy

    def _recent_steps(self) -> list[dict[str, Any]]:
        return [
            {"step": step + 1, "lr": lr, **{name: float(history[name][row]) for name in ("loss", "gradient_norm")}}
            for step, lr, history, row in self._recent
        ]


def go_back_offset(offset: int, bad_step: int, checkpoint_step: int) -> int:
    """The data offset after a return from `bad_step` to `checkpoint_step` (both from 0, the next to run).

    None of the batches that led there is used again: step s takes batch s + offset, and the first batch after the return is the one that
    follows the bad step's.
    """
    return offset + bad_step - checkpoint_step + 1


def _listed(image_ids: Sequence[int]) -> str:
    shown = ", ".join(str(image_id) for image_id in image_ids[:_NAMED])
    more = f" and {len(image_ids) - _NAMED} more" if len(image_ids) > _NAMED else ""
    return f"image id{'s' if len(image_ids) > 1 else ''} {shown}{more}"
