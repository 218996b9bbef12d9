"""Long use of one process: memory and open files stay what they are after the first tenth.

    python tests/soak/endurance.py [--steps 10000] [--calls 2000]

Trains a small network for so many steps, with its data pipeline, evaluations and checkpoints, and calls a `Detector` on image files of
many sizes. Memory (VmRSS) is the median over tenths of the steps or calls, so that what is allocated and freed within one does not count;
what is free is given back to the system before each look (malloc_trim), so that gaps between what is in use do not count.

Both pass with TensorFlow 2.15 on Python 3.11: training grows from 673 to 679 MB, 0.9 %, about 0.4 kB a step and 13 kB for an epoch with an
evaluation and a checkpoint; a `Detector` does not grow.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

_LIBC = ctypes.CDLL(None)
LOOK_EVERY = 5  # steps of training
FLAT = 0.01  # of the memory after the first tenth


class Watch:
    """Samples memory and open files of this process at each call of `look`."""

    def __init__(self):
        self.memory: list[int] = []
        self.files: list[int] = []

    def look(self) -> None:
        _LIBC.malloc_trim(0)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        self.memory.append(pages * os.sysconf("SC_PAGE_SIZE"))
        self.files.append(len(os.listdir("/proc/self/fd")))

    def report(self, name: str) -> bool:
        """Prints the figures; False if memory or files grew from the second to the last tenth."""
        tenth = max(len(self.memory) // 10, 1)
        medians = [statistics.median(self.memory[start : start + tenth]) for start in range(0, 10 * tenth, tenth)]
        first, last = medians[1], medians[-1]
        files = statistics.median_high(self.files[tenth : 2 * tenth]), statistics.median_high(self.files[-tenth:])
        growth = last / first - 1
        sizes = f"{' '.join(f'{one / 1e6:.0f}' for one in medians)} MB in each tenth ({growth:+.2%} from the second to the last)"
        print(f"{name}: {sizes}; open files {files[0]} and {files[1]}", flush=True)
        return growth <= FLAT and files[1] <= files[0]


def train(folder: Path, steps: int) -> bool:
    """A run with drawn images at 64 x 64, of 40 epochs."""
    from ttfnet_tf.config import load_config
    from ttfnet_tf.data.shapes import draw_shapes
    from ttfnet_tf.training.loop import TrainingLoop
    from ttfnet_tf.training.run import run_training

    draw_shapes(folder / "shapes", train=2 * max(steps // 40, 1), val=8, size=(64, 64))
    splits = [
        f"  {part}: {{annotations: {folder}/shapes/annotations/{part}.json, images: {folder}/shapes/{part}}}" for part in ("train", "val")
    ]
    settings = (
        "data:",
        *splits,
        "  image_size: [64, 64]",
        "model: {neck_channels: [8, 8, 8], shortcut: [1, 1, 1], heatmap_head: {width: 8, depth: 1}, box_head: {width: 8, depth: 1}}",
        "optim: {drop_epochs: [], ema_decay: 0.9}",
        "train: {epochs: 40, batch_size: 2, precision: float32, evaluate_every: 2, summary_images: 1}",
    )
    file = folder / "a.yaml"
    file.write_text("\n".join(settings))
    watch, judge = Watch(), TrainingLoop._judge

    def judge_and_look(loop, call):
        if call.step % LOOK_EVERY == 0:
            watch.look()
        return judge(loop, call)

    TrainingLoop._judge = judge_and_look
    try:
        result = run_training(load_config(file), folder / "run")
    finally:
        TrainingLoop._judge = judge
    assert result.finished
    return watch.report(f"training, {result.step} steps")


def detect(folder: Path, calls: int) -> bool:
    """A `Detector` of that run on 50 files of different sizes."""
    import cv2
    import numpy as np

    from ttfnet_tf.inference.detector import Detector

    detector, random = Detector.load(folder / "run"), np.random.default_rng(0)
    files = []
    for number in range(50):
        height, width = random.integers(20, 400, 2)
        files.append(folder / f"{number}.jpg")
        cv2.imwrite(str(files[-1]), random.integers(0, 255, (height, width, 3), np.uint8))
    watch = Watch()
    for number in range(calls):
        detector(files[number % len(files)])
        watch.look()
    return watch.report(f"Detector, {calls} calls")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=2_000)
    args = parser.parse_args(argv)

    import networks
    import pytest

    networks.narrow(pytest.MonkeyPatch())
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        flat = [train(Path(folder), args.steps), detect(Path(folder), args.calls)]
    print(f"{time.monotonic() - started:.0f} s")
    return 0 if all(flat) else 1


if __name__ == "__main__":
    sys.exit(main())
