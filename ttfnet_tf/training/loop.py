"""The training run: data, step, log, evaluation, checkpoints, in a loop that can stop and go on anywhere.

A run is a function of its settings: the batch of step s depends on (seed, s) alone, and a checkpoint holds everything else
that the next step reads. Killed at any moment, the same command goes on from the last checkpoint and ends with the same bits.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import Config, effective_lr
from ttfnet_tf.data import pipeline
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.doctor.quick import quick_check
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.evaluate import EvaluationResult
from ttfnet_tf.inspect import run_images as run_images
from ttfnet_tf.inspect.show import microscope_of
from ttfnet_tf.models.parameters import named_buffers, named_parameters
from ttfnet_tf.progress import ProgressMeter
from ttfnet_tf.runs.checkpoint import CheckpointStore
from ttfnet_tf.runs.moving_average import MovingAverage
from ttfnet_tf.runs.run_folder import Labels, RunFolder, flatten, read_metrics
from ttfnet_tf.tensorboard.run_log import RunLog, memory_now
from ttfnet_tf.training import build as training_build
from ttfnet_tf.training.clock import TrainingClock, seconds_before
from ttfnet_tf.training.devices import StopRequest, any_worker, build_strategy, is_chief
from ttfnet_tf.training.divergence import DivergenceGuard, go_back_offset
from ttfnet_tf.training.evaluator import Evaluator
from ttfnet_tf.training.optim import LossScale
from ttfnet_tf.training.profiler import ProfileWindow
from ttfnet_tf.training.sentinel import SideWatch, first_bad, is_not_finite
from ttfnet_tf.training.step import build_train_function, metric_names
from ttfnet_tf.weights.pretrained import load_pretrained_of


@dataclass(frozen=True)
class TrainingResult:
    """How a call of `run_training` ended."""

    step: int  # steps done in all
    finished: bool  # False when a signal stopped it; the same call goes on
    metrics: dict[str, float]  # of the last evaluation in this call, empty if there was none
    writes: bool  # whether this process writes the work directory; False for workers other than the chief


@pipeline.single_threaded_opencv()
def run_training(config: Config, work_dir: str | Path) -> TrainingResult:
    """Trains until `train.epochs` or a signal; goes on by itself where `work_dir` holds the same run.

    Raises:
        UserError: whatever the user can mend: data, settings, work directory, devices, divergence.
    """
    strategy = build_strategy(config.train.strategy, config.train.devices)
    if config.train.batch_size % strategy.num_replicas_in_sync:
        raise UserError(f"train.batch_size={config.train.batch_size} must be a multiple of the {strategy.num_replicas_in_sync} replicas")
    tf.keras.mixed_precision.set_global_policy(config.train.precision)
    train_split = build.load_split(config, "train")
    val_split = build.load_split(config, "val") if config.train.evaluate_every else None
    _refuse_other_categories(train_split, val_split)
    for split in (train_split, val_split):
        if split is not None:
            pipeline.check_files(split, config.data.broken_images)
    labels = Labels(tuple(train_split.class_names), tuple(train_split.category_ids))
    folder = RunFolder(work_dir, config, labels, writes=is_chief(strategy))
    with StopRequest() as stop, contextlib.closing(_Run(config, strategy, folder, train_split, val_split)) as run:
        return run.run(stop)


@dataclass(frozen=True)
class _BadStep:
    """A step that the sentinel did not let pass."""

    step: int  # from 0
    lr: float
    seen: dict[str, float] | None  # its losses and gradient norm; None where the network could not be computed


class _Run:
    """State of one call of `run_training`."""

    def __init__(
        self,
        config: Config,
        strategy: tf.distribute.Strategy,
        folder: RunFolder,
        train_split: CocoSplit,
        val_split: CocoSplit | None,
    ):
        self.config, self.strategy, self.folder, self.train_split = config, strategy, folder, train_split
        self.steps_per_epoch = pipeline.steps_per_epoch(len(train_split.images), config.train.batch_size)
        self.total_steps = config.train.epochs * self.steps_per_epoch
        num_classes = len(train_split.class_names)
        method = build.method_of(config, num_classes)
        self.metric_names = metric_names(method)
        with strategy.scope():
            self.model = build.model_of(config, num_classes)
            self.parameters = named_parameters(self.model, trainable_only=True)
            self.optimizer = training_build.optimizer_of(config, self.parameters)
            self.average = MovingAverage(self.parameters, config.optim.ema_decay) if config.optim.ema_decay else None
            self.loss_scale = LossScale() if config.train.precision == "mixed_float16" else None
            self.sentinel = training_build.sentinel_of(config, self.parameters)
            # Sums since the last log line: the metrics and the number of steps. Saved, so that a stop inside a line is not seen in it.
            self.window = tf.Variable(np.zeros(len(self.metric_names) + 1), dtype=tf.float64, trainable=False, name="window")
        self.train = build_train_function(
            strategy,
            self.model,
            list(self.parameters.values()),
            self.optimizer,
            method,
            normalizer=config.losses.normalizer,
            clip_norm=config.optim.clip_norm,
            average=self.average,
            loss_scale=self.loss_scale,
            sentinel=self.sentinel,
            statistics=list(named_buffers(self.model).values()) if config.train.on_divergence == "skip" else (),
        )
        self.guard = DivergenceGuard(config, folder, train_split, strategy, self.model, self.sentinel)
        self.sides = SideWatch()
        state = {"model": self.model, "optimizer": self.optimizer, "window": self.window, "sentinel": self.sentinel}
        state.update({name: part for name in ("average", "loss_scale") if (part := getattr(self, name)) is not None})
        self.store = CheckpointStore(folder.path / "checkpoints", state, keep=config.train.keep_checkpoints, writes=folder.writes)
        # First of all, for a run that cannot go on leaves the folder as it was. None at the start of a run.
        self.saved_step = self.store.restore_latest()
        self.log = RunLog(folder.path, writes=folder.writes)
        self.profile = ProfileWindow(folder.path / "train", config.train.profile_steps, writes=folder.writes)
        self.evaluator = Evaluator(config, val_split) if val_split is not None else None
        self.microscope = microscope_of(config, train_split)
        self.notes = pipeline.ImageNotes()
        self._shown: dict[str, float] = {}  # losses of the last log line, for the live progress
        self._must_stop = lambda stop: stop.requested
        if config.train.strategy == "multi_worker":  # one answer for all, or one worker would wait for the others forever
            agree = any_worker(strategy)
            self._must_stop = lambda stop: bool(agree(tf.constant(float(stop.requested))))

    def run(self, stop: StopRequest) -> TrainingResult:
        step = self._begin()
        sums = self.window.numpy()
        metrics: dict[str, float] = {}
        pending: list[dict[str, tf.Tensor]] = []
        meter = ProgressMeter("train", self.total_steps, start=step, images_per_step=self.config.train.batch_size)
        with meter:
            iterator = iter(self._dataset(step)) if step < self.total_steps else None
            self.clock.restart(step)
            while step < self.total_steps and not self._must_stop(stop):
                count = min(self.config.train.steps_per_call, self._next_boundary(step) - step)
                self.profile.before(step, count)
                history, bad = self._call(iterator, step, count, meter)
                pending.append(history)
                step += count
                self.profile.after(step)
                if bad is not None:
                    if self._decide(bad, meter) == "rollback":
                        step, sums, pending = self.saved_step, self.window.numpy(), []
                        self.clock.restart(step)
                        iterator = iter(self._dataset(step))
                        continue
                    step = bad.step + 1
                    iterator = iter(self._dataset(step))
                at_line, at_epoch = self._at_line(step), step % self.steps_per_epoch == 0
                if at_line:
                    sums = self._add(sums, pending)
                    self._log(step, sums, self.clock.lap(step, _waits(pending)), meter)
                    self._tell_dead_sides(pending, meter)
                    sums, pending = np.zeros_like(sums), []
                if at_epoch:
                    metrics = self._evaluate(step, meter) or metrics
                    self._save_at_epoch(step, sums)
                    self.clock.restart(step)
            if step != self.saved_step:  # stopped between two checkpoints
                self._save(step, self._add(sums, pending))
        return TrainingResult(step, step >= self.total_steps, metrics, self.folder.writes)

    def close(self) -> None:
        """Ends what is written for TensorBoard, however the run ended."""
        self.profile.close()
        self.log.close()

    def _begin(self) -> int:
        """Goes on or initialises; returns the first step to do."""
        step = self.saved_step
        say = print if self.folder.writes else lambda _: None
        say(self.train_split.summary())
        config = self.config
        val_split = None if self.evaluator is None else self.evaluator.split
        for line in quick_check(self.train_split, val_split, image_size=config.data.size):
            say(f"note: {line}")
        if effective_lr(config) != config.optim.lr:
            say(
                f"learning rate {effective_lr(config):g}: optim.lr={config.optim.lr:g} is for batches of {config.optim.lr_batch_size}, "
                f"train.batch_size is {config.train.batch_size} (optim.scale_lr=false keeps {config.optim.lr:g})"
            )
        if step is None:
            if config.model.pretrained:
                say(load_pretrained_of(config, self.model))
            if self.average is not None:  # made before the pretrained weights came
                self.average.reset()
            self.folder.drop_metrics_after(-1)
            if config.train.on_divergence == "rollback":  # something to go back to
                self._save(0, self.window.numpy())
        else:
            say(f"{self.folder.path}: goes on from step {step} of {self.total_steps}")
            self.folder.drop_metrics_after(step)
        seconds = seconds_before(read_metrics(self.folder.path))
        self.clock = TrainingClock(seconds, step or 0, config.train.batch_size)
        self._begin_log(step or 0)
        return step or 0

    def _begin_log(self, step: int) -> None:
        texts = self.folder.texts() if self.folder.writes else {}
        self.log.begin(step, self.clock.seconds, settings=flatten(dataclasses.asdict(self.config)), texts=texts)

    def _dataset(self, start_step: int) -> tf.distribute.DistributedDataset:
        def worker_dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            dataset = build.train_dataset(
                self.config,
                self.train_split,
                start_step=start_step + int(self.sentinel.data_offset.numpy()),
                num_shards=context.num_input_pipelines,
                shard_index=context.input_pipeline_id,
                notes=self.notes,
            )
            replicas = self.strategy.num_replicas_in_sync // context.num_input_pipelines
            if replicas == 1:
                return dataset
            return dataset.rebatch(context.get_per_replica_batch_size(self.config.train.batch_size), drop_remainder=True)

        return self.strategy.distribute_datasets_from_function(worker_dataset)

    def _call(self, iterator, step: int, count: int, meter: ProgressMeter) -> tuple[dict[str, tf.Tensor], _BadStep | None]:
        """Runs `count` steps; returns what the good ones told, and the first bad one, if any, after which nothing has changed."""
        rates = [training_build.learning_rate_at(self.config, s, self.steps_per_epoch) for s in range(step, step + count)]
        told: dict[str, tf.Tensor] = {}
        try:
            with self.strategy.scope():
                told = self.train(iterator, tf.constant(rates, tf.float32), tf.constant(step, tf.int64))
            position = first_bad(told)
        except tf.errors.OpError as error:
            if not is_not_finite(error):
                raise pipeline.reraise(error) from None
            position = int(self.sentinel.current_step.numpy()) - step
        self._tell_notes(meter)
        good = {name: values[:position] for name, values in told.items()}
        self.guard.note(step, rates[:position] if told else [], good)
        if position is None:
            meter.update(step + count, self._figures(step + count, rates[-1]))
            return good, None
        seen = {name: float(told[name][position]) for name in self.metric_names} if told else None
        return good, _BadStep(step + position, rates[position], seen)

    def _decide(self, bad: _BadStep, meter: ProgressMeter) -> str:
        """What to do about a bad step: "skip" or "rollback"; raises where the run ends."""
        loss_scale = 1.0 if self.loss_scale is None else float(self.loss_scale.value.numpy())
        decision = self.guard.handle(bad.step, bad.lr, bad.seen, loss_scale, meter.message)
        event = {"step": bad.step + 1, "epoch": (bad.step + 1) / self.steps_per_epoch, "divergence": decision}
        if decision == "rollback":
            self._go_back(bad.step)
        self.folder.append_metrics(event)
        return decision

    def _go_back(self, bad_step: int) -> None:
        """Restores the last checkpoint, from where other data are used."""
        offset, in_a_row, left_out = (
            int(variable.numpy()) for variable in (self.sentinel.data_offset, self.sentinel.in_a_row, self.sentinel.left_out)
        )
        self.saved_step = self.store.restore_latest()
        self.sentinel.data_offset.assign(go_back_offset(offset, bad_step, self.saved_step))
        self.sentinel.in_a_row.assign(in_a_row)
        self.sentinel.left_out.assign(left_out)
        self.folder.drop_metrics_after(self.saved_step)
        self.log.close()
        self._begin_log(self.saved_step)

    def _tell_notes(self, meter: ProgressMeter) -> None:
        for line in self.notes.new_lines():
            meter.message(f"note: {line}")

    def _tell_dead_sides(self, pending: list[dict[str, tf.Tensor]], meter: ProgressMeter) -> None:
        for history in pending:
            if line := self.sides.look(history["idle_sides"].numpy()):
                meter.message(f"note: {line}")

    def _figures(self, step: int, lr: float) -> dict[str, float | str]:
        return {"epoch": f"{step / self.steps_per_epoch:.1f}", **self._shown, "lr": lr}

    def _next_boundary(self, step: int) -> int:
        """The next step at which something is logged; epoch ends are among them."""
        log_every = self.config.train.log_every
        return min((step // log_every + 1) * log_every, (step // self.steps_per_epoch + 1) * self.steps_per_epoch)

    def _at_line(self, step: int) -> bool:
        return step % self.config.train.log_every == 0 or step % self.steps_per_epoch == 0

    def _log(self, step: int, sums: np.ndarray, times: dict[str, float], meter: ProgressMeter) -> None:
        if not sums[-1]:  # every step since the last line was left out
            return
        means = {name: float(value) for name, value in zip(self.metric_names, sums[:-1] / sums[-1])}
        lr = training_build.learning_rate_at(self.config, step - 1, self.steps_per_epoch)
        self._shown = {name.removesuffix("_loss"): value for name, value in means.items() if name.endswith("loss")}
        line = {"step": step, "epoch": step / self.steps_per_epoch, **means, "lr": lr, **times}
        self.folder.append_metrics(line)
        self.log.line(step, line, memory_now())
        meter.update(step, self._figures(step, lr))

    def _evaluate(self, step: int, meter: ProgressMeter) -> dict[str, float] | None:
        epoch = step // self.steps_per_epoch
        if self.evaluator is None or (epoch % self.config.train.evaluate_every and step < self.total_steps):
            return None
        self.evaluator.take_weights(self.model, self.average)  # by every worker: it may read variables of all
        if not self.folder.writes:
            return {}
        images = len(self.evaluator.split.images)
        result = self.evaluator.evaluate(self.notes, on_batch=lambda done: meter.aside("evaluate", done, images))
        self._tell_notes(meter)
        result.write(self.folder.evaluation(step))
        line = {"step": step, "epoch": epoch, **result.metrics, "per_class": result.per_class}
        self.folder.append_metrics({**line, "training_seconds": round(self.clock.seconds, 3)})
        self.log.evaluation(step, self.clock.seconds, result, self._images(epoch, result))
        is_best = self.store.save_if_best(self.evaluator.model, step, result.metrics["AP"])
        meter.message(
            f"epoch {epoch}: AP {result.metrics['AP']:.3f}  AP50 {result.metrics['AP50']:.3f}  "
            f"AP75 {result.metrics['AP75']:.3f}{'  (best)' if is_best else ''}"
        )
        return result.metrics

    def _images(self, epoch: int, result: EvaluationResult) -> dict[str, np.ndarray]:
        """For TensorBoard at the end of `epoch`, counted from 1."""
        count = self.config.train.summary_images
        return {
            **run_images.inputs(self.microscope, epoch - 1, count),
            **self.evaluator.panels(count),
            **run_images.worst(self.evaluator.split, result.matches, count),
        }

    def _add(self, sums: np.ndarray, pending: list[dict[str, tf.Tensor]]) -> np.ndarray:
        """Adds steps one after the other, so that the sum does not depend on how they were grouped into calls."""
        sums = sums.copy()
        for history in pending:
            for values in np.stack([history[name].numpy() for name in self.metric_names], axis=1).astype(np.float64):
                sums += np.append(values, 1.0)
        return sums

    def _save_at_epoch(self, step: int, sums: np.ndarray) -> None:
        if (step // self.steps_per_epoch) % self.config.train.checkpoint_every == 0 or step >= self.total_steps:
            self._save(step, sums)

    def _save(self, step: int, sums: np.ndarray) -> None:
        self.window.assign(sums)
        self.guard.before_save()
        self.store.save(step)
        self.saved_step = step
        self.log.flush()


def _waits(pending: list[dict[str, tf.Tensor]]) -> float:
    """Seconds in which the steps of some calls waited for their batches."""
    return float(sum(history["data_seconds"].numpy().sum() for history in pending))


def _refuse_other_categories(train_split: CocoSplit, val_split: CocoSplit | None) -> None:
    if val_split is not None and (val_split.category_ids, val_split.class_names) != (train_split.category_ids, train_split.class_names):
        raise UserError(
            f"{val_split.annotations}: its categories differ from those of {train_split.annotations} "
            f"({len(val_split.class_names)} and {len(train_split.class_names)}); both files must list the same ids and names"
        )
