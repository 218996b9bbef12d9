"""A ReLU that gradients can bring back from 0.

Below 0 a ReLU has no gradient, so an output that one bad step pushed below 0 everywhere never returns. Here a gradient passes below 0
where a step against it raises the input, and only there: outputs are a ReLU's, and so are gradients above 0.
"""

from __future__ import annotations

import tensorflow as tf

from ttfnet_tf.keras2 import keras


class RecoveringReLU(keras.layers.Layer):
    """max(x, 0) of any shape. With `training=False` the graph holds a plain ReLU."""

    def call(self, inputs, training=None):
        if training is None:
            training = keras.backend.learning_phase()
        return _recovering_relu(inputs) if training is True else tf.nn.relu(inputs)

    def compute_output_shape(self, input_shape):
        return input_shape


@tf.custom_gradient
def _recovering_relu(x):
    def gradient(grad):
        return tf.where((x > 0) | (grad < 0), grad, tf.zeros_like(grad))

    return tf.nn.relu(x), gradient
