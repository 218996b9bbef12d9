"""Learning rates by hand."""

import math

import numpy as np
import pytest

from ttfnet_tf.training.schedule import learning_rate


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
    with pytest.raises(ValueError, match="'step' or 'cosine', received 'linear'"):
        _lr(0, schedule="linear")
