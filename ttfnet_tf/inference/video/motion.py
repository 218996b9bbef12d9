"""Motion of tracked boxes: where an object is in the next frame, so that two that cross keep their ids."""

from __future__ import annotations

import numpy as np

# In sides of the box, its side being the root of its area.
_NOISE = 0.05  # of a detected box, standard deviation
_FIRST_SPEED = 3.0  # a second: a new track may be as fast
_ACCELERATION = 1.0  # by which the speed changes within a second, standard deviation
_RESIZING = 0.03  # how much slower a box changes its size than its place


class MotionFilter:
    """Kalman filter of boxes at constant velocity, in place of ByteTrack's own.

    ByteTrack's measures velocities per frame, with noise for 30 frames a second, and lets the position jump by a twentieth of the height
    from frame to frame, so that little is known about the velocity. Here velocities are per second, and the position follows from them
    alone: an object that another one hides is expected where it comes out again.

    The state is (x, y, aspect, height, and the change of each in a second): centre in pixels, width divided by height.

    Attributes:
        seconds: from the last frame to the next one; set it before each.
    """

    def __init__(self, seconds: float):
        self.seconds = seconds

    def initiate(self, measurement: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean [8] and covariance [8, 8] of a new track from its first box (x, y, aspect, height)."""
        mean = np.r_[np.asarray(measurement, np.float64), np.zeros(4)]
        return mean, np.diag(np.r_[_variances(mean, _NOISE), _variances(mean, _FIRST_SPEED, _RESIZING)])

    def multi_predict(self, means: np.ndarray, covariances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Means [N, 8] and covariances [N, 8, 8] in the next frame."""
        seconds, place, speed = self.seconds, np.arange(4), np.arange(4, 8)
        motion = np.eye(8)
        motion[place, speed] = seconds
        change = _variances(means, _ACCELERATION, _RESIZING)  # of the speed in a second; the terms below are its integrals
        noise = np.zeros_like(covariances)
        noise[:, place, place] = change * seconds**3 / 3
        noise[:, place, speed] = noise[:, speed, place] = change * seconds**2 / 2
        noise[:, speed, speed] = change * seconds
        return means @ motion.T, motion @ covariances @ motion.T + noise

    def update(self, mean: np.ndarray, covariance: np.ndarray, measurement: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean [8] and covariance [8, 8] after a box (x, y, aspect, height) was detected."""
        # x, y, aspect and height are independent, so a division does what solving a system of equations would, without its threads.
        gain = covariance[:, :4] / (np.diagonal(covariance)[:4] + _variances(mean, _NOISE))
        return mean + gain @ (measurement - mean[:4]), covariance - gain @ covariance[:4]


def _variances(means: np.ndarray, fraction: float, resizing: float = 1.0) -> np.ndarray:
    """Variances [..., 4] of (x, y, aspect, height) for a standard deviation in sides of the box; of its size `resizing` times that."""
    aspect, height = np.maximum(means[..., 2], 1e-3), np.maximum(means[..., 3], 1e-3)
    side = height * np.sqrt(aspect)
    return (fraction * np.stack([side, side, resizing * aspect, resizing * height], axis=-1)) ** 2
