"""Times of the stages of a job: medians with their spread, and the peak memory."""

from __future__ import annotations

import os
import platform
import re
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

import numpy as np

from ttfnet_tf import __version__

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

    def figures(self) -> dict[str, Any]:
        """For `json_text`: name, milliseconds as [10th percentile, median, 90th], images per call, images_per_second at the median."""
        spread = [round(float(value), 3) for value in np.percentile(self.milliseconds, [10, 50, 90])]
        per_second = round(1000 * self.images / max(spread[1], 1e-9), 2)
        return {"name": self.name.strip(), "milliseconds": spread, "images": self.images, "images_per_second": per_second}


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
    """Largest resident memory of this process so far.

    Linux says it without the memory of the process that started this one, with which `ru_maxrss` begins.
    """
    status = Path("/proc/self/status")
    found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text()) if status.exists() else None
    if found:
        return int(found[1]) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def machine() -> dict[str, Any]:
    """What the figures depend on: processor, its cores, GPUs with their peak memory in GB, and versions."""
    import tensorflow as tf

    gpus = []
    for number, gpu in enumerate(tf.config.get_visible_devices("GPU")):
        details = tf.config.experimental.get_device_details(gpu)
        memory = tf.config.experimental.get_memory_info(f"GPU:{number}")["peak"] / 2**30
        gpus.append(
            {"name": details.get("device_name"), "capability": details.get("compute_capability"), "peak_memory_gb": round(memory, 3)}
        )
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "gpus": gpus,
        "tensorflow": tf.__version__,
        "ttfnet_tf": __version__,
    }


def processor() -> str:
    """Name of the processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
