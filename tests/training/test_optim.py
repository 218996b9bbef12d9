import math

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.runs.moving_average import MovingAverage
from ttfnet_tf.training import optim


def _lr(step, **changes):
    settings = {"base_lr": 1.0, "steps_per_epoch": 10, "epochs": 4, **changes}
    return optim.learning_rate(step, **settings)


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


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("backbone.layer2.0.conv1.weight", (1.0, 4e-4)),
        ("backbone.layer2.0.bn1.weight", (1.0, 4e-4)),
        ("backbone.layer2.0.bn1.bias", (1.0, 4e-4)),  # named BN: no bias rule, and decayed
        ("backbone.layer2.0.downsample.1.bias", (2.0, 0.0)),  # unnamed BN: an ordinary bias to the pattern
        ("bbox_head.deconv_layers.0.1.bias", (2.0, 0.0)),
        ("bbox_head.hm.0.conv.bias", (2.0, 0.0)),
        ("bbox_head.deconv_layers.0.0.conv_offset_mask.bias", (2.0, 0.0)),
    ],
)
def test_rule_by_name(name, expected):
    rule = optim.parameter_rule(name, weight_decay=4e-4, bias_lr_multiplier=2.0, bias_weight_decay=0.0)
    assert rule == expected


def _one_parameter(value=1.0, **settings):
    parameter = tf.Variable([value])
    return parameter, optim.ReferenceSGD({"w.weight": parameter}, **{"momentum": 0.5, "weight_decay": 0.0, **settings})


def test_learning_rate_stands_outside_the_buffer():
    parameter, optimizer = _one_parameter()
    optimizer.update([tf.constant([1.0])], tf.constant(0.1), tf.constant(1.0))  # v = 1, p = 1 - 0.1
    optimizer.update([tf.constant([0.0])], tf.constant(0.2), tf.constant(1.0))  # v = 0.5, p = 0.9 - 0.2 * 0.5
    np.testing.assert_allclose(parameter, [0.8], rtol=1e-6)  # Keras' form would give 0.9 - 0.5 * 0.1 = 0.85


def test_weight_decay_joins_the_clipped_gradient():
    parameter, optimizer = _one_parameter(2.0, weight_decay=0.5)
    optimizer.update([tf.constant([4.0])], tf.constant(0.1), tf.constant(0.25))  # g = 4 / 4 + 0.5 * 2 = 2
    np.testing.assert_allclose(parameter, [1.8], rtol=1e-6)


def test_step_with_overflow_changes_nothing():
    parameter, optimizer = _one_parameter(2.0, weight_decay=0.5)
    optimizer.update([tf.constant([1.0])], tf.constant(0.1), tf.constant(1.0), tf.constant(True))
    before = parameter.numpy(), [buffer.numpy() for buffer in optimizer.buffers.values()]
    optimizer.update([tf.constant([np.inf])], tf.constant(0.1), tf.constant(1.0), tf.constant(False))
    np.testing.assert_array_equal(parameter, before[0])
    np.testing.assert_array_equal(list(optimizer.buffers.values()), before[1])


@pytest.mark.parametrize(("norm", "limit", "expected"), [(70.0, 35.0, 0.5), (10.0, 35.0, 1.0), (70.0, 0.0, 1.0)])
def test_clip_scale(norm, limit, expected):
    np.testing.assert_allclose(optim.clip_scale(tf.constant(norm), limit), expected, rtol=1e-6)


def test_moving_average_follows_with_a_rising_decay():
    parameter = tf.Variable([0.0])
    average = MovingAverage({"w.weight": parameter}, 0.5)
    average.reset()
    parameter.assign([1.0])
    average.update(tf.constant(0, tf.int64))  # decay min(.5, 1/10): 0.1 * 0 + 0.9 * 1
    np.testing.assert_allclose(next(iter(average.averages.values())), [0.9], rtol=1e-6)
    parameter.assign([2.0])
    average.update(tf.constant(90, tf.int64))  # decay min(.5, .91): 0.5 * 0.9 + 0.5 * 2
    np.testing.assert_allclose(next(iter(average.averages.values())), [1.45], rtol=1e-6)


def test_loss_scale_halves_at_an_overflow_and_doubles_after_good_steps():
    scale = optim.LossScale(initial=8.0, growth_steps=2)
    seen = []
    for finite in (True, True, False, True, False, True, True):
        scale.update(tf.constant(finite))
        seen.append(float(scale.value))
    assert seen == [8, 16, 8, 8, 4, 4, 8]


def test_loss_scale_stays_at_one_or_above():
    scale = optim.LossScale(initial=1.0)
    scale.update(tf.constant(False))
    assert float(scale.value) == 1.0
