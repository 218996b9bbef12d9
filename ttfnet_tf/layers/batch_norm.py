"""Batch normalisation with PyTorch's constants, per replica or over all replicas.

PyTorch's momentum 0.1 is 0.9 in Keras. The running variance is updated with the unbiased variance of the batch (n - 1), the
normalisation uses the biased one (n); Keras' fused operation does the same.
"""

from __future__ import annotations

import tensorflow as tf

from ttfnet_tf.keras2 import keras

EPSILON = 1e-5
MOMENTUM = 0.9


def batch_norm(name: str, *, synchronized: bool = False, gamma_initializer="ones") -> keras.layers.Layer:
    """The normalisation layer that follows a convolution.

    Args:
        name: of the layer.
        synchronized: whether statistics cover the batches of all replicas instead of this replica's.
        gamma_initializer: of the scale; "zeros" for the last one of a residual branch.

    Returns:
        A layer with `gamma`, `beta`, `moving_mean` and `moving_variance`; with `trainable = False` it uses the running statistics.
    """
    layer = SyncBatchNormalization if synchronized else keras.layers.BatchNormalization
    return layer(epsilon=EPSILON, momentum=MOMENTUM, gamma_initializer=gamma_initializer, name=name)


class SyncBatchNormalization(keras.layers.Layer):
    """Batch normalisation whose statistics cover all replicas of the current strategy; without one, the batch.

    Input and output: [..., C]. Statistics are float32 also under mixed precision. With `trainable = False` or
    `training=False` the running statistics are used and do not change.

    Args:
        momentum: fraction of the old running statistics that an update keeps.
        epsilon: added to the variance.
        gamma_initializer: of the scale.
    """

    def __init__(self, momentum: float = MOMENTUM, epsilon: float = EPSILON, gamma_initializer="ones", **kwargs):
        super().__init__(**kwargs)
        self.momentum = momentum
        self.epsilon = epsilon
        self.gamma_initializer = keras.initializers.get(gamma_initializer)

    def build(self, input_shape):
        shape = (input_shape[-1],)
        running = {
            "shape": shape,
            "dtype": tf.float32,
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            "aggregation": tf.VariableAggregation.MEAN,
            "experimental_autocast": False,
        }
        self.gamma = self.add_weight(
            name="gamma", shape=shape, dtype=tf.float32, initializer=self.gamma_initializer, experimental_autocast=False
        )
        self.beta = self.add_weight(name="beta", shape=shape, dtype=tf.float32, initializer="zeros", experimental_autocast=False)
        self.moving_mean = self.add_weight(name="moving_mean", initializer="zeros", **running)
        self.moving_variance = self.add_weight(name="moving_variance", initializer="ones", **running)
        super().build(input_shape)

    def call(self, inputs, training=None):
        if training is None:
            training = keras.backend.learning_phase()
        if not self.trainable:
            training = False
        x = tf.cast(inputs, tf.float32)
        if isinstance(training, (bool, int)):
            mean, variance = self._batch_statistics(x) if training else self._running_statistics()
        else:
            mean, variance = tf.cond(tf.cast(training, tf.bool), lambda: self._batch_statistics(x), self._running_statistics)
        scale = self.gamma * tf.math.rsqrt(variance + self.epsilon)
        return tf.cast(x * scale + (self.beta - mean * scale), self.compute_dtype)

    def _running_statistics(self):
        return tf.identity(self.moving_mean), tf.identity(self.moving_variance)

    def _batch_statistics(self, x):
        # Sums of x - running mean: its square loses fewer digits than that of x. One reduction for all three sums.
        shift = tf.identity(self.moving_mean)
        centred = tf.reshape(x - shift, [-1, x.shape[-1]])
        count = tf.cast(tf.shape(centred)[0], tf.float32)
        sums = tf.concat([tf.reduce_sum(centred, 0), tf.reduce_sum(tf.square(centred), 0), count[None]], axis=0)
        replica = tf.distribute.get_replica_context()
        if replica is not None and replica.num_replicas_in_sync > 1:  # None while a model is built under a strategy
            sums = replica.all_reduce(tf.distribute.ReduceOp.SUM, sums)
        total, total_square, count = tf.split(sums, [x.shape[-1], x.shape[-1], 1])
        offset = total / count
        mean, variance = shift + offset, tf.maximum(total_square / count - tf.square(offset), 0.0)
        unbiased = variance * count / tf.maximum(count - 1.0, 1.0)
        self.moving_mean.assign(self.moving_mean * self.momentum + mean * (1.0 - self.momentum))
        self.moving_variance.assign(self.moving_variance * self.momentum + unbiased * (1.0 - self.momentum))
        return mean, variance

    def get_config(self):
        config = super().get_config()
        config.update(momentum=self.momentum, epsilon=self.epsilon, gamma_initializer=keras.initializers.serialize(self.gamma_initializer))
        return config

    def compute_output_shape(self, input_shape):
        return input_shape
