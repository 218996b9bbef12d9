"""The time of training: without evaluation and saving, with the earlier parts of a run that was stopped."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any


class TrainingClock:
    """Starts when it is made. The time between two laps counts as training, unless `restart` is called in between.

    Args:
        seconds: of training before.
        step: steps done before.
        batch_size: images of a step.
        clock: seconds; an argument for tests.
    """

    def __init__(self, seconds: float, step: int, batch_size: int, *, clock=time.monotonic):
        self.seconds, self._batch_size, self._clock = seconds, batch_size, clock
        self.restart(step)

    def restart(self, step: int) -> None:
        """The time since the last lap was not training."""
        self._start, self._step, self._waited = self._clock(), step, 0.0

    def wait(self, seconds: float) -> None:
        """Counts seconds in which steps waited for their batches."""
        self._waited += seconds

    def lap(self, step: int) -> dict[str, float]:
        """Ends a stretch of training at `step` (steps done).

        Returns:
            "images_per_second", "data_wait" (fraction of the time, 0..1) and "training_seconds" (of the whole run).
        """
        elapsed, waited = self._clock() - self._start, self._waited
        self.seconds += elapsed
        images = (step - self._step) * self._batch_size
        self.restart(step)
        elapsed = max(elapsed, 1e-9)
        return {
            "images_per_second": images / elapsed,
            "data_wait": min(waited / elapsed, 1.0),
            "training_seconds": round(self.seconds, 3),
        }


def seconds_before(lines: Iterable[Mapping[str, Any]]) -> float:
    """Seconds of training by the lines of a metrics.jsonl; what came after the last line before a stop is not in them."""
    return max((float(line["training_seconds"]) for line in lines if "training_seconds" in line), default=0.0)
