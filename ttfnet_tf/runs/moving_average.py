"""The moving average of the weights, which evaluation and a finished run use in place of the weights."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from ttfnet_tf.models.parameters import tracked_name


class MovingAverage(tf.Module):
    """Exponential moving average of the trainable parameters.

    The decay increases as (1 + t) / (10 + t) until it reaches `decay`, so that early averages do not stick to the initial weights.
    Running statistics of normalisations are averages already and are not included. The names of its attributes are keys in checkpoints.

    Reference: `tf.train.ExponentialMovingAverage` with `num_updates`.
    """

    def __init__(self, parameters: Mapping[str, tf.Variable], decay: float):
        super().__init__(name="moving_average")
        self.parameters = list(parameters.values())
        self.decay = decay
        self.averages = {
            tracked_name(name): tf.Variable(tf.zeros(p.shape, p.dtype), trainable=False, name=f"average/{name}")
            for name, p in parameters.items()
        }

    def reset(self) -> None:
        """Sets the averages to the current parameters; call it once those are initialised or loaded."""
        for average, parameter in zip(self.averages.values(), self.parameters):
            average.assign(parameter)

    def copy_to(self, parameters: Mapping[str, tf.Variable]) -> None:
        """Writes the averages into `parameters`, which must be in the order of those the average was made with."""
        for average, parameter in zip(self.averages.values(), parameters.values()):
            parameter.assign(average)

    def update(self, step: tf.Tensor, proceed: tf.Tensor | None = None) -> None:
        """Moves the averages after training step `step` (int64, counted from 0), unless `proceed` ([] bool) is False; cross-replica
        context."""
        extended = tf.distribute.get_strategy().extended
        count = tf.cast(step, tf.float32)
        decay = tf.minimum(self.decay, (1.0 + count) / (10.0 + count))
        if proceed is not None:
            decay = tf.where(proceed, decay, 1.0)
        for average, parameter in zip(self.averages.values(), self.parameters):
            extended.update(average, _move_average, args=(parameter, decay))


def _move_average(average, parameter, decay):
    average.assign_add((1.0 - decay) * (parameter - average))
