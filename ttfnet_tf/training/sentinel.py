"""Finds bad steps inside the compiled function, before their update is applied.

A step is bad when its loss or its gradient norm is not finite, or when the loss is far above its running mean. A bad step changes no
parameter, and neither does any later step of the same call: training stands still until the host has looked. What happens then (stop,
skip, roll back) is decided in `divergence`.

The test costs a few operations on single numbers, because a gradient with a value that is not finite has a norm that is not finite. There
is no rule for large but finite gradients: healthy runs have single steps whose norm is a thousand times the usual one, and clipping is
there for them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

_DECAY = 0.98  # of the running mean of the loss, which thus looks back about 50 steps


class Sentinel(tf.Module):
    """State and rule of the test. Checkpoints hold its variables, because the next verdict depends on them; their names are keys there.

    Args:
        explode_factor: a loss above this many times its running mean is bad; 0 turns the rule off. The mean starts with the first loss,
            that of an untrained network.
    """

    def __init__(self, *, explode_factor: float = 0.0):
        super().__init__(name="sentinel")
        self.explode_factor = explode_factor

        def variable(value, dtype, name):
            return tf.Variable(value, trainable=False, dtype=dtype, name=name, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

        self.mean = variable(0.0, tf.float32, "mean_loss")
        self.seen = variable(0, tf.int64, "seen")  # losses in the mean
        self.bad_step = variable(-1, tf.int64, "bad_step")  # the first bad step that the host has not handled
        self.current_step = variable(-1, tf.int64, "current_step")  # for a step that ends in an error of TensorFlow
        # Written by the host, see `divergence.DivergencePolicy`.
        self.left_out = variable(0, tf.int64, "left_out")  # bad steps so far that did not end the run
        self.in_a_row = variable(0, tf.int64, "in_a_row")  # those since the last good step, or rollbacks to the same checkpoint
        self.data_offset = variable(0, tf.int64, "data_offset")  # step s takes batch s + data_offset of the data

    def begin(self, step: tf.Tensor) -> None:
        """Notes the step ([] int64, from 0) that is about to run."""
        self.current_step.assign(step)

    def judge(self, step: tf.Tensor, loss: tf.Tensor, gradient_norm: tf.Tensor, forgives: tf.Tensor | None = None) -> tf.Tensor:
        """[] bool: whether `step` may change anything.

        Args:
            step: [] int64 from 0.
            loss: [] float32 of the global batch.
            gradient_norm: [] float32, before clipping.
            forgives: [] bool, whether a gradient that is not finite may pass (a loss scale that can still decrease).
        """
        mean, seen, bad_step = tf.identity(self.mean), tf.identity(self.seen), tf.identity(self.bad_step)
        finite_gradient = tf.math.is_finite(gradient_norm)
        if forgives is not None:
            finite_gradient |= forgives
        good = tf.math.is_finite(loss) & finite_gradient
        if self.explode_factor:
            good &= tf.equal(seen, 0) | (loss <= self.explode_factor * mean)
        stands_still = bad_step >= 0
        proceed = good & ~stands_still
        moved = tf.where(tf.equal(seen, 0), loss, _DECAY * mean + (1.0 - _DECAY) * loss)
        self.mean.assign(tf.where(proceed, moved, mean))
        self.seen.assign(seen + tf.cast(proceed, tf.int64))
        self.bad_step.assign(tf.where(good | stands_still, bad_step, step))
        return proceed

    def release(self) -> None:
        """Lets training continue after a bad step; called by the host."""
        self.bad_step.assign(-1)


def first_bad(history: Mapping[str, np.ndarray]) -> int | None:
    """Position of the first bad step in the result of a call of the training function, None if all were good."""
    proceeds = history["proceed"]
    return None if proceeds.all() else int(proceeds.argmin())


def is_not_finite(error: BaseException) -> bool:
    """Whether an error of TensorFlow comes from offsets that are not finite.

    On a CPU the sampling operation of the deformable convolution refuses them, so the step ends without a loss.
    """
    return "CropAndResize" in str(error) and "finite" in str(error)
