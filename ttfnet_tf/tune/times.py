"""How the time of a study is divided into trials. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

PARTS = 12  # full trials of a study, if its user does not say how long a trial is
LEAST_TRIAL = 1.0  # minutes
MARKS = (30, 40, 50, 60)  # percent of a trial's time at which its AP is compared; its cooldown begins at 70
_OVERRUN = 0.08  # of the study's time, after which its last trial is stopped
_SLOW = 1.25  # times its own time, after which a process of a trial is stopped, and
_STALLS = 60.0  # seconds more: short trials are mostly start
_START = 30.0  # seconds that a process takes before it trains


def usual_trial_minutes(minutes: float) -> float:
    """Minutes of a trial: a twelfth of the study, at least one."""
    return round(max(minutes / PARTS, LEAST_TRIAL), 2)


@dataclass
class Times:
    """The time of a study, in seconds.

    Attributes:
        study: the whole.
        trial: of one trial.
        longest: that a trial has taken so far, with start and end of its process.
    """

    study: float
    trial: float
    longest: float = 0.0

    def can_begin(self, used: float, done: float = 0.0) -> bool:
        """Whether a trial that begins, or resumes, can end in time.

        Args:
            used: of the study.
            done: of this trial.
        """
        full = max(self.trial, self.longest)
        # What a killed trial has done since its last checkpoint is lost, and it starts again; see `training.time_budget`.
        lost = min(max(0.02 * self.trial, 10.0), 60.0) + _START if done else 0.0
        return self.study - used >= min(full - done + lost, full)

    def is_late(self, used: float, seconds: float) -> bool:
        """Whether a trial has to be stopped: its process, or the study, takes longer than it may.

        Args:
            used: of the study.
            seconds: of the process.
        """
        return seconds > _SLOW * self.trial + _STALLS or used > (1 + _OVERRUN) * self.study


def mark_passed(seconds: float, trial: float, reported: Collection[int]) -> int | None:
    """The mark that a trial has reached and not reported yet, None if there is none.

    Args:
        seconds: that the trial has used.
        trial: seconds of a trial.
        reported: marks so far.
    """
    passed = max((mark for mark in MARKS if seconds >= mark / 100 * trial), default=0)
    return passed if passed > max(reported, default=0) else None
