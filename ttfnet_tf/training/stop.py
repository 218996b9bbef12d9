"""Ctrl-C and SIGTERM become a request to stop after the current step, so that a run is saved first."""

from __future__ import annotations

import contextlib
import signal
from typing import Any


class StopRequest(contextlib.AbstractContextManager):
    """Turns the first Ctrl-C or SIGTERM into a request to stop; a second one ends the process as usual."""

    def __init__(self):
        self.requested = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not the main thread: the caller handles signals
                self._previous[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def _note(self, *_) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
