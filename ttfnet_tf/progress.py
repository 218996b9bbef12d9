"""Shows the progress of long work: a live line in a terminal, a plain line from time to time elsewhere.

rich draws the live line. Counting and speed are ours: rich has no plain lines, and its speed needs two updates, keeps at most 1000 of them,
and counts neither images nor a resumed run.
"""

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

from ttfnet_tf.plain_text import printable, terminal_of

WINDOW_SECONDS = 60.0  # speed and remaining time are those of the last minute, so that they follow a change of speed
BRIEF_SECONDS = 2.0  # shorter work writes no plain lines


class ProgressMeter:
    """Counts steps, and shows values, images per second and the remaining time.

    Use it as a context manager. `update` is cheap enough for every step: a terminal is refreshed four times per second; elsewhere there is
    a line every `plain_every` seconds and one for the last step, and none if everything takes less than `BRIEF_SECONDS`.

    Args:
        label: what runs, e.g. "train".
        total: number of steps; None if unknown, as for a camera.
        start: steps of an earlier run; they count as done, but not for the speed.
        images_per_step: images per step, for images per second.
        plain_every: seconds between two lines if `stream` is not a terminal.
        stream: where to write; by default standard error, so that standard output has results only.
        live: whether to draw a live line; by default `is_live(stream)`.
        clock: a function that returns seconds, for tests.
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
        self.stream = stream or sys.stderr  # a `PlainStream` under the command line
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
                console=Console(file=terminal_of(self.stream), force_terminal=True),
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
        """Reports that `done` steps are done.

        Args:
            done: all steps so far, including those of an earlier run.
            figures: values to show, e.g. {"loss": 1.93, "lr": 0.008}; numbers are rounded.
        """
        self.done = done
        now = self._clock()
        self._history.append((now, done))
        while len(self._history) > 2 and now - self._history[0][0] > WINDOW_SECONDS:
            self._history.popleft()
        if self._bar is not None:
            # A narrow terminal cuts the end off: then the values go, not the remaining time.
            count, speed, values = self._parts(figures)
            self._live_line = "  ".join([count, *reversed(speed), *values])
            self._bar.update(self._task, completed=done, figures=self._live_line)
        elif self._is_time(now) or (self._is_last(done) and done != self._last_printed and now - self._begin >= BRIEF_SECONDS):
            self._last_plain, self._last_printed = now, done
            count, speed, values = self._parts(figures)
            print("  ".join([f"{self.label} {count}", *values, *speed]), file=self.stream, flush=True)

    def restart(self) -> None:
        """The time so far does not count for the speed."""
        self._history = deque([(self._clock(), self.done)])

    def aside(self, label: str, done: int, total: int) -> None:
        """Reports progress of other work while the steps wait, such as an evaluation; it does not change count and speed."""
        now = self._clock()
        if self._bar is not None:
            line = f"{self.done}/{self.total}  {label} {done}/{total}" if done < total else self._live_line
            self._bar.update(self._task, figures=line)
        elif self._is_time(now):
            self._last_plain = now
            print(f"{self.label} {self.done}/{self.total}  {label} {done}/{total}", file=self.stream, flush=True)

    def message(self, text: str) -> None:
        """Prints a line that stays, above the live line."""
        if self._bar is not None:
            self._bar.console.print(printable(text), markup=False, highlight=False)
        else:
            print(printable(text), file=self.stream, flush=True)

    @property
    def images_per_second(self) -> float:
        """Images per second over the last minute; 0 before the first update."""
        (first_time, first_step), (last_time, last_step) = self._history[0], self._history[-1]
        seconds = last_time - first_time
        return (last_step - first_step) * self.images_per_step / seconds if seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the speed of the last minute; None if unknown."""
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
        """(count, speed and remaining time as far as they are known, values)."""
        speed = []
        if self.images_per_second > 0:
            speed.append(f"{self.images_per_second:.1f} images/s")
        if self.seconds_left:
            speed.append(f"{duration(self.seconds_left)} left")
        return self._count(), speed, [f"{name} {_short(value)}" for name, value in (figures or {}).items()]


@contextlib.contextmanager
def working(text: str, *, stream: TextIO | None = None, live: bool | None = None) -> Iterator[None]:
    """Shows a spinner and the elapsed time in a terminal, for work without steps to count; prints nothing elsewhere.

    The line disappears at the end. Do not print inside.

    Args:
        text: what is done, e.g. "loading runs/x".
        stream: where to write; by default standard error.
        live: whether to show it; by default `is_live(stream)`.
    """
    stream = terminal_of(stream or sys.stderr)
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
        line.add_task(printable(text), total=None)
        yield


@contextlib.contextmanager
def _own_copy(stream: TextIO) -> Iterator[TextIO]:
    """The terminal under another file descriptor, because export redirects descriptor 2 to hide the lines of TFLite's converter."""
    try:
        copy = os.fdopen(os.dup(stream.fileno()), "w", encoding="utf-8", errors="replace")
    except OSError:  # not a file, in tests
        yield stream
        return
    with copy:
        yield copy


def is_live(stream: TextIO) -> bool:
    """Whether a line can be rewritten there: it is a terminal, and not a dumb one."""
    return stream.isatty() and os.environ.get("TERM") not in ("dumb", "unknown")


def duration(seconds: float) -> str:
    """59 as "59 s", 125 as "2:05 min", 7384 as "2:03 h"."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}:{rest:02d} min"
    return f"{minutes // 60}:{minutes % 60:02d} h"


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.4g}"
