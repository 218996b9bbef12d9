"""The reference's SGD by hand, and its rules for biases."""

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.training.sgd import ReferenceSGD, parameter_rule


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
    rule = parameter_rule(name, weight_decay=4e-4, bias_lr_multiplier=2.0, bias_weight_decay=0.0)
    assert rule == expected


def _one_parameter(value=1.0, **settings):
    parameter = tf.Variable([value])
    return parameter, ReferenceSGD({"w.weight": parameter}, **{"momentum": 0.5, "weight_decay": 0.0, **settings})


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
