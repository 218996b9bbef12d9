"""The moving average by hand."""

import numpy as np
import tensorflow as tf

from ttfnet_tf.runs.moving_average import MovingAverage


def test_moving_average_follows_with_a_increasing_decay():
    parameter = tf.Variable([0.0])
    average = MovingAverage({"w.weight": parameter}, 0.5)
    average.reset()
    parameter.assign([1.0])
    average.update(tf.constant(0, tf.int64))  # decay min(.5, 1/10): 0.1 * 0 + 0.9 * 1
    np.testing.assert_allclose(next(iter(average.averages.values())), [0.9], rtol=1e-6)
    parameter.assign([2.0])
    average.update(tf.constant(90, tf.int64))  # decay min(.5, .91): 0.5 * 0.9 + 0.5 * 2
    np.testing.assert_allclose(next(iter(average.averages.values())), [1.45], rtol=1e-6)
