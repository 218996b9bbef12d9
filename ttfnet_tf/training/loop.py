"""The training loop: steps, log lines, evaluations and checkpoints, from any step to the end or to a request to stop.

The batch of step s depends on (seed, s) alone, and a checkpoint holds everything else that the next step reads. So a run that was killed
at any moment resumes from its last checkpoint and ends with the same bits.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from ttfnet_tf.data import pipeline
from ttfnet_tf.errors import DivergenceError, UserError
from ttfnet_tf.evaluation.evaluate import EvaluationResult
from ttfnet_tf.runs.checkpoint import CheckpointStore
from ttfnet_tf.runs.run_folder import read_metrics
from ttfnet_tf.training.dead_sides import DeadSideWatch
from ttfnet_tf.training.devices import is_not_deterministic
from ttfnet_tf.training.divergence import BadStep, Decision, DivergencePolicy, message
from ttfnet_tf.training.evaluator import Evaluator
from ttfnet_tf.training.intervals import Intervals
from ttfnet_tf.training.mixing import Mixing
from ttfnet_tf.training.patience import Patience
from ttfnet_tf.training.profiler import ProfileWindow
from ttfnet_tf.training.recorder import RunRecorder
from ttfnet_tf.training.sentinel import first_bad, is_not_finite
from ttfnet_tf.training.state import TrainState
from ttfnet_tf.training.step_record import StepRecorder
from ttfnet_tf.training.time_budget import TimeBudget


@dataclass(frozen=True)
class TrainingResult:
    """How a call of `run_training` ended."""

    step: int  # steps done in all
    finished: bool  # False when it was asked to stop; the same call resumes
    metrics: dict[str, float]  # of the last evaluation in this call, empty if there was none
    writes: bool  # whether this process writes the work directory; False for workers other than the chief


@dataclass(frozen=True)
class _Call:
    """One call of the training function."""

    step: int  # its first step, from 0
    rates: list[float]  # learning rate of each step
    history: Mapping[str, np.ndarray]  # the first look at it may wait, see `step.StepHistory`
    error: tf.errors.OpError | None = None  # with which it ended

    @property
    def end(self) -> int:
        """Steps done after it."""
        return self.step + len(self.rates)


@dataclass
class TrainingLoop:
    """One call of `run_training`, everything built. "Step s" means that s steps are done."""

    strategy: tf.distribute.Strategy
    state: TrainState
    train: Callable[..., Mapping[str, np.ndarray]]  # see `step.build_train_function`
    learning_rate: Callable[[int], float]
    batches: Callable[[int], tf.distribute.DistributedDataset]  # number of a batch of the data -> the batches from there on
    intervals: Intervals
    store: CheckpointStore
    policy: DivergencePolicy
    step_recorder: StepRecorder
    recorder: RunRecorder
    evaluator: Evaluator | None
    images: Callable[[int, EvaluationResult], Mapping[str, np.ndarray]]  # epoch from 0, evaluation -> images for TensorBoard
    profile: ProfileWindow
    budget: TimeBudget | None = None  # of a run with `train.minutes`, whose plan decides the steps
    dead_sides: DeadSideWatch = field(default_factory=DeadSideWatch)
    patience: Patience = field(default_factory=Patience)
    mixing: Mixing = field(default_factory=Mixing)

    def run(self, step: int, must_stop: Callable[[], bool]) -> TrainingResult:
        """Trains from `step` to the end, or until `must_stop()` is true."""
        recorder = self.recorder
        metrics: dict[str, float] = {}
        with recorder, contextlib.closing(self.profile):
            if self.budget is not None:
                self._measure(step, must_stop)
            intervals = self.intervals
            data = self._data_from(step) if step < intervals.total_steps else None
            recorder.clock.restart(step)
            self._count_evaluations(step)
            if self.budget is not None:
                self.budget.paused(step)
            waiting: _Call | None = None  # the last one that began; its steps are not judged yet
            while True:
                goes_on = step < intervals.total_steps and not self.patience.is_over and not must_stop()
                # The next call begins before the host reads the last one, so that a GPU does not wait for it. Should the last one hold a
                # bad step, the next one changes nothing, because the sentinel stands still.
                if goes_on and self.mixing.ends_by(step, self.budget) != self.mixing.is_over:
                    data = self._data_from(step)
                begun = self._begin(data, step) if goes_on else None
                bad = None if waiting is None else self._judge(waiting)
                if bad is None and begun is None and waiting is None:
                    break
                waiting = begun
                if begun is not None:
                    step = begun.end
                    intervals = self._plan_again(step)
                    is_due = intervals.is_line(step) or intervals.is_epoch_end(step) or self.profile.is_on
                    if bad is None and (is_due or begun.error is not None):
                        bad, waiting = self._judge(begun), None
                        self.profile.after(step)
                if bad is not None:
                    waiting = None
                    step = self._handle(bad)
                    data = self._data_from(step)
                    if self.budget is not None:
                        self.budget.paused(step)
                    if step == self.store.saved_step:  # rolled back to where everything is logged and saved
                        continue
                if waiting is not None:
                    continue
                if intervals.is_line(step):
                    recorder.line(step, self.state.window.means(), self.learning_rate(step - 1))
                    self.state.window.clear()
                if is_evaluated := self._evaluates_at(step):
                    metrics = self._evaluate(step)
                    if self.patience.after_evaluation(metrics.get("AP"), intervals.epoch(step)) and step < intervals.total_steps:
                        recorder.message(self.patience.message())
                if is_saved := self._saves_at(step):
                    self.save(step)
                if is_evaluated or is_saved or intervals.is_epoch_end(step):
                    recorder.clock.restart(step)
            if step != self.store.saved_step:  # stopped between two checkpoints
                self.save(step)
            is_complete = step >= intervals.total_steps or self.patience.is_over
            if is_complete:
                recorder.ended()
        return TrainingResult(step, is_complete, metrics, recorder.folder.writes)

    def save(self, step: int) -> None:
        """Writes a checkpoint."""
        self.state.window.to_variable()
        self.policy.before_checkpoint()
        if self.budget is not None:
            self.budget.to_variable()
        self.recorder.sync()  # first: a run that resumes from the checkpoint does not write these lines again
        start = time.monotonic()
        self.store.save(step)
        if self.budget is not None:
            self.budget.saved(time.monotonic() - start)

    def resume_plan(self) -> None:
        """Takes the plan of a checkpoint that was restored, where the run has one."""
        if self.budget is not None:
            self.budget.from_variable()
            self._follow_plan()

    def _measure(self, step: int, must_stop: Callable[[], bool]) -> None:
        """Times the training step and plans the run; afterwards everything is as before."""
        if self.budget.is_planned and step >= self.intervals.total_steps:
            return
        if self.store.saved_step is None:
            self.save(step)  # to come back to
        data = self._data_from(step)

        def call() -> None:
            # What goes wrong here goes wrong again in the run, which knows what to do.
            with contextlib.suppress(tf.errors.OpError), self.strategy.scope():
                dict(self.train(data, [0.0], step))

        if self.evaluator is not None:
            self.evaluator.take_weights(self.state.model, self.state.average)
        line = self.budget.measure(call, must_stop, None if self.evaluator is None else self.evaluator.seconds)
        self.store.restore_latest(self.recorder.message)
        self.recorder.message(line)
        self.recorder.meter.restart()
        self._follow_plan()

    def _plan_again(self, step: int) -> Intervals:
        """Follows the clock, where there is one; the intervals from `step` on."""
        if self.budget is not None and self.budget.after(step):
            self._follow_plan()
        return self.intervals

    def _follow_plan(self) -> None:
        if self.budget.is_planned:
            total = self.budget.plan.trapezoid.total_steps
            self.intervals = dataclasses.replace(self.intervals, steps=total)
            self.recorder.meter.total = total

    def _evaluates_at(self, step: int) -> bool:
        return self.intervals.is_evaluation(step) and (self.budget is None or self.budget.evaluates_at(step))

    def _saves_at(self, step: int) -> bool:
        if self.budget is None:
            return self.intervals.is_checkpoint(step)
        return self.intervals.is_line(step) and self.budget.saves_at(step)

    def _data_from(self, step: int) -> Iterator:
        self.mixing.is_over = self.mixing.ends_by(step, self.budget)
        return iter(self.batches(step + self.policy.counts.data_offset))

    def _begin(self, data: Iterator, step: int) -> _Call:
        """Starts the steps of the next call; on a GPU it returns before they are done."""
        count = self.intervals.steps_in_call(step)
        rates = [self.learning_rate(s) for s in range(step, step + count)]
        self.profile.before(step, count)
        try:
            with self.strategy.scope():
                return _Call(step, rates, self.train(data, rates, step))
        except tf.errors.OpError as error:
            return _Call(step, rates, {}, error)

    def _judge(self, call: _Call) -> BadStep | None:
        """Waits for a call and logs its good steps; returns the first bad one, if any, after which nothing has changed."""
        step, rates, position = call.step, call.rates, None
        history: dict[str, np.ndarray] = {}
        try:
            if call.error is not None:
                raise call.error
            history = dict(call.history)
            position = first_bad(history)
        except tf.errors.OpError as error:
            if is_not_deterministic(error):
                reason = str(error.message).splitlines()[0].rstrip(".")
                raise UserError(f"train.deterministic=true: {reason}; set it to false, or train on the CPU") from None
            if not is_not_finite(error):
                raise pipeline.reraise(error) from None
            position = int(self.state.sentinel.current_step.numpy()) - step
        self.recorder.new_notes()
        if history:
            self._add_good_steps(step, rates[:position], {name: values[:position] for name, values in history.items()})
        if position is None:
            self.recorder.progress(call.end, rates[-1])
            return None
        metrics = {name: float(history[name][position]) for name in self.state.window.names} if history else None
        loss_scale = 1.0 if self.state.loss_scale is None else float(self.state.loss_scale.value.numpy())
        return BadStep(step + position, rates[position], metrics, loss_scale, float(self.state.sentinel.mean.numpy()))

    def _add_good_steps(self, step: int, rates: list[float], history: dict[str, np.ndarray]) -> None:
        self.state.window.add(history)
        self.recorder.clock.wait(float(history["data_seconds"].sum()))
        self.step_recorder.add_good_steps(step, rates, history)
        if rates:
            self.policy.after_good_steps()
        if warning := self.dead_sides.add(history["idle_sides"].tolist()):
            self.recorder.message(f"note: {warning}")

    def _handle(self, bad: BadStep) -> int:
        """Records a bad step and does what the policy says; returns the step to continue from."""
        counts = self.policy.counts
        self.mixing.is_over = self.mixing.ends_by(bad.step, self.budget)  # the record reads the batch again
        images, record = self.step_recorder.record(bad, bad.step + counts.data_offset, self.state.model)
        decision = self.policy.decide(bad)
        path = self.recorder.folder.path
        line = message(decision, bad, where=str(path), images=images, record=record, skipped=counts.skipped + 1)
        if decision.ends_run:
            raise DivergenceError(line)
        self.recorder.message(line)
        step = self._roll_back(bad) if decision is Decision.ROLLBACK else bad.step + 1
        self.recorder.divergence(bad.step + 1, decision.value)
        return step

    def _roll_back(self, bad: BadStep) -> int:
        """Restores the last checkpoint, from where other data are used; returns its step."""
        counts = self.policy.counts
        step = self.store.restore_latest(self.recorder.message)
        self.policy.after_rollback(counts, bad.step, step)
        self.state.window.from_variable()
        self.recorder.go_back(step)
        self._count_evaluations(step)
        return step

    def _count_evaluations(self, step: int) -> None:
        """Takes the evaluations up to `step` from metrics.jsonl, which holds no later ones."""
        if self.patience.evaluations:
            folder = self.recorder.folder
            if self.patience.begin(read_metrics(folder.path) if folder.writes else []) and step < self.intervals.total_steps:
                self.recorder.message(self.patience.message())

    def _evaluate(self, step: int) -> dict[str, float]:
        """Evaluates the current weights and keeps them if they are the best; returns the COCO metrics."""
        evaluator, recorder = self.evaluator, self.recorder
        evaluator.take_weights(self.state.model, self.state.average)  # by every worker: it may read variables of all
        if not recorder.folder.writes:
            return {}
        start = time.monotonic()
        result = evaluator.evaluate(on_batch=lambda done: recorder.meter.aside("evaluate", done, evaluator.num_images))
        recorder.new_notes()
        epoch = max(step // self.intervals.steps_per_epoch - 1, 0)
        recorder.evaluation(step, result, self.images(epoch, result))
        # Without a box there is no AP: the latest checkpoint stands for the run.
        is_best = result.metrics["AP"] >= 0 and self.store.save_if_best(evaluator.model, step, result.metrics["AP"])
        recorder.evaluated(step, result.metrics, is_best)
        if self.budget is not None:
            self.budget.evaluated(time.monotonic() - start)
            self.budget.paused(step)
        return result.metrics
