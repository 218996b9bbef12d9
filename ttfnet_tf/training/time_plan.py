"""How many steps a time has room for: planned before the first step, and again until the end, so that the schedule ends with the time.

Pure; `time_budget` measures and asks.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from ttfnet_tf.training.schedule import Trapezoid

WARMUP = 0.2  # of the run, at most
MAX_BENDS = 24  # of the cooldown: a checkpoint has room for so many


@dataclass(frozen=True)
class TimePlan:
    """The schedule of a run that has so much time."""

    trapezoid: Trapezoid
    warmup_steps: int


def first_plan(seconds: float, *, step_seconds: float, cooldown: float, warmup_steps: int) -> TimePlan:
    """The plan before the first step.

    Args:
        seconds: for steps, without what comes after them.
        step_seconds: of one step.
        cooldown: fraction of the steps, 0..1.
        warmup_steps: at most; a fifth of the run is the other limit.
    """
    total = max(int(seconds / step_seconds), 1)
    return TimePlan(Trapezoid.of(total, cooldown), min(warmup_steps, int(WARMUP * total)))


def plan_again(plan: TimePlan, step: int, seconds: float, *, step_seconds: float, cooldown: float, slack: float) -> TimePlan:
    """The plan with its end where the time ends.

    Before the cooldown everything after `step` may change. In the cooldown the rate goes on from where it is, to 0 at the new end, and
    small differences change nothing.

    Args:
        plan: so far.
        step: steps done.
        seconds: left for steps.
        step_seconds: of one step now.
        cooldown: fraction of the steps, 0..1.
        slack: seconds by which a cooldown may end early or late.
    """
    old = plan.trapezoid
    total = step + max(int(seconds / step_seconds), 1)
    if step < old.cooldown_step:
        new = Trapezoid.of(total, cooldown)
        return dataclasses.replace(plan, trapezoid=new if new.cooldown_step >= step else Trapezoid(total, ((step, 1.0),)))
    if step >= old.total_steps or abs(total - old.total_steps) * step_seconds <= slack or len(old.bends) >= MAX_BENDS:
        return plan
    if step == old.cooldown_step:
        return dataclasses.replace(plan, trapezoid=Trapezoid(total, ((step, 1.0),)))
    return dataclasses.replace(plan, trapezoid=Trapezoid(total, (*old.bends, (step, old.fraction(step)))))
