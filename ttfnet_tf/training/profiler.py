"""TensorFlow's profiler over a window of training steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf


class ProfileWindow:
    """Records from the call of the training function with the first step to the one with the last.

    Args:
        folder: the trace is written to `plugins/profile/<time>/` in it.
        steps: [first, last], counted from 1; empty is off.
        writes: False makes every method do nothing (workers other than the chief).
    """

    def __init__(self, folder: Path, steps: Sequence[int], *, writes: bool = True):
        self._folder = folder
        self._first, self._last = steps if steps and writes else (0, -1)
        self.is_on = False  # whether it is recording

    def before(self, step: int, count: int) -> None:
        """`count` steps are about to run after the `step` that are done."""
        if not self.is_on and step < self._last and self._first <= step + count:
            tf.profiler.experimental.start(str(self._folder))
            self.is_on = True

    def after(self, step: int) -> None:
        """`step` steps are done."""
        if self.is_on and step >= self._last:
            self.close()

    def close(self) -> None:
        """Ends a recording that is still running."""
        if self.is_on:
            tf.profiler.experimental.stop()
            self.is_on = False
