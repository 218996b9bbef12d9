"""Judges every training step inside the compiled function, before its update is applied.

A step is bad when its loss or its gradient norm is not finite, or when the loss is far above its running mean. A bad step changes no
parameter, and neither does any later step of the same call: the device stands still by itself until the host has looked. What happens
then (stop, leave the step out, go back) is decided in `train`; the record that is kept of it is in `divergence`.

The test costs a few operations on numbers, for a gradient with a value that is not finite has a norm that is not finite. There is no
rule for large but finite gradients: healthy runs have single steps whose norm is a thousand times the usual one, and clipping is there
for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

SIDES = ("left", "top", "right", "bottom")  # of a box, in the order of the box head's channels
PATIENCE = 10  # steps in a row without a gradient after which a side of the box head is called dead
_DECAY = 0.98  # of the running mean of the loss, which so looks back some 50 steps


class Sentinel(tf.Module):
    """State and rule of the test; its variables belong into the checkpoint of a run, for the next verdict depends on them.

    Args:
        explode_factor: a loss above so many times its running mean is bad; 0 leaves this rule out. The mean starts with the first loss,
            that of an untrained network.
        side_bias: position among the gradients of the bias that the box head ends in, if that head ends in a ReLU with four sides a
            group; None for other heads.
    """

    def __init__(self, *, explode_factor: float = 0.0, side_bias: int | None = None):
        super().__init__(name="sentinel")
        self.explode_factor, self.side_bias = explode_factor, side_bias

        def variable(value, dtype, name):
            return tf.Variable(value, trainable=False, dtype=dtype, name=name, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)

        self.mean = variable(0.0, tf.float32, "mean_loss")
        self.seen = variable(0, tf.int64, "seen")  # losses that are in the mean
        self.bad_step = variable(-1, tf.int64, "bad_step")  # the first bad one that the host has not dealt with
        self.current_step = variable(-1, tf.int64, "current_step")  # for a step that ends in an error of TensorFlow
        # Kept by the host.
        self.left_out = variable(0, tf.int64, "left_out")  # bad steps so far that did not end the run
        self.in_a_row = variable(0, tf.int64, "in_a_row")  # the same without a good step between, or returns to the same checkpoint
        self.data_offset = variable(0, tf.int64, "data_offset")  # step s takes the batch s + data_offset of the data

    def begin(self, step: tf.Tensor) -> None:
        """Notes the step ([] int64, from 0) that is about to run."""
        self.current_step.assign(step)

    def judge(self, step: tf.Tensor, loss: tf.Tensor, gradient_norm: tf.Tensor, forgives: tf.Tensor | None = None) -> tf.Tensor:
        """[] bool: whether `step` may change anything.

        Args:
            step: [] int64 from 0.
            loss: [] float32 of the global batch.
            gradient_norm: [] float32, before clipping.
            forgives: [] bool, whether a gradient that is not finite may pass (a loss scale that can still be lowered).
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

    def idle_sides(self, gradients: Sequence[tf.Tensor], box_loss: tf.Tensor) -> tf.Tensor:
        """[] float32: sides of the box head that get no gradient, as the sum of 1, 2, 4 and 8 for left, top, right and bottom.

        The ReLU that ends the head passes none in cells where its output is 0; the bias sums over all cells that own a box. 0 for a
        batch without boxes, which says nothing about the head.
        """
        if self.side_bias is None:
            return tf.zeros([])
        idle = tf.reduce_all(tf.reshape(gradients[self.side_bias], [-1, len(SIDES)]) == 0, axis=0)  # [4] over classes
        bits = tf.reduce_sum(tf.where(idle, [1.0, 2.0, 4.0, 8.0], 0.0))
        return tf.where(box_loss > 0, bits, 0.0)

    def release(self) -> None:
        """Lets the device go on after a bad step; called by the host."""
        self.bad_step.assign(-1)


class SideWatch:
    """Tells once about each side of the box head that gets no gradient any more."""

    def __init__(self, patience: int = PATIENCE):
        self.patience = patience
        self._idle = dict.fromkeys(SIDES, 0)  # steps in a row
        self._told: set[str] = set()

    def look(self, bits: Sequence[float]) -> str | None:
        """The line for people about sides that are newly dead after steps with these `Sentinel.idle_sides`, or None."""
        for value in bits:
            for index, side in enumerate(SIDES):
                self._idle[side] = self._idle[side] + 1 if int(value) >> index & 1 else 0
        dead = [side for side in SIDES if self._idle[side] >= self.patience and side not in self._told]
        if not dead:
            return None
        self._told.update(dead)
        return (
            f"the box head is dead at the {' and '.join(dead)} of boxes: no gradient for {self.patience} steps, its ReLU is 0 in every "
            "cell that owns a box and seldom comes back; start again with a lower optim.lr, or a longer and lower warm-up "
            "(optim.warmup_steps, optim.warmup_ratio)"
        )


def first_bad(history: Mapping[str, tf.Tensor]) -> int | None:
    """Position of the first bad step in what a call of the training function returned, None if all were good."""
    proceeds = history["proceed"].numpy()
    return None if proceeds.all() else int(proceeds.argmin())


def is_not_finite(error: BaseException) -> bool:
    """Whether an error of TensorFlow comes from values that are not finite: on a CPU the sampling operation of the deformable
    convolution refuses such offsets, so the step ends without a loss."""
    return "CropAndResize" in str(error) and "finite" in str(error)
