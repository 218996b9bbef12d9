"""The time of training: evaluation and saving left out, earlier parts of a run that was stopped included."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any


class TrainingClock:
    """Runs from the moment it is made; what lies between two laps counts as training, unless `restart` says otherwise.

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
        """What went by since the last lap was no training."""
        self._start, self._step = self._clock(), step

    def lap(self, step: int, waits: float) -> dict[str, float]:
        """Ends a stretch of training at `step`.

        Args:
            step: steps done.
            waits: seconds of it in which steps waited for their batches.

        Returns:
            "images_per_second", "data_wait" (share, 0..1) and "training_seconds" (of the whole run).
        """
        elapsed = self._clock() - self._start
        self.seconds += elapsed
        images = (step - self._step) * self._batch_size
        self.restart(step)
        elapsed = max(elapsed, 1e-9)
        return {
            "images_per_second": images / elapsed,
            "data_wait": min(waits / elapsed, 1.0),
            "training_seconds": round(self.seconds, 3),
        }


def seconds_before(lines: Iterable[Mapping[str, Any]]) -> float:
    """Seconds of training that the lines of a metrics.jsonl tell of; what a stop cut off after the last line is not in them."""
    return max((float(line["training_seconds"]) for line in lines if "training_seconds" in line), default=0.0)
