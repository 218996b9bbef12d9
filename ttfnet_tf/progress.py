"""Progress for people who watch: a live line in a terminal, a plain line every so often elsewhere."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

WINDOW_SECONDS = 60.0  # speed and remaining time look back this far, so that they follow a change of pace
BRIEF_SECONDS = 2.0  # work that is done sooner needs no lines in a log


class ProgressMeter:
    """Counts steps of a known total; tells figures, images per second and the time left.

    Use it as a context manager. `update` is cheap enough for every step: output is limited to a few lines a second in
    a terminal and elsewhere to one line per `plain_every` seconds and the last step; work of less than `BRIEF_SECONDS` says nothing there.

    Args:
        label: what runs, e.g. "train".
        total: number of steps at which this is done; None where nobody knows, as for a camera.
        start: steps that an earlier run did; they count as done and not as speed.
        images_per_step: images of one step, for images per second.
        plain_every: seconds between two lines when `stream` is no terminal.
        stream: where to write; standard error by default, so that results on standard output stay clean.
        live: True or False overrides the look at `stream`.
        clock: seconds; an argument for tests.
    """

    def __init__(
        self,
        label: str,
        total: int | None,
        *,
        start: int = 0,
        images_per_step: int = 1,
        plain_every: float = 15.0,
        stream: TextIO | None = None,
        live: bool | None = None,
        clock=time.monotonic,
    ):
        self.label, self.total, self.done = label, total, start
        self.images_per_step, self.plain_every = images_per_step, plain_every
        self.stream = stream or sys.stderr
        self.live = is_live(self.stream) if live is None else live
        self._clock = clock
        self._history: deque[tuple[float, int]] = deque([(clock(), start)])
        self._begin, self._last_plain, self._last_printed = clock(), -float("inf"), -1
        self._bar: Progress | None = None
        self._live_line = ""

    def __enter__(self) -> ProgressMeter:
        self._begin = self._clock()
        self._history = deque([(self._begin, self.done)])
        if self.live:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=16),
                TimeElapsedColumn(),
                TextColumn("{task.fields[figures]}"),
                console=Console(file=self.stream, force_terminal=True),
                refresh_per_second=4,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._bar.start()
            self._live_line = f"{self._count()}  starting"
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.done, figures=self._live_line)
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
            # A narrow terminal cuts the end off: the figures, not the time left.
            count, pace, rest = self._parts(figures)
            self._live_line = "  ".join([count, *reversed(pace), *rest])
            self._bar.update(self._task, completed=done, figures=self._live_line)
        elif self._is_time(now) or (self._is_last(done) and done != self._last_printed and now - self._begin >= BRIEF_SECONDS):
            self._last_plain, self._last_printed = now, done
            count, pace, rest = self._parts(figures)
            print("  ".join([f"{self.label} {count}", *rest, *pace]), file=self.stream, flush=True)

    def aside(self, label: str, done: int, total: int) -> None:
        """Says how far something has come that the steps wait for, such as an evaluation; speed and count stay what they are."""
        now = self._clock()
        if self._bar is not None:
            line = f"{self.done}/{self.total}  {label} {done}/{total}" if done < total else self._live_line
            self._bar.update(self._task, figures=line)
        elif self._is_time(now):
            self._last_plain = now
            print(f"{self.label} {self.done}/{self.total}  {label} {done}/{total}", file=self.stream, flush=True)

    def message(self, text: str) -> None:
        """A line of its own that stays, above the live line."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=self.stream, flush=True)

    @property
    def images_per_second(self) -> float:
        """Over the last minute; 0 before the second update."""
        (first_time, first_step), (last_time, last_step) = self._history[0], self._history[-1]
        seconds = last_time - first_time
        return (last_step - first_step) * self.images_per_step / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the same minute; None while unknown."""
        speed = self.images_per_second / self.images_per_step
        return (self.total - self.done) / speed if speed > 0 and self.total is not None else None

    def _is_last(self, done: int) -> bool:
        return self.total is not None and done >= self.total

    def _is_time(self, now: float) -> bool:
        """Whether a plain line is due."""
        return now - self._begin >= BRIEF_SECONDS and now - self._last_plain >= self.plain_every

    def _count(self) -> str:
        return f"{self.done}" if self.total is None else f"{self.done}/{self.total}"

    def _parts(self, figures: Mapping[str, float | str] | None) -> tuple[str, list[str], list[str]]:
        """The count, speed and time left as far as they are known, and the figures."""
        pace = []
        if self.images_per_second > 0:
            pace.append(f"{self.images_per_second:.1f} images/s")
        if self.seconds_left:
            pace.append(f"{duration(self.seconds_left)} left")
        return self._count(), pace, [f"{name} {_short(value)}" for name, value in (figures or {}).items()]


@contextlib.contextmanager
def working(text: str, *, stream: TextIO | None = None, live: bool | None = None) -> Iterator[None]:
    """Shows in a terminal that something without steps to count goes on, and since when; gone when done. Silent elsewhere.

    Print nothing inside.

    Args:
        text: what is done, e.g. "loading runs/x".
        stream: where to write; standard error by default.
        live: True or False overrides the look at `stream`.
    """
    stream = stream or sys.stderr
    if not (is_live(stream) if live is None else live):
        yield
        return
    with (
        _own_copy(stream) as terminal,
        Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=Console(file=terminal, force_terminal=True),
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        ) as line,
    ):
        line.add_task(text, total=None)
        yield


@contextlib.contextmanager
def _own_copy(stream: TextIO) -> Iterator[TextIO]:
    """The same terminal under a number of its own, which stays when export points number 2 elsewhere to hide a converter's lines."""
    try:
        copy = os.fdopen(os.dup(stream.fileno()), "w", encoding="utf-8", errors="replace")
    except OSError:  # no file behind it: a test's
        yield stream
        return
    with copy:
        yield copy


def is_live(stream: TextIO) -> bool:
    """Whether lines that change may be written there: a terminal, and none that only types."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


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
