"""Speed of the training input beside pure JPEG decoding of the same files, by number of images and of threads."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.benchmarks.stages import OnStage
from ttfnet_tf.config import Config
from ttfnet_tf.data.annotated_images import AnnotatedImage, AnnotatedImages
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.image_reader import ImageReader
from ttfnet_tf.data.pipeline import single_threaded_opencv
from ttfnet_tf.data.samples import ImageNotes, train_pixels
from ttfnet_tf.files import write_bytes

COUNTS = (5_000, 117_266)  # images; the second is COCO train2017 without empty images
THREADS = (1, 2, 4, 8)  # that read or decode
OPENCV, TENSORFLOW = "JPEG decoding, OpenCV", "JPEG decoding, TensorFlow"
_DRAWN, _DRAWN_SIZE = 64, (480, 640)
_SECONDS = 1.0  # of one measurement
_SKIPPED = 4  # batches at the start of one, which lay ready


@dataclasses.dataclass(frozen=True)
class Rate:
    """Medians over all rounds."""

    name: str
    threads: int
    per_second: float  # images
    per_core: float  # images for each second of processor time

    def __str__(self) -> str:
        return f"{self.name:34} {self.threads:2} threads {self.per_second:9.1f} images/s {self.per_core:9.1f} a core"


@dataclasses.dataclass(frozen=True)
class InputSpeed:
    """What `benchmark_input` measured."""

    rates: list[Rate]
    lock_milliseconds: tuple[float, float]  # an image: the most that Python holds its lock at the first read and at later ones

    def __str__(self) -> str:
        first, again = self.lock_milliseconds
        lock = f"Python's lock is held for {first:.3f} ms an image at most, {again:.3f} ms when read again"
        return "\n".join([*map(str, self.rates), lock])

    def figures(self) -> list[dict[str, Any]]:
        """For `json_text`."""
        first, again = self.lock_milliseconds
        locks = [{"name": "lock, first read", "milliseconds": first}, {"name": "lock", "milliseconds": again}]
        return [*map(dataclasses.asdict, self.rates), *locks]


@single_threaded_opencv()
def benchmark_input(config: Config, *, counts: Sequence[int] = COUNTS, repeats: int, on_stage: OnStage = None) -> InputSpeed:
    """Reads training batches, and decodes their files, in turn.

    Args:
        config: settings of a run; without `data.train`, photograph-like images of 640 x 480 are drawn. Its images are repeated.
        counts: images of the splits that are compared.
        repeats: rounds; each measures everything for about a second.
        on_stage: called with the name of each stage.
    """
    with tempfile.TemporaryDirectory() as folder:
        split = build.load_split(config, "train") if config.data.train.files else _drawn(Path(folder))
        splits = {f"{count} images": repeated(split, count) for count in counts}
        rates = []
        for number in THREADS:
            calls = {name: _decoding(split, decode, number) for name, decode in ((OPENCV, _opencv), (TENSORFLOW, _tensorflow))}
            calls.update((name, _reading(config, one, number)) for name, one in splits.items())
            if on_stage is not None:
                on_stage(f"{number} threads")
            rates += _in_turn(calls, number, repeats)
        if on_stage is not None:
            on_stage("Python's lock")
        return InputSpeed(rates, lock_milliseconds(config, split))


def repeated(split: CocoSplit, count: int) -> CocoSplit:
    """A split of `count` images: those of `split`, again and again, with ids from 1."""
    images = split.images.chosen(np.arange(count) % len(split.images))
    return dataclasses.replace(split, images=dataclasses.replace(images, ids=np.arange(1, count + 1)))


def lock_milliseconds(config: Config, split: CocoSplit) -> tuple[float, float]:
    """Processor time that one image takes in Python itself, when its file is read for the first time and when it is read again.

    Measured in one thread, from the time of the whole and of the functions that give the lock back: those that read files, decode, resize
    and mirror, and those that look for the end of a JPEG's data.
    """
    outside, indices = [0.0], range(min(len(split.images), 200))
    settings: dict[str, Any] = {
        "image_size": config.data.size,
        "keep_ratio": config.data.keep_ratio,
        "seed": 0,
        "flip": 0.5,
        "broken_images": "raise",
    }
    settings.update(notes=ImageNotes())

    def timed(function):
        def run(*arguments, **more):
            start = time.thread_time()
            try:
                return function(*arguments, **more)
            finally:
                outside[0] += time.thread_time() - start

        return run

    def measured(reader: ImageReader) -> float:
        outside[0], start = 0.0, time.thread_time()
        for index in indices:
            train_pixels(split, 0, index, index, index % 2 == 0, reader=reader, **settings)
        return 1000 * (time.thread_time() - start - outside[0]) / len(indices)

    functions = [(cv2, "imdecode"), (cv2, "resize"), (cv2, "flip"), (os, "open"), (os, "read"), (os, "close")]
    with contextlib.ExitStack() as stack:
        for module, name in (*functions, (np, "equal"), (np, "flatnonzero")):
            stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, timed(getattr(module, name)))
        readers = [ImageReader(len(split.images)) for _ in range(4)]
        first, again = ([measured(reader) for reader in readers] for _ in range(2))
    return float(np.median(first[1:])), float(np.median(again[1:]))


def _in_turn(calls: dict[str, Callable[[], tuple[float, float]]], threads: int, repeats: int) -> list[Rate]:
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            found[name].append(call())
    return [Rate(name, threads, *np.median(values, axis=0).round(1).tolist()) for name, values in found.items()]


def _rates(work: Callable[[], int]) -> tuple[float, float]:
    """Images for each second, and for each second of processor time, of a function that returns its number of images."""
    wall, processor = time.perf_counter(), time.process_time()
    images = work()
    return images / (time.perf_counter() - wall), images / (time.process_time() - processor)


def _reading(config: Config, split: CocoSplit, threads: int) -> Callable[[], tuple[float, float]]:
    """A call that reads batches for a while; before and after it nothing is read ahead, which would disturb the other calls."""
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, workers=threads))

    def call() -> tuple[float, float]:
        batches = iter(build.train_dataset(config, split))
        for _ in range(_SKIPPED):
            next(batches)

        def read() -> int:
            count, end = 0, time.perf_counter() + _SECONDS
            while not count or time.perf_counter() < end:
                next(batches)
                count += config.train.batch_size
            return count

        return _rates(read)

    return call


def _decoding(split: CocoSplit, decode: Callable[[bytes], object], threads: int) -> Callable[[], tuple[float, float]]:
    """A call that reads and decodes files for a while."""
    sources = itertools.cycle([split.images[index].path for index in range(len(split.images))])

    def decode_until(end: float) -> int:
        count = 0
        while not count or time.perf_counter() < end:
            decode(next(sources).read_bytes())
            count += 1
        return count

    def call() -> tuple[float, float]:
        with ThreadPoolExecutor(threads) as pool:
            return _rates(lambda: sum(pool.map(decode_until, [time.perf_counter() + _SECONDS] * threads)))

    return call


def _opencv(data: bytes) -> object:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)


def _tensorflow(data: bytes) -> object:
    return tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")


def _drawn(folder: Path) -> CocoSplit:
    """Images with the detail of photographs, JPEG of about 150 KB, with seven boxes each."""
    random, (height, width) = np.random.default_rng(0), _DRAWN_SIZE
    images = []
    for number in range(_DRAWN):
        coarse = random.integers(0, 256, (12, 16, 3), np.uint8)
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
        pixels = np.clip(smooth + random.normal(0, 9, (height, width, 1)), 0, 255).astype(np.uint8)
        path = folder / f"{number:03d}.jpg"
        write_bytes(path, cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes())
        corners = np.sort(random.uniform(0, height, (7, 2, 2)), axis=1).reshape(7, 4).astype(np.float32)
        images.append(AnnotatedImage(number, path, _DRAWN_SIZE, corners, random.integers(0, 80, 7).astype(np.int32)))
    return CocoSplit(AnnotatedImages.of(images), list(range(1, 81)), [f"class {k}" for k in range(80)], folder / "drawn.json", {})
