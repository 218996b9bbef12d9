"""Plans by hand, and a simulated run on a machine whose speed changes."""

import os

import numpy as np
import pytest

from ttfnet_tf.config import dump_config, load_config
from ttfnet_tf.training.build import without_clock
from ttfnet_tf.training.schedule import Trapezoid
from ttfnet_tf.training.time_budget import RunTime, TimeBudget
from ttfnet_tf.training.time_plan import TimePlan, first_plan, plan_again


def _again(plan, step, seconds, step_seconds=0.5, slack=5.0):
    return plan_again(plan, step, seconds, step_seconds=step_seconds, cooldown=0.2, slack=slack)


def test_the_first_plan():
    """100 s are 200 steps of half a second; a fifth cools down, a fifth at most warms up."""
    assert first_plan(100, step_seconds=0.5, cooldown=0.2, warmup_steps=500) == TimePlan(Trapezoid(200, ((160, 1.0),)), 40)
    assert first_plan(100, step_seconds=0.5, cooldown=0.2, warmup_steps=7).warmup_steps == 7
    assert first_plan(-3, step_seconds=0.5, cooldown=0.2, warmup_steps=7) == TimePlan(Trapezoid(1, ((0, 1.0),)), 0)


def test_everything_moves_before_the_cooldown():
    plan = TimePlan(Trapezoid(200, ((160, 1.0),)), 20)
    assert _again(plan, 100, 25) == TimePlan(Trapezoid(150, ((120, 1.0),)), 20)
    assert _again(plan, 100, 100) == TimePlan(Trapezoid(300, ((240, 1.0),)), 20)


def test_a_cooldown_that_should_have_begun_begins_now():
    """10 steps are left: the cooldown of 110 steps would begin at 88."""
    assert _again(TimePlan(Trapezoid(200, ((160, 1.0),)), 20), 100, 5).trapezoid == Trapezoid(110, ((100, 1.0),))


def test_a_cooldown_goes_on_from_where_it_is():
    """Halfway down, 10 s are left, which are 20 steps for the second half in place of 20 s."""
    plan = TimePlan(Trapezoid(200, ((120, 1.0),)), 20)
    new = _again(plan, 160, 10).trapezoid
    assert new == Trapezoid(180, ((120, 1.0), (160, 0.5)))
    assert new.fraction(170) == pytest.approx(0.25)


def test_small_differences_change_no_cooldown():
    plan = TimePlan(Trapezoid(200, ((120, 1.0),)), 20)
    assert _again(plan, 160, 16) is plan
    assert _again(plan, 200, 16) is plan  # at the end


