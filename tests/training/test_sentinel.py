"""The rule that finds bad steps; a step that is not applied keeps every bit."""

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.runs.moving_average import MovingAverage
from ttfnet_tf.training.loss_scale import LossScale
from ttfnet_tf.training.optimizers import RuleGroups
from ttfnet_tf.training.sentinel import Sentinel, first_bad, is_not_finite
from ttfnet_tf.training.sgd import ReferenceSGD

NAN, INF = float("nan"), float("inf")


def _judge(sentinel, *steps, **more):
    """Verdicts about (loss, gradient norm), one after the other."""
    return [
        bool(sentinel.judge(tf.constant(step, tf.int64), tf.constant(loss), tf.constant(norm), **more))
        for step, (loss, norm) in enumerate(steps)
    ]


@pytest.mark.parametrize(
    ("steps", "bad"),
    [
        ([(9.0, 1.0), (45.0, 4000.0), (2.0, 3.0)], None),  # the start of a healthy run
        ([(9.0, 1.0), (NAN, 1.0), (9.0, 1.0)], 1),
        ([(INF, 1.0)], 0),
        ([(9.0, NAN)], 0),
        ([(9.0, 1.0), (9.0, INF)], 1),
        ([(9.0, 1.0), (90.0, 1.0)], None),  # ten times the mean is the limit
        ([(9.0, 1.0), (90.1, 1.0)], 1),
        # The mean is 0.98 x 10 + 0.02 x 5 = 9.9.
        ([(10.0, 1.0), (5.0, 1.0), (98.9, 1.0)], None),
        ([(10.0, 1.0), (5.0, 1.0), (99.1, 1.0)], 2),
    ],
)
def test_the_first_bad_step_is_found_and_all_after_it_stand_still(steps, bad):
    sentinel = Sentinel(explode_factor=10.0)
    verdicts = _judge(sentinel, *steps)
    assert verdicts == [bad is None or step < bad for step in range(len(steps))]
    assert int(sentinel.bad_step) == (-1 if bad is None else bad)
    assert int(sentinel.seen) == sum(verdicts)
    assert first_bad({"proceed": np.array(verdicts)}) == bad


def test_it_continues_once_released_with_the_mean_of_the_good_steps():
    sentinel = Sentinel(explode_factor=10.0)
    _judge(sentinel, (10.0, 1.0), (NAN, 1.0), (5.0, 1.0))
    assert float(sentinel.mean) == 10.0
    sentinel.release()
    assert _judge(sentinel, (99.0, 1.0)) == [True]


def test_without_a_factor_only_what_is_not_finite_is_bad():
    assert _judge(Sentinel(), (1.0, 1.0), (1e30, 1e30), (NAN, 1.0)) == [True, True, False]


def test_a_loss_scale_that_can_decrease_answers_for_the_gradient_but_not_for_the_loss():
    assert _judge(Sentinel(), (1.0, INF), (1.0, NAN), forgives=tf.constant(True)) == [True, True]
    assert _judge(Sentinel(), (NAN, INF), forgives=tf.constant(True)) == [False]
    assert _judge(Sentinel(), (1.0, INF), forgives=tf.constant(False)) == [False]


# A step that is not applied keeps every bit.


def _named():
    return {"a.weight": tf.Variable([1.0, -2.0]), "b.bias": tf.Variable([0.5])}


@pytest.mark.parametrize("name", ["sgd", "adam", "sgdw"])
def test_a_step_that_is_not_applied_changes_no_parameter_and_no_state(name):
    def gradients(value):
        return [tf.constant([value, 1.0]), tf.constant([value])]

    def run(*steps):
        named = _named()
        optimizer = ReferenceSGD(named) if name == "sgd" else RuleGroups(named, name, weight_decay=0.1)

        @tf.function(autograph=False)
        def update(first, second, proceed):
            optimizer.update([first, second], tf.constant(0.1), tf.constant(1.0), proceed)

        for value, proceed in steps:
            update(*gradients(value), tf.constant(proceed))
        return [variable.numpy() for variable in (*named.values(), *optimizer.variables)]

    for kept, expected in zip(run((0.3, True), (NAN, False), (INF, False), (0.7, True)), run((0.3, True), (0.7, True))):
        np.testing.assert_array_equal(kept, expected)


def test_average_and_loss_scale_stay_too():
    named = _named()
    average, scale = MovingAverage(named, 0.9), LossScale(initial=8.0, growth_steps=2)
    average.reset()
    named["a.weight"].assign([3.0, 3.0])
    for finite in (True, False):
        average.update(tf.constant(5, tf.int64), tf.constant(False))
        scale.update(tf.constant(finite), tf.constant(False))
    np.testing.assert_array_equal(average.averages["a/weight"], [1.0, -2.0])
    assert (float(scale.value), int(scale.good_steps)) == (8.0, 0)
    average.update(tf.constant(5, tf.int64), tf.constant(True))
    np.testing.assert_allclose(average.averages["a/weight"], [1 + 0.6 * 2, -2 + 0.6 * 5], rtol=1e-6)  # decay (1 + 5) / (10 + 5)


def test_the_error_of_offsets_that_are_not_finite_is_recognised():
    """The words are TensorFlow's."""
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        tf.image.crop_and_resize(tf.zeros([1, 4, 4, 1]), [[NAN, 0.0, 1.0, 1.0]], [0], [1, 1])
    assert is_not_finite(raised.value)
    assert not is_not_finite(tf.errors.InvalidArgumentError(None, None, "another"))
