"""Many requests at a time, and how long each took."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

PERCENTILES = (50, 90, 99)
Prepared = TypeVar("Prepared")


@dataclass(frozen=True)
class Timing:
    """One request; start and end in seconds of one clock."""

    start: float
    end: float
    images: int  # answered; 0 if the request failed

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.end - self.start


@dataclass(frozen=True)
class Latencies:
    """The times of a number of requests."""

    timings: Sequence[Timing]  # at least one
    concurrency: int

    def percentile(self, percent: float) -> float:
        """Seconds within which so many per cent of the answered requests were answered; a measured time, not an interpolated one."""
        return float(np.percentile([one.seconds for one in self._answered], percent, method="inverted_cdf"))

    @property
    def failed(self) -> int:
        """Requests without an answer."""
        return len(self.timings) - len(self._answered)

    @property
    def seconds(self) -> float:
        """From the start of the first request to the end of the last."""
        return max(one.end for one in self.timings) - min(one.start for one in self.timings)

    @property
    def requests_per_second(self) -> float:
        """Answered requests over all the time."""
        return len(self._answered) / self.seconds

    @property
    def images_per_second(self) -> float:
        """Answered images over all the time."""
        return sum(one.images for one in self.timings) / self.seconds

    @property
    def _answered(self) -> list[Timing]:
        return [one for one in self.timings if one.images]

    def lines(self) -> list[str]:
        """The figures for people."""
        count = f"{len(self.timings)} requests, {self.concurrency} at a time, in {self.seconds:.2f} s"
        if not self._answered:
            return [f"{count}: none was answered"]
        times = [f"p{percent} {1000 * self.percentile(percent):.1f}" for percent in PERCENTILES]
        slowest = 1000 * max(one.seconds for one in self._answered)
        rates = f"{self.requests_per_second:.1f} requests/s, {self.images_per_second:.1f} images/s"
        failed = f", {self.failed} failed" if self.failed else ""
        return [f"{count}{failed}: {rates}", f"latency in ms: {', '.join(times)}, longest {slowest:.1f}"]


def run_requests(
    jobs: Sequence[int],
    prepare: Callable[[int], Prepared],
    send: Callable[[int, Prepared], int],
    *,
    concurrency: int,
    clock: Callable[[], float] = time.perf_counter,
) -> Latencies:
    """Runs every job in a thread, `concurrency` at a time.

    Args:
        jobs: in the order in which they start.
        prepare: makes what a request needs; its time does not count.
        send: sends it; returns the number of images that were answered, 0 for a request that failed.
        concurrency: threads.
        clock: seconds.

    Raises:
        Whatever `prepare` or `send` raises; no other job begins after it.
    """
    stop = threading.Event()

    def timed(job: int) -> Timing | None:
        if stop.is_set():
            return None
        try:
            prepared = prepare(job)
            start = clock()
            images = send(job, prepared)
            return Timing(start, clock(), images)
        except BaseException:
            stop.set()  # in this thread, before it takes another job
            raise

    with ThreadPoolExecutor(concurrency, thread_name_prefix="request") as threads:
        futures = [threads.submit(timed, job) for job in jobs]
        try:
            timings = [future.result() for future in as_completed(futures)]
            return Latencies([timing for timing in timings if timing is not None], concurrency)
        finally:  # after Ctrl-C too
            stop.set()
