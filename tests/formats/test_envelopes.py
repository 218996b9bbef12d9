"""Boxes around shapes: values by hand, and of turned shapes by a loop over many of their points."""

import math

import numpy as np
import pytest

from ttfnet_tf.formats.envelopes import around_ellipse, around_mask, around_points, around_rotated_box


def test_points():
    assert around_points([(3, 9), (1, 4), (2.5, 6)]) == (1, 4, 2, 5)
    assert around_points([(3, 9)]) == (3, 9, 0, 0)


def test_a_box_that_was_not_turned_keeps_its_numbers():
    assert around_rotated_box((0.1, 0.2, 0.7, 3), 0, (5, 5)) == (0.1, 0.2, 0.7, 3)
    assert around_rotated_box((0.1, 0.2, 0.7, 3), 360, (5, 5)) == (0.1, 0.2, 0.7, 3)


def test_quarter_turns():
    # clockwise on the screen: the right end of a flat box goes down
    assert around_rotated_box((10, 10, 20, 4), 90, (10, 10)) == pytest.approx((6, 10, 4, 20))
    assert around_rotated_box((10, 10, 20, 4), -90, (10, 10)) == pytest.approx((10, -10, 4, 20))
    assert around_rotated_box((10, 10, 20, 4), 90, (20, 12)) == pytest.approx((18, 2, 4, 20))


def test_an_eighth_turn_of_a_square():
    side = math.sqrt(2)
    assert around_rotated_box((0, 0, 1, 1), 45, (0.5, 0.5)) == pytest.approx((0.5 - side / 2, 0.5 - side / 2, side, side))


@pytest.mark.parametrize("degrees", [0, 17, 45, 90, 133, -30])
def test_an_ellipse_against_its_points(degrees):
    turn, points = math.radians(degrees), []
    for step in range(100_000):
        angle = 2 * math.pi * step / 100_000
        x, y = 7 * math.cos(angle), 3 * math.sin(angle)
        points.append((20 + x * math.cos(turn) - y * math.sin(turn), 30 + x * math.sin(turn) + y * math.cos(turn)))
    assert around_ellipse((20, 30), (7, 3), degrees) == pytest.approx(around_points(points), abs=1e-6)


def test_a_mask():
    mask = np.zeros((5, 8), bool)
    mask[1, 6] = mask[3, 2] = True
    assert around_mask(mask) == (2, 1, 5, 3)
    assert around_mask(mask, 10, 20) == (12, 21, 5, 3)
    assert around_mask(np.ones((1, 1), bool)) == (0, 0, 1, 1)
    assert around_mask(np.zeros((5, 8), bool)) is None
