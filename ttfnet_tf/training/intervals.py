"""When a run logs, evaluates and saves, counted in steps."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Intervals:
    """Steps of a run. "Step s" here means that s steps are done."""

    steps_per_epoch: int
    epochs: int
    steps_per_call: int = 1  # of the compiled function, at most
    log_every: int = 10  # steps
    evaluate_every: int = 1  # epochs; 0 is never
    checkpoint_every: int = 1  # epochs
    steps: int = 0  # of the run, in place of `epochs`; 0 is off

    @property
    def total_steps(self) -> int:
        return self.steps or self.epochs * self.steps_per_epoch

    def epoch(self, step: int) -> float:
        return step / self.steps_per_epoch

    def steps_in_call(self, step: int) -> int:
        """Steps of the next call: a call does not run past a log line."""
        line = min((step // size + 1) * size for size in (self.log_every, self.steps_per_epoch))
        return min(self.steps_per_call, line - step, max(self.total_steps - step, 1))

    def is_line(self, step: int) -> bool:
        """Whether a line is logged: every `log_every` steps and at the end of each epoch."""
        return step % self.log_every == 0 or self.is_epoch_end(step)

    def is_epoch_end(self, step: int) -> bool:
        """Whether an epoch ends at `step`, or the run in the middle of one."""
        return step % self.steps_per_epoch == 0 or step == self.total_steps

    def is_evaluation(self, step: int) -> bool:
        """Whether the end of the epoch at `step` has an evaluation; the last one has, if any has."""
        if not self.evaluate_every or not self.is_epoch_end(step):
            return False
        return step // self.steps_per_epoch % self.evaluate_every == 0 or step >= self.total_steps

    def is_checkpoint(self, step: int) -> bool:
        """Whether the end of the epoch at `step` has a checkpoint; the last one has."""
        if not self.is_epoch_end(step):
            return False
        return step // self.steps_per_epoch % self.checkpoint_every == 0 or step >= self.total_steps
