"""Early stopping: a run ends once several evaluations in a row have found no better AP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any


class Patience:
    """Counts the evaluations since the best AP. Nothing of it is saved: metrics.jsonl holds every evaluation of a run that resumes.

    Args:
        evaluations: without a better AP, after which the run ends; 0 is never.
        agree: whether a worker says so -> whether any worker does; the same on all. One worker alone knows the AP.
    """

    def __init__(self, evaluations: int = 0, agree: Callable[[bool], bool] = bool):
        self.evaluations, self._agree = evaluations, agree
        self.best = -1.0  # AP
        self.best_epoch = 0.0
        self.since = 0  # evaluations after it
        self.is_over = False

    def begin(self, lines: Iterable[Mapping[str, Any]]) -> bool:
        """Counts from the start on; returns whether the run is over. To be called by every worker.

        Args:
            lines: of metrics.jsonl up to the step from which the run continues.
        """
        self.best, self.best_epoch, self.since = -1.0, 0.0, 0
        for line in lines:
            if "AP" in line:
                self._add(line["AP"], line["epoch"])
        return self._decide()

    def after_evaluation(self, average_precision: float | None, epoch: float) -> bool:
        """Adds an evaluation, of which a worker that does not evaluate knows nothing (None); returns whether the run is over."""
        if average_precision is not None:
            self._add(average_precision, epoch)
        return self._decide()

    def message(self) -> str:
        """Why the run ends, in one line."""
        if self.since < self.evaluations:  # a worker that does not evaluate
            return f"early stop, as another worker has found; train.patience={self.evaluations}"
        counted = "1 evaluation" if self.since == 1 else f"{self.since} evaluations"
        return f"early stop: no AP above {self.best:.3f} (epoch {int(self.best_epoch)}) in {counted}; train.patience={self.evaluations}"

    def _add(self, average_precision: float, epoch: float) -> None:
        if average_precision > self.best:  # the earliest of equals stays the best, as in `CheckpointStore.save_if_best`
            self.best, self.best_epoch, self.since = average_precision, epoch, 0
        elif average_precision >= 0:  # -1 is an evaluation without objects
            self.since += 1

    def _decide(self) -> bool:
        if self.evaluations:
            self.is_over = self._agree(self.since >= self.evaluations)
        return self.is_over
