"""A trial as everybody here sees it, and what keeps the trials of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from ttfnet_tf.tune.space import Values

State = Literal["running", "done", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One trial, as far as it got.

    Attributes:
        number: from 0.
        values: that it tries.
        state: running, too, where a process was killed.
        average_precision: its best AP, 0..1; None where there is none.
        minutes: that it took.
        reason: why it was pruned or has failed.
        marks: at which its AP was reported.
    """

    number: int
    values: Values
    state: State = "running"
    average_precision: float | None = None
    minutes: float = 0.0
    reason: str = ""
    marks: tuple[int, ...] = field(default=())


class Study(Protocol):
    """What proposes values and keeps the trials on disk."""

    def trials(self) -> list[Trial]:
        """All that have begun, in their order."""

    def begin(self) -> Trial:
        """The next trial; the first has the values of the centre."""

    def report(self, trial: Trial, mark: int, average_precision: float) -> bool:
        """Keeps the AP of a running trial at a mark; whether to prune it."""

    def end(self, trial: Trial) -> None:
        """Keeps a trial that is done, pruned or failed."""


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """The trial with the highest AP among those that are done, the earliest of equals; None if there is none."""
    done = [trial for trial in trials if trial.state == "done" and trial.average_precision is not None]
    return max(done, key=lambda trial: (trial.average_precision or 0.0, -trial.number), default=None)
