"""The loss scale of float16 training, which keeps small gradients from becoming 0."""

from __future__ import annotations

import tensorflow as tf

LEAST_SCALE = 1.0  # the scale is never halved below it


class LossScale(tf.Module):
    """Dynamic loss scale: halved at an overflow, doubled after `growth_steps` steps in a row without one.

    The names of its variables are keys in checkpoints.
    """

    def __init__(self, initial: float = 2.0**15, growth_steps: int = 2000):
        super().__init__(name="loss_scale")
        self.growth_steps = growth_steps
        options = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self.value = tf.Variable(initial, dtype=tf.float32, name="loss_scale", **options)
        self.good_steps = tf.Variable(0, dtype=tf.int64, name="good_steps", **options)

    def update(self, finite: tf.Tensor, proceed: tf.Tensor | None = None) -> None:
        """Adjusts the scale after a step.

        Args:
            finite: [] bool, whether the gradients of the step were finite.
            proceed: [] bool; where False nothing changes.
        """
        good_steps = tf.where(finite, self.good_steps + 1, 0)
        grow = good_steps >= self.growth_steps
        value = tf.where(finite, tf.where(grow, 2.0 * self.value, self.value), tf.maximum(0.5 * self.value, LEAST_SCALE))
        good_steps = tf.where(grow, tf.zeros_like(good_steps), good_steps)
        if proceed is not None:
            value, good_steps = tf.where(proceed, value, self.value), tf.where(proceed, good_steps, self.good_steps)
        self.value.assign(value)
        self.good_steps.assign(good_steps)
