"""`train.minutes`: the clock of a run that has to end in time, and the plan that follows from it.

Seconds of all processes of a run count, from the start of each; what passes between two of them does not. A checkpoint holds the seconds
and the plan, so that a run that was interrupted keeps its budget.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from ttfnet_tf.progress import duration
from ttfnet_tf.training.schedule import Trapezoid
from ttfnet_tf.training.time_plan import MAX_BENDS, TimePlan, first_plan, plan_again

TRIALS = 3  # steps that are timed before the first one, after one that compiles the step
_EVALUATIONS = 0.1  # of the time used, for evaluations before the last
_SAVES = 0.02  # of the whole time between two checkpoints; at least 10 seconds, at most a minute
_SLACK = 0.01  # of the whole time, by which a cooldown may end early or late
_WINDOW = 0.05  # of the whole time, in which steps are timed; at least 10 seconds
_LEAST_LAPS = 5  # to say how long a step takes
_MEASURING = 0.1  # of the whole time, after which no further step is timed
_EXIT = 0.5  # of the first call of the training step: the end of the process
_AROUND = 1.3  # an evaluation takes, in units of its calls of the network: images are read, figures computed
_HEAD = 4  # of the variable, before the bends


@dataclass(frozen=True)
class RunTime:
    """What the caller of `run_training` knows about time.

    Attributes:
        started: of the process or command, by `time.monotonic`.
        after: what comes after the last evaluation, such as report and export, in units of the first call of the training step, which
            compiles it: both depend on the machine in the same way.
    """

    started: float
    after: float = 0.0


class TimeBudget(tf.Module):
    """The clock and the plan of one run.

    Args:
        seconds: the whole time.
        cooldown: `optim.cooldown`.
        warmup_steps: `optim.warmup_steps`, at most.
        run_time: see there.
        clock: seconds; an argument for tests.
    """

    def __init__(
        self,
        seconds: float,
        *,
        cooldown: float,
        warmup_steps: int,
        run_time: RunTime,
        clock: Callable[[], float] = time.monotonic,
    ):
        super().__init__(name="time_budget")
        self.seconds = seconds
        self._plan: TimePlan | None = None
        self._cooldown, self._warmup_steps = cooldown, warmup_steps
        self._clock, self._begin, self._after = clock, run_time.started, run_time.after
        # Seconds used, steps, warm-up steps, seconds of an evaluation; then (step, fraction) of each bend, -1 where there is none.
        self.variable = tf.Variable(np.full(_HEAD + 2 * MAX_BENDS, -1.0), dtype=tf.float64, trainable=False, name="time_budget")
        self._used_before = 0.0
        self._evaluation = -1.0  # seconds of the last one, -1 before
        self._spent_on_evaluations = 0.0
        self._first_call = self._step_seconds = self._save_seconds = 0.0
        self._laps: deque[tuple[float, int]] = deque()  # (used, step), without evaluations in between
        self._saved = self._planned = self.used

    @property
    def is_planned(self) -> bool:
        return self._plan is not None

    @property
    def plan(self) -> TimePlan:
        """The plan of the moment.

        Raises:
            ValueError: there is none yet; `measure` makes it.
        """
        if self._plan is None:
            raise ValueError("no plan is made before `measure`")
        return self._plan

    @property
    def used(self) -> float:
        """Seconds so far, those of earlier processes included."""
        return self._used_before + self._clock() - self._begin

    @property
    def reserve(self) -> float:
        """Seconds for what comes after the last step."""
        # The last weights are saved twice: as the best, and to resume from; the process takes a moment to end.
        return max(self._evaluation, 0.0) + 2 * self._save_seconds + (self._after + _EXIT) * self._first_call

    def to_variable(self) -> None:
        """Writes seconds and plan to where a checkpoint takes them from."""
        values = np.full(_HEAD + 2 * MAX_BENDS, -1.0)
        values[0], values[3] = self.used, self._evaluation
        if self.is_planned:
            values[1:3] = self.plan.trapezoid.total_steps, self.plan.warmup_steps
            bends = np.ravel(self.plan.trapezoid.bends)
            values[_HEAD : _HEAD + len(bends)] = bends
        self.variable.assign(values)
        self._saved = values[0]

    def saved(self, seconds: float) -> None:
        """A checkpoint took so long."""
        self._save_seconds = seconds

    def from_variable(self) -> None:
        """Takes seconds and plan of a checkpoint that was restored."""
        values = self.variable.numpy()
        self._used_before, self._evaluation = max(float(values[0]), 0.0), float(values[3])
        bends = [(int(step), float(fraction)) for step, fraction in values[_HEAD:].reshape(-1, 2) if step >= 0]
        self._plan = TimePlan(Trapezoid(int(values[1]), tuple(bends)), int(values[2])) if bends else None

    def measure(self, call: Callable[[], object], must_stop: Callable[[], bool], evaluation: Callable[[], float] | None) -> str:
        """Times a training step that changes nothing, plans if there is no plan, and returns a line about it.

        Args:
            call: makes the step.
            must_stop: whether to hurry.
            evaluation: seconds that one takes without its first and last words; None for a run without evaluations.
        """
        times = []
        for _ in range(1 + TRIALS):
            start = self._clock()
            call()
            times.append(self._clock() - start)
            if len(times) > 1 and (must_stop() or sum(times) > _MEASURING * self.seconds):
                break
        self._first_call = times[0]
        self._step_seconds = float(np.median(times[1:]))
        if evaluation is not None and self._evaluation < 0:
            self._evaluation = _AROUND * evaluation() + min(_SLACK * self.seconds, 5.0)
        if not self.is_planned:
            left = self.seconds - self.used - self.reserve
            self._plan = first_plan(left, step_seconds=self._step_seconds, cooldown=self._cooldown, warmup_steps=self._warmup_steps)
        return (
            f"train.minutes={self.seconds / 60:g}: a step takes {self._step_seconds:.2g} s, {duration(self.reserve)} are kept for the end: "
            f"{self.plan.trapezoid.total_steps} steps, warm-up {self.plan.warmup_steps}, the rate decreases from step "
            f"{self.plan.trapezoid.cooldown_step}; this follows the clock"
        )

    def after(self, step: int) -> bool:
        """Plans again where some seconds have passed; whether the plan has changed."""
        used = self.used
        if not self._laps or step <= self._laps[-1][1]:  # the first, or back at an earlier step
            self._laps.clear()
        self._laps.append((used, step))
        window = max(_WINDOW * self.seconds, 10.0)
        while len(self._laps) > 2 and used - self._laps[1][0] > window:
            self._laps.popleft()
        if len(self._laps) <= _LEAST_LAPS or used - self._planned < min(5.0, _SLACK * self.seconds):
            return False
        self._step_seconds, self._planned = self._usual_step(), used
        before = self.plan
        self._plan = plan_again(
            before,
            step,
            self.seconds - used - self.reserve,
            step_seconds=self._step_seconds,
            cooldown=self._cooldown,
            slack=_SLACK * self.seconds,
        )
        return self.plan != before

    def paused(self, step: int) -> None:
        """The time since `after` was no training."""
        self._laps.clear()
        self._laps.append((self.used, step))

    def evaluates_at(self, step: int) -> bool:
        """Whether there is time for an evaluation that is due: always at the end, in the cooldown no more, and before it a tenth."""
        trapezoid = self.plan.trapezoid
        if step >= trapezoid.total_steps:
            return True
        would_take = self._spent_on_evaluations + self._evaluation
        return step < trapezoid.cooldown_step and would_take <= _EVALUATIONS * self.used

    def evaluated(self, seconds: float) -> None:
        """An evaluation took so long."""
        self._evaluation = seconds
        self._spent_on_evaluations += seconds

    def saves_at(self, step: int) -> bool:
        """Whether a checkpoint that is due is written: one every few seconds is enough."""
        is_last = step >= self.plan.trapezoid.total_steps
        return is_last or self.used - self._saved >= min(max(_SAVES * self.seconds, 10.0), 60.0)

    def _usual_step(self) -> float:
        """Seconds of a step lately, without the longest tenth: a moment in which the machine stood still says nothing about what comes."""
        laps = list(self._laps)
        times = sorted((end - start) / (last - first) for (start, first), (end, last) in zip(laps, laps[1:]))
        return max(float(np.mean(times[: len(times) - max(len(times) // 10, 1)])), 1e-6)
