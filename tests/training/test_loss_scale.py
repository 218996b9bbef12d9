"""The loss scale, step by step."""

import tensorflow as tf

from ttfnet_tf.training.loss_scale import LossScale


def test_loss_scale_halves_at_an_overflow_and_doubles_after_good_steps():
    scale = LossScale(initial=8.0, growth_steps=2)
    seen = []
    for finite in (True, True, False, True, False, True, True):
        scale.update(tf.constant(finite))
        seen.append(float(scale.value))
    assert seen == [8, 16, 8, 8, 4, 4, 8]


def test_loss_scale_stays_at_one_or_above():
    scale = LossScale(initial=1.0)
    scale.update(tf.constant(False))
    assert float(scale.value) == 1.0
