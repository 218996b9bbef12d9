"""The window of `ttfnet predict --show`."""

from __future__ import annotations

import os
import sys

import cv2
import numpy as np

from ttfnet_tf.errors import UserError


class Window:
    """A window of OpenCV that shows drawn frames until it is closed by q or Esc.

    Attributes:
        closed: whether it was.
    """

    def __init__(self):
        self.closed = False

    def show(self, image: np.ndarray) -> None:
        """Shows a uint8 [H, W, 3] RGB image."""
        cv2.imshow("ttfnet", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        self.closed |= cv2.waitKey(1) & 0xFF in (27, ord("q"))


def open_window() -> Window:
    """A window, if this OpenCV has windows and there is a display.

    Raises:
        UserError: one of the two is missing.
    """
    interface = next((line for line in cv2.getBuildInformation().splitlines() if line.strip().startswith("GUI:")), "")
    if interface.rpartition(":")[2].strip() in ("", "NONE"):
        raise UserError("--show: the installed OpenCV has no windows; install opencv-python instead of opencv-python-headless")
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UserError("--show: there is no display here (DISPLAY is not set); run without --show")
    return Window()
