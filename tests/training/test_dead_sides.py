"""Sides of the box head that get no gradient."""

import pytest
import tensorflow as tf

from ttfnet_tf.training.dead_sides import DeadSideWatch, idle_sides


@pytest.mark.parametrize(
    ("gradient", "box_loss", "bits"),
    [
        ([0.1, 0.2, -0.3, 0.4], 2.0, 0),
        ([0.0, 0.2, -0.3, 0.4], 2.0, 1),
        ([0.1, 0.0, -0.3, 0.0], 2.0, 2 + 8),
        ([0.0, 0.0, 0.0, 0.0], 0.0, 0),  # no boxes in the batch
        ([0.0, 0.2, 0.0, 0.4, 0.0, 0.0, 0.7, 0.4], 2.0, 1),  # two classes with boxes of their own: idle in both
    ],
)
def test_idle_sides(gradient, box_loss, bits):
    assert float(idle_sides(tf.constant(gradient), tf.constant(box_loss))) == bits


def test_a_dead_side_is_reported_once_after_some_steps_in_a_row():
    watch = DeadSideWatch(patience=3)
    assert watch.add([1.0, 1.0]) is None
    assert watch.add([0.0, 1.0, 1.0]) is None
    line = watch.add([1.0 + 4.0])
    assert line.startswith("the box head is dead at the left of boxes: no gradient for 3 steps")
    assert "\n" not in line
    assert watch.add([1.0 + 4.0]) is None
    assert "dead at the right of boxes" in watch.add([4.0])
