"""Progress for people who watch: a live line in a terminal, a plain line every so often elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Mapping
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

WINDOW_SECONDS = 60.0  # speed and remaining time look back this far, so that they follow a change of pace


class ProgressMeter:
    """Counts steps of a known total; tells figures, pictures per second and the time left.

    Use it as a context manager. `update` is cheap enough for every step: output is limited to a few lines a second in
    a terminal and to one line per `plain_every` seconds elsewhere (and the last step always).

    Args:
        label: what runs, e.g. "train".
        total: number of steps at which this is done.
        start: steps that an earlier run did; they count as done and not as speed.
        pictures_per_step: pictures of one step, for pictures per second.
        plain_every: seconds between two lines when `stream` is no terminal.
        stream: where to write; standard error by default, so that results on standard output stay clean.
        live: True or False overrides the look at `stream`.
        clock: seconds; an argument for tests.
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        start: int = 0,
        pictures_per_step: int = 1,
        plain_every: float = 15.0,
        stream: TextIO | None = None,
        live: bool | None = None,
        clock=time.monotonic,
    ):
        self.label, self.total, self.done = label, total, start
        self.pictures_per_step, self.plain_every = pictures_per_step, plain_every
        self.stream = stream or sys.stderr
        self.live = self.stream.isatty() if live is None else live
        self._clock = clock
        self._history: deque[tuple[float, int]] = deque([(clock(), start)])
        self._last_plain, self._last_printed = -float("inf"), -1
        self._bar: Progress | None = None

    def __enter__(self) -> ProgressMeter:
        self._history = deque([(self._clock(), self.done)])
        if self.live:
            console = Console(file=self.stream, force_terminal=True)
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                TextColumn("{task.fields[figures]}"),
                console=console,
                refresh_per_second=4,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done, figures="")
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def update(self, done: int, figures: Mapping[str, float | str] | None = None) -> None:
        """Says that `done` steps of the total are behind us.

        Args:
            done: all steps so far, those before `start` included.
            figures: what to show beside it, e.g. {"loss": 1.93, "lr": 0.008}; numbers are shortened.
        """
        self.done = done
        now = self._clock()
        self._history.append((now, done))
        while len(self._history) > 2 and now - self._history[0][0] > WINDOW_SECONDS:
            self._history.popleft()
        if self._bar is not None:
            self._bar.update(self._task, completed=done, figures=self._line(figures))
        elif now - self._last_plain >= self.plain_every or (done >= self.total and done != self._last_printed):
            self._last_plain, self._last_printed = now, done
            print(f"{self.label} {self._line(figures)}", file=self.stream, flush=True)

    def message(self, text: str) -> None:
        """A line of its own that stays, above the live line."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self.stream, flush=True)

    @property
    def pictures_per_second(self) -> float:
        """Over the last minute; 0 before the second update."""
        (first_time, first_step), (last_time, last_step) = self._history[0], self._history[-1]
        seconds = last_time - first_time
        return (last_step - first_step) * self.pictures_per_step / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the same minute; None while unknown."""
        speed = self.pictures_per_second / self.pictures_per_step
        return (self.total - self.done) / speed if speed > 0 else None

    def _line(self, figures: Mapping[str, float | str] | None) -> str:
        parts = [f"{self.done}/{self.total}"]
        parts += [f"{name} {_short(value)}" for name, value in (figures or {}).items()]
        if self.pictures_per_second > 0:
            parts.append(f"{self.pictures_per_second:.1f} images/s")
        if self.seconds_left:
            parts.append(f"{duration(self.seconds_left)} left")
        return "  ".join(parts)


def duration(seconds: float) -> str:
    """59 -> "59 s", 125 -> "2:05 min", 7384 -> "2:03 h" (rounded to what a reader can use)."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
