"""The time of a run: a clock that counts training alone, and the arithmetic of schedules that end with it.

Without imports beyond the standard library: the environments of all systems read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


class Budget:
    """Seconds of training. The clock runs from the first batch on, tracing and warm-up included; `pause` stops it for an evaluation.

    Args:
        seconds: the whole time.
        clock: seconds; an argument for tests.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic):
        if seconds <= 0:
            raise ValueError(f"seconds={seconds:g}, expected more than 0")
        self.seconds, self._clock = seconds, clock
        self._before, self._since = 0.0, None

    def start(self) -> None:
        """Starts the clock, or resumes it."""
        if self._since is None:
            self._since = self._clock()

    def pause(self) -> None:
        """Stops the clock."""
        self._before, self._since = self.used, None

    @property
    def used(self) -> float:
        """Seconds of training so far."""
        return self._before + (0.0 if self._since is None else self._clock() - self._since)

    @property
    def fraction(self) -> float:
        """Fraction of the time that is used, 0..1; a schedule of this fraction ends with the time."""
        return min(self.used / self.seconds, 1.0)

    @property
    def is_over(self) -> bool:
        """Whether no further step begins."""
        return self.used >= self.seconds


def steps_in(seconds: float, first: float, step: float) -> int:
    """Number of steps that end within a time, at least one.

    Args:
        seconds: the time.
        first: of the first step, which traces the graph.
        step: of each further one.
    """
    if step <= 0:
        raise ValueError(f"step={step:g} s, expected more than 0")
    return max(1, 1 + int((seconds - first) / step))


def step_seconds(lines: Sequence[dict], batch_size: int) -> tuple[float, float]:
    """Seconds of the first step and of each further one, from the lines of a metrics.jsonl.

    Args:
        lines: with "step", "training_seconds" and "images_per_second"; the first one holds the tracing.
        batch_size: images of a step.
    """
    lines = [line for line in lines if "images_per_second" in line]
    if len(lines) < 2:
        raise ValueError(f"{len(lines)} lines with a speed, expected two or more")
    steps = lines[-1]["step"] - lines[0]["step"]
    step = (lines[-1]["training_seconds"] - lines[0]["training_seconds"]) / steps
    return max(lines[0]["training_seconds"] - step * (lines[0]["step"] - 1), step), step


def scaled_drops(drops: Sequence[float], epochs: float, new_epochs: float) -> list[float]:
    """Epochs at which the rate drops, moved to the same fractions of a run of another length."""
    return [round(drop / epochs * new_epochs, 3) for drop in drops]


def multi_step(fraction: float, drops: Sequence[float], factor: float = 0.1) -> float:
    """Factor of the learning rate that is multiplied by `factor` at each of `drops`, fractions of the run."""
    return factor ** sum(fraction >= drop for drop in drops)
