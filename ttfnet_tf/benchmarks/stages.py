"""Times of the stages of a job: medians with their spread, and the peak memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Optional

import numpy as np

OnStage = Optional[Callable[[str], object]]
WARM_UP = 2  # calls that trace, optimise the graph and fill caches


@dataclass(frozen=True)
class Stage:
    """Times of one stage in milliseconds."""

    name: str
    milliseconds: tuple[float, ...]
    images: int  # per call

    def __str__(self) -> str:
        low, median, high = np.percentile(self.milliseconds, [10, 50, 90])
        return f"{self.name:34} {median:9.1f} ms  ({low:.1f} .. {high:.1f})  {1000 * self.images / median:8.1f} images/s"


def time_stage(name: str, call: Callable[[], object], *, repeats: int, images: int, on_stage: OnStage = None) -> Stage:
    """Times `repeats` calls after a warm-up.

    Args:
        name: of the stage; leading spaces indent it in the table.
        call: what to time.
        repeats: timed calls.
        images: that one call processes.
        on_stage: called with the name before the first call.
    """
    if on_stage is not None:
        on_stage(name.strip())
    for _ in range(WARM_UP):
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return Stage(name, tuple(times), images)


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)