class Clock:
    """Time that passes when the simulated machine works."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


def _run(seconds, speed, *, kill_at=None, evaluation=6.0, end=8.0, load=4.0):
    """Simulates a run; returns (seconds of work, steps, plan, rates of the steps).

    Args:
        speed: step -> seconds of that step.
        kill_at: step at which the process is killed, to start again from the last checkpoint, 12 s of start-up included.
    """
    clock, work, rates = Clock(), 0.0, {}

    def start(used):
        clock.now += 500  # nobody counts the time between two processes
        begun = clock.now
        clock.now += 12
        budget = TimeBudget(seconds, cooldown=0.3, warmup_steps=100, run_time=RunTime(begun, 2.0), clock=clock)
        if used is not None:
            budget.variable.assign(used)
            budget.from_variable()
        return budget, begun

    def trial():
        clock.now += load if len(calls) == 0 else speed(0)
        calls.append(1)

    calls = []
    budget, begun = start(None)
    budget.measure(trial, lambda: False, lambda: 4.0)
    budget.paused(0)
    step, saved, epochs = 0, (0, budget.variable.numpy()), 25
    while step < budget.plan.trapezoid.total_steps:
        rates[step] = budget.plan.trapezoid.fraction(step)
        clock.now += speed(step)
        step += 1
        budget.after(step)
        total = budget.plan.trapezoid.total_steps
        if (step % epochs == 0 or step == total) and budget.evaluates_at(step):
            clock.now += evaluation
            budget.evaluated(evaluation)
            budget.paused(step)
        if (step % 10 == 0 or step == total) and budget.saves_at(step):
            clock.now += 0.3
            budget.to_variable()
            saved = step, budget.variable.numpy()
        if step == kill_at:
            work += clock.now - begun
            kill_at, calls = None, []
            step, (budget, begun) = saved[0], start(saved[1])
            budget.measure(trial, lambda: False, lambda: 4.0)
            budget.paused(step)
    clock.now += end
    return work + clock.now - begun, step, budget.plan, rates


@pytest.mark.parametrize(
    "speed",
    [
        lambda step: 0.5,
        lambda step: 0.5 if step < 100 else 1.1,  # another process has begun
        lambda step: 1.5 if step < 60 else 0.4,
        lambda step: 0.5 if step < 450 else 1.5,  # in the cooldown
        lambda step: 0.5 if step < 480 else 0.2,
        lambda step: 0.3 + 0.4 * (step % 7 == 0),
        lambda step: 20.0 if step in (3, 150, 400) else 0.5,  # moments in which the machine stands still
    ],
)
def test_the_time_is_kept_whatever_the_machine_does(speed):
    seconds, steps, plan, rates = _run(360, speed)
    assert 0.93 * 360 < seconds < 1.04 * 360
    assert steps == plan.trapezoid.total_steps
    assert rates[steps - 1] < 0.1
    down = [rates[step] for step in range(plan.trapezoid.cooldown_step, steps)]
    assert len(down) > 0.15 * steps
    assert down == sorted(down, reverse=True)


def test_a_long_compilation_is_no_long_step():
    """In a minute, compilation takes 20 s and a step half a second: 39 s less 4 * 1.3 + 0.6 s for the evaluation and 10 s for the end."""
    clock = Clock()
    budget = TimeBudget(60, cooldown=0.3, warmup_steps=100, run_time=RunTime(clock.now), clock=clock)
    times = iter([20.0, 0.5])

    def trial():
        clock.now += next(times)

    budget.measure(trial, lambda: True, lambda: 4.0)
    assert budget.plan.trapezoid.total_steps == int((60 - 20.5 - (1.3 * 4 + 0.6) - 0.5 * 20) / 0.5)


@pytest.mark.parametrize("kill_at", [60, 300, 470])
def test_a_run_that_was_killed_keeps_its_time(kill_at):
    seconds, _, plan, rates = _run(360, lambda step: 0.5, kill_at=kill_at)
    assert 0.93 * 360 < seconds < 1.08 * 360
    assert rates[plan.trapezoid.total_steps - 1] < 0.1


def test_the_plan_holds_every_rate_that_was_used():
    """So that the settings without a clock repeat the run."""
    _, steps, plan, rates = _run(360, lambda step: 0.5 if step < 450 else 1.5)
    assert len(plan.trapezoid.bends) > 1
    np.testing.assert_allclose([plan.trapezoid.fraction(step) for step in range(steps)], [rates[step] for step in range(steps)], rtol=1e-12)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 9, 100])
@pytest.mark.parametrize("evaluated", [0, 3])
def test_the_settings_without_a_clock_can_be_read_again(tmp_path, steps, evaluated):
    """Plans of so few steps that there is no warm-up too, and one that was made again after some steps."""
    config = load_config(os.devnull, ["optim.schedule=trapezoid", "optim.warmup_ratio=0.02", "train.minutes=1"])
    plan = first_plan(steps, step_seconds=1.0, cooldown=0.3, warmup_steps=150)
    if evaluated:
        plan = plan_again(plan, min(evaluated, steps - 1), 1.0, step_seconds=1.0, cooldown=0.3, slack=0.0)
    file = tmp_path / "repeat.yaml"
    file.write_text(dump_config(without_clock(config, plan)))
    again = load_config(file)
    assert (again.train.steps, again.optim.warmup_steps) == (plan.trapezoid.total_steps, min(150, steps // 5))
    assert Trapezoid.of(again.train.steps, again.optim.cooldown, again.optim.cooldown_bends) == plan.trapezoid
