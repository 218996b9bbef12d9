"""Detects a box head whose final ReLU is 0 everywhere for a side of the boxes: no gradient reaches it any more."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

SIDES = ("left", "top", "right", "bottom")  # of a box, in the order of the box head's channels
PATIENCE = 10  # steps in a row without a gradient after which a side is called dead


def idle_sides(bias_gradient: tf.Tensor, box_loss: tf.Tensor) -> tf.Tensor:
    """[] float32: sides of the box head without a gradient, as the sum of 1, 2, 4 and 8 for left, top, right and bottom.

    The ReLU passes no gradient in cells where its output is 0, and the gradient of the bias is the sum over all cells with a box.

    Args:
        bias_gradient: [4 or 4 C], of the bias of the head's last convolution.
        box_loss: [] float32; 0 in a batch without boxes, which shows nothing about the head: the result is 0.
    """
    idle = tf.reduce_all(tf.reshape(bias_gradient, [-1, len(SIDES)]) == 0, axis=0)  # [4] over classes
    bits = tf.reduce_sum(tf.where(idle, [1.0, 2.0, 4.0, 8.0], 0.0))
    return tf.where(box_loss > 0, bits, 0.0)


class DeadSideWatch:
    """Warns once about each side of the box head that has stopped getting a gradient."""

    def __init__(self, patience: int = PATIENCE):
        self.patience = patience
        self._idle = dict.fromkeys(SIDES, 0)  # steps in a row
        self._reported: set[str] = set()

    def add(self, bits: Sequence[float]) -> str | None:
        """The warning after steps with these `idle_sides`, or None."""
        for value in bits:
            for index, side in enumerate(SIDES):
                self._idle[side] = self._idle[side] + 1 if int(value) >> index & 1 else 0
        dead = [side for side in SIDES if self._idle[side] >= self.patience and side not in self._reported]
        if not dead:
            return None
        self._reported.update(dead)
        return (
            f"the box head is dead at the {' and '.join(dead)} of boxes: no gradient for {self.patience} steps, because its ReLU is 0 in "
            "every cell with a box; if the box loss stays high, start again with model.box_gradient=recover, with which no side dies, or "
            "with a lower optim.lr"
        )
