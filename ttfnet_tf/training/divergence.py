"""The divergence policy: what happens after a bad step, `train.on_divergence` = stop, skip or rollback.

`sentinel` finds bad steps, `step_record` writes the record of one, `loop` does what is decided here. docs/divergence.md has the rules.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass

from ttfnet_tf.training.sentinel import Sentinel

SKIPS_IN_A_ROW = 10  # with skip, the next bad step ends the run
ROLLBACKS_IN_A_ROW = 3  # to the same checkpoint; with rollback, the next bad step ends the run


@dataclass(frozen=True)
class BadStep:
    """A step that the sentinel found bad."""

    step: int  # from 0
    lr: float
    metrics: Mapping[str, float] | None  # losses and gradient norm; None where the network could not be computed
    loss_scale: float  # 1 without one
    mean_loss: float  # running mean of the good steps before it

    @property
    def reason(self) -> str:
        """Why it is bad, for messages."""
        if self.metrics is None:
            return "the offsets of a deformable convolution are not finite"
        loss, norm = self.metrics["loss"], self.metrics["gradient_norm"]
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the gradient norm is {norm}"
        return f"the loss is {loss:.4g}, {loss / self.mean_loss:.0f} times its running mean {self.mean_loss:.4g}"


class Decision(enum.Enum):
    """What to do about a bad step; the last two let the run continue, and their values stand in metrics.jsonl."""

    STOP = "stop"
    CANNOT_SKIP = "cannot skip"
    TOO_MANY_SKIPS = "too many skips"
    TOO_MANY_ROLLBACKS = "too many rollbacks"
    SKIP = "skip"
    ROLLBACK = "rollback"

    @property
    def ends_run(self) -> bool:
        return self not in (Decision.SKIP, Decision.ROLLBACK)


def decide(policy: str, *, in_a_row: int, was_computed: bool) -> Decision:
    """The decision about one bad step.

    Args:
        policy: "stop", "skip" or "rollback".
        in_a_row: bad steps since the last good one, or rollbacks to the same checkpoint, this one included.
        was_computed: whether the step got as far as a loss; one that did not cannot be skipped, because it ended halfway.
    """
    if policy == "stop":
        return Decision.STOP
    if policy == "rollback":
        return Decision.TOO_MANY_ROLLBACKS if in_a_row > ROLLBACKS_IN_A_ROW else Decision.ROLLBACK
    if not was_computed:
        return Decision.CANNOT_SKIP
    return Decision.TOO_MANY_SKIPS if in_a_row > SKIPS_IN_A_ROW else Decision.SKIP


def rollback_offset(offset: int, bad_step: int, checkpoint_step: int) -> int:
    """The data offset after a rollback from `bad_step` to `checkpoint_step` (both from 0, the next to run).

    No batch since the checkpoint is used again: step s takes batch s + offset, and the first batch after the rollback is the one behind
    that of the bad step.
    """
    return offset + bad_step - checkpoint_step + 1


def message(decision: Decision, bad: BadStep, *, where: str, images: str, record: str, skipped: int = 0) -> str:
    """The line for people about a bad step.

    Args:
        decision: what happens.
        bad: the step.
        where: the work directory.
        images: what is known about its images.
        record: how to look at the step again.
        skipped: bad steps of the run so far, this one included.
    """
    what = f"{where}: {bad.reason} at step {bad.step + 1}, {images}"
    lower = f"lower optim.lr (now {bad.lr:g})"
    if decision is Decision.STOP:
        resume = "resume with train.on_divergence=skip or rollback"
        return f"{what}; {record}; {lower} or raise optim.warmup_steps and start with another --work-dir, or {resume}"
    if decision is Decision.CANNOT_SKIP:
        return f"{what}; {record}; a step without a loss cannot be skipped: resume with train.on_divergence=rollback"
    if decision is Decision.TOO_MANY_SKIPS:
        return f"{what}; {SKIPS_IN_A_ROW} steps in a row were skipped before it; {record}; {lower} and start with another --work-dir"
    if decision is Decision.TOO_MANY_ROLLBACKS:
        return f"{what}; {ROLLBACKS_IN_A_ROW} rollbacks did not help; {record}; {lower} and start with another --work-dir"
    if decision is Decision.SKIP:
        return f"{what}; skipped ({skipped} so far); {record}"
    return f"{what}; rolled back to the last checkpoint; {record}"


@dataclass(frozen=True)
class Counts:
    """Counts of the policy, which checkpoints hold as variables of the sentinel."""

    skipped: int
    in_a_row: int
    data_offset: int


class DivergencePolicy:
    """Applies `decide` and keeps its counts.

    Args:
        policy: "stop", "skip" or "rollback".
        sentinel: of the run; holds the counts, so that a run that is resumed decides as one that was not interrupted.
    """

    def __init__(self, policy: str, sentinel: Sentinel):
        self.policy, self.sentinel = policy, sentinel
        self._counts_skips = policy == "skip"  # whether the count of skips in a row may be above 0; reading it waits for a GPU

    @property
    def counts(self) -> Counts:
        """The counts of the moment."""
        variables = self.sentinel.left_out, self.sentinel.in_a_row, self.sentinel.data_offset
        return Counts(*(int(variable.numpy()) for variable in variables))

    def decide(self, bad: BadStep) -> Decision:
        """What to do about `bad`, which is counted if the run continues."""
        counts = self.counts
        decision = decide(self.policy, in_a_row=counts.in_a_row + 1, was_computed=bad.metrics is not None)
        if not decision.ends_run:
            self._counts_skips = self.policy == "skip"
            self.sentinel.in_a_row.assign(counts.in_a_row + 1)
            self.sentinel.left_out.assign(counts.skipped + 1)
        if decision is Decision.SKIP:
            self.sentinel.release()
        return decision

    def after_good_steps(self) -> None:
        """A good step resets the count of skips in a row."""
        if self._counts_skips:
            self.sentinel.in_a_row.assign(0)
            self._counts_skips = False

    def before_checkpoint(self) -> None:
        """A new checkpoint resets the count of rollbacks."""
        if self.policy == "rollback":
            self.sentinel.in_a_row.assign(0)

    def after_rollback(self, counts: Counts, bad_step: int, checkpoint_step: int) -> None:
        """Sets `counts`, taken before the checkpoint of `checkpoint_step` was restored, and moves on to other data."""
        self.sentinel.left_out.assign(counts.skipped)
        self.sentinel.in_a_row.assign(counts.in_a_row)
        self.sentinel.data_offset.assign(rollback_offset(counts.data_offset, bad_step, checkpoint_step))
