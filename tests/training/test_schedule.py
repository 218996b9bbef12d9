"""Learning rates by hand."""

import math

import numpy as np
import pytest

from ttfnet_tf.training.schedule import Trapezoid, learning_rate


def _lr(step, **changes):
    settings = {"base_lr": 1.0, "steps_per_epoch": 10, "epochs": 4, **changes}
    return learning_rate(step, **settings)


def test_cosine_schedule_by_hand():
    assert _lr(0, schedule="cosine") == 1.0
    assert _lr(20, schedule="cosine") == pytest.approx(0.5)  # half of 40 steps: cos(pi / 2) = 0
    assert _lr(10, schedule="cosine") == pytest.approx(0.5 * (1 + math.sqrt(0.5)))
    assert _lr(40, schedule="cosine") == pytest.approx(0.0)


def test_drops_count_from_the_first_step_of_their_epoch():
    rates = [_lr(step, drop_epochs=[2, 3]) for step in (19, 20, 29, 30)]
    np.testing.assert_allclose(rates, [1, 0.1, 0.1, 0.01])


def test_drop_in_the_middle_of_an_epoch():
    np.testing.assert_allclose([_lr(14, drop_epochs=[1.5]), _lr(15, drop_epochs=[1.5])], [1, 0.1])


def test_unknown_schedule_is_refused():
    for name in ("linear", "trapezoid"):  # the latter without its form
        with pytest.raises(ValueError, match=f"must be 'step', 'cosine', or 'trapezoid' with its form, received '{name}'"):
            _lr(0, schedule=name)


def test_a_trapezoid_by_hand():
    """40 steps, the last quarter of which goes from 1 to 0."""
    form = Trapezoid.of(40, 0.25)
    rates = [_lr(step, schedule="trapezoid", trapezoid=form, warmup_steps=4, warmup_ratio=0.2) for step in (0, 1, 4, 30, 31, 35, 39)]
    np.testing.assert_allclose(rates, [0.2, 0.4, 1, 1, 0.9, 0.5, 0.1])
    assert form.fraction(40) == 0.0


def test_a_trapezoid_that_bends_by_hand():
    """From 1 at step 30 to 0.5 at step 35, and from there to 0 at step 45."""
    form = Trapezoid.of(45, 1 / 3, [35, 0.5])
    np.testing.assert_allclose([form.fraction(step) for step in (29, 30, 32, 35, 37, 44)], [1, 1, 0.8, 0.5, 0.4, 0.05])


def test_a_trapezoid_of_one_step():
    assert Trapezoid.of(1, 0.3).fraction(0) == 1.0
