"""The motion of tracked boxes, without a tracker."""

import numpy as np
import pytest

from ttfnet_tf.inference.video.motion import MotionFilter


def _follow(boxes, times):
    """Mean and covariance after boxes (x, y, aspect, height)."""
    motion = MotionFilter(0.0)
    mean, covariance = motion.initiate(np.array(boxes[0]))
    for box, passed in zip(boxes[1:], np.diff(times)):
        motion.seconds = passed
        means, covariances = motion.multi_predict(mean[None], covariance[None])
        mean, covariance = motion.update(means[0], covariances[0], np.array(box))
    return motion, mean, covariance


@pytest.mark.parametrize("times", [np.arange(0, 2, 0.1), np.arange(0, 2, 1 / 60), np.cumsum([0, *[0.02, 0.2] * 9])])
def test_velocity_is_per_second_at_any_rate(times):
    """A box of 50 x 25 that moves by (60, -30) pixels a second; half a second later it is 30 and -15 pixels further."""
    motion, mean, covariance = _follow([[100 + 60 * t, 200 - 30 * t, 2.0, 25.0] for t in times], times)
    motion.seconds = 0.5
    end = np.array([100 + 60 * (times[-1] + 0.5), 200 - 30 * (times[-1] + 0.5), 2.0, 25.0])
    (predicted,), _ = motion.multi_predict(mean[None], covariance[None])
    np.testing.assert_allclose(predicted[:4], end, atol=1.0)


def test_one_update_by_hand():
    """A box of 20 x 20 at (0, 0), and .1 s later at (10, 0).

    Variances in sides (20 pixels): place .05², speed 3². After .1 s that of the place is .05² + (3 * .1)² + 1 * .1³ / 3 = .092833, and the
    covariance with the speed 9 * .1 + .1² / 2 = .905. Of the distance of 10 pixels the place takes .092833 / (.092833 + .0025) = .97378,
    the speed .905 / .095333 = 9.4930 a second.
    """
    _, mean, _ = _follow([[0.0, 0, 1, 20], [10.0, 0, 1, 20]], [0, 0.1])
    np.testing.assert_allclose(mean, [9.7378, 0, 1, 20, 94.930, 0, 0, 0], rtol=1e-4)


def test_an_update_is_that_of_the_textbook():
    """Gain P H' (H P H' + R)^-1 with the covariance after two frames."""
    motion, mean, covariance = _follow([[0.0, 0, 0.5, 40], [3.0, 1, 0.52, 41]], [0, 0.04])
    place = np.eye(4, 8)
    measured = mean[:4] + [1, 2, 0.01, 0.5]
    side = mean[3] * np.sqrt(mean[2])
    noise = np.diag((0.05 * np.array([side, side, mean[2], mean[3]])) ** 2)
    gain = covariance @ place.T @ np.linalg.inv(place @ covariance @ place.T + noise)
    new_mean, new_covariance = motion.update(mean, covariance, measured)
    np.testing.assert_allclose(new_mean, mean + gain @ (measured - place @ mean), rtol=1e-9)
    np.testing.assert_allclose(new_covariance, (np.eye(8) - gain @ place) @ covariance, rtol=1e-6, atol=1e-9)
