"""The rule that finds bad steps, and what the host makes of its findings."""

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.runs.moving_average import MovingAverage
from ttfnet_tf.training.divergence import go_back_offset
from ttfnet_tf.training.optim import LossScale, ReferenceSGD
from ttfnet_tf.training.optimizers import RuleGroups
from ttfnet_tf.training.replay import same_figures, suspects
from ttfnet_tf.training.sentinel import Sentinel, SideWatch, first_bad, is_not_finite

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
    assert first_bad({"proceed": tf.constant(verdicts)}) == bad


def test_it_goes_on_once_released_with_the_mean_of_the_good_steps():
    sentinel = Sentinel(explode_factor=10.0)
    _judge(sentinel, (10.0, 1.0), (NAN, 1.0), (5.0, 1.0))
    assert float(sentinel.mean) == 10.0
    sentinel.release()
    assert _judge(sentinel, (99.0, 1.0)) == [True]


def test_without_a_factor_only_what_is_not_finite_is_bad():
    assert _judge(Sentinel(), (1.0, 1.0), (1e30, 1e30), (NAN, 1.0)) == [True, True, False]


def test_a_loss_scale_that_can_fall_answers_for_the_gradient_but_not_for_the_loss():
    assert _judge(Sentinel(), (1.0, INF), (1.0, NAN), forgives=tf.constant(True)) == [True, True]
    assert _judge(Sentinel(), (NAN, INF), forgives=tf.constant(True)) == [False]
    assert _judge(Sentinel(), (1.0, INF), forgives=tf.constant(False)) == [False]


@pytest.mark.parametrize(
    ("gradient", "box_loss", "bits"),
    [
        ([0.1, 0.2, -0.3, 0.4], 2.0, 0),
        ([0.0, 0.2, -0.3, 0.4], 2.0, 1),
        ([0.1, 0.0, -0.3, 0.0], 2.0, 2 + 8),
        ([0.0, 0.0, 0.0, 0.0], 0.0, 0),  # no boxes in the batch
        ([0.0, 0.2, 0.0, 0.4, 0.0, 0.0, 0.7, 0.4], 2.0, 1),  # two classes with boxes of their own: idle in both
    ],
)
def test_idle_sides(gradient, box_loss, bits):
    other = tf.zeros([3])
    assert float(Sentinel(side_bias=1).idle_sides([other, tf.constant(gradient)], tf.constant(box_loss))) == bits


def test_heads_without_a_relu_have_no_idle_sides():
    assert float(Sentinel().idle_sides([tf.zeros([4])], None)) == 0


def test_a_dead_side_is_told_once_after_some_steps_in_a_row():
    watch = SideWatch(patience=3)
    assert watch.look([1.0, 1.0]) is None
    assert watch.look([0.0, 1.0, 1.0]) is None
    line = watch.look([1.0 + 4.0])
    assert line.startswith("the box head is dead at the left of boxes: no gradient for 3 steps")
    assert "\n" not in line
    assert watch.look([1.0 + 4.0]) is None
    assert "dead at the right of boxes" in watch.look([4.0])


def test_data_after_a_return_are_those_behind_the_bad_step():
    # Checkpoint before step 30; steps 30 to 36 took the batches 30 to 36, the last of them bad.
    assert go_back_offset(0, 36, 30) == 7
    # Batches 37, 38 and 39 next, of which 39 is bad, in step 32.
    assert go_back_offset(7, 32, 30) == 10


# A step that is left out keeps every bit.


def _named():
    return {"a.weight": tf.Variable([1.0, -2.0]), "b.bias": tf.Variable([0.5])}


@pytest.mark.parametrize("name", ["sgd", "adam", "sgdw"])
def test_a_step_that_is_left_out_changes_no_parameter_and_no_state(name):
    def gradients(value):
        return [tf.constant([value, 1.0]), tf.constant([value])]

    def run(*steps):
        named = _named()
        optimizer = ReferenceSGD(named) if name == "sgd" else RuleGroups(named, name, weight_decay=0.1)

        @tf.function
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


# Reading a record.


def _found(loss=2.0, norm=3.0, images=(1.0, 1.0)):
    return {
        "losses": {"loss": loss},
        "gradient_norm": norm,
        "images": [{"image_id": 7 + index, "loss": value} for index, value in enumerate(images)],
        "layers": [],
    }


def test_images_with_a_loss_of_their_own_that_is_not_finite_are_suspects_unless_all_are():
    assert suspects(_found(images=(1.0, NAN, 2.0, INF))) == [8, 10]
    assert suspects(_found(images=(NAN, NAN))) == []
    assert suspects({"error": "x", "images": [], "layers": []}) == []


def test_same_figures():
    assert same_figures(_found(NAN, INF), _found(NAN, INF))
    assert same_figures(_found(2.0), _found(2.0001))
    assert not same_figures(_found(2.0), _found(2.001))
    assert not same_figures(_found(NAN), _found(2.0))
    assert not same_figures(_found(), {"error": "x"})
    assert same_figures({"error": "x"}, {"error": "x"})


def test_the_error_of_offsets_that_are_not_finite_is_known():
    """The words are TensorFlow's."""
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        tf.image.crop_and_resize(tf.zeros([1, 4, 4, 1]), [[NAN, 0.0, 1.0, 1.0]], [0], [1, 1])
    assert is_not_finite(raised.value)
    assert not is_not_finite(tf.errors.InvalidArgumentError(None, None, "another"))
