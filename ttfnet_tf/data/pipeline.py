"""Batches for training and evaluation: order -> samples -> batches, in tf.data.

Order and randomness are functions of (seed, epoch, index): the batch of a step does not depend on the steps before it, so that a run
can start at any step and resumes bit for bit. `data.order` says which image comes when, `data.samples` makes one row.

A UserError inside tf.data, about an image, travels as one marked line in TensorFlow's error (`data.in_graph`); `iterate` turns it back.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from ttfnet_tf.data.augment import Augmentation
from ttfnet_tf.data.balance import balance_of
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.image_cache import cache_of
from ttfnet_tf.data.image_reader import ImageReader
from ttfnet_tf.data.in_graph import checked, in_graph, marked, reraise
from ttfnet_tf.data.order import rows_of_step, steps_per_epoch
from ttfnet_tf.data.packed_pipeline import can_read, flips, note_sizes, packed_row
from ttfnet_tf.data.rows import Rows
from ttfnet_tf.data.samples import (
    ImageNotes,
    eval_sample,
    example_signature,
    most_boxes,
    pixels_signature,
    train_pixels,
    train_sample,
)
from ttfnet_tf.data.service import BATCH_SECONDS, check_service, read_in_order
from ttfnet_tf.errors import UserError
from ttfnet_tf.methods.base import Method
from ttfnet_tf.methods.targets import Paint

_LOST = "data.service={}: a batch does not come, a worker has ended with it; start the same command again, which resumes"
_SILENT = f"data.service={{}}: no batch for {BATCH_SECONDS} s; check that its workers run, and start the same command again, which resumes"
_FLIP = Augmentation(flip=0.5)
_as_written = tf.autograph.experimental.do_not_convert  # AutoGraph takes a tenth of a second for each function and changes none of ours
_PARALLEL_BATCHES = 2  # whose targets are drawn at a time; each needs the memory of its maps twice
_PREFETCH = 2  # batches; a batch of 512 px targets with 80 classes is 85 MB at 16 images


def build_train_dataset(
    split: CocoSplit,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    seed: int,
    method: Method,
    augment: Augmentation = _FLIP,
    backend: str = "device",
    broken_images: str = "raise",
    workers: int = 0,
    start_step: int = 0,
    num_shards: int = 1,
    shard_index: int = 0,
    notes: ImageNotes | None = None,
    service: str = "",
    cache: str = "none",
    class_balance: float = 0.0,
    keep_ratio: bool = False,
) -> tf.data.Dataset:
    """Endless batches; element n is the batch of step `start_step + n`.

    Args:
        split: what to train on.
        image_size: (H, W) of the input in pixels.
        batch_size: B images of a global batch, a multiple of `num_shards`.
        seed: of order and augmentation.
        method: draws the targets; made for `image_size` and the classes of the split.
        augment: the random changes between decoding and batching.
        backend: where targets are drawn: "py_function" in NumPy, "graph" in TensorFlow, both here; "device" in the training step.
        broken_images: "raise" stops at an image that cannot be read; "skip" takes the next one of the order and notes it.
        workers: images processed at a time; 0 is one for each processor core.
        start_step: first step.
        num_shards: input pipelines that share a global batch.
        shard_index: k takes the rows k B / num_shards up to (k + 1) B / num_shards.
        notes: collects problems of images.
        service: grpc://host:port of a tf.data service whose workers make the batches; the images must be packed.
        cache: "ram" or "disk" keeps resized images; then nothing in `augment` may come before the resize.
        class_balance: threshold of `balance.balance_of`; 0 is off. Not with a service.
        keep_ratio: whether images keep their ratio, see `boxes.fitted_size`.

    Returns:
        Dataset of dictionaries of static shape, with b = B / num_shards and M = `samples.most_boxes`: "image" uint8 [b, H, W, 3] RGB;
        "boxes" float32 [b, M, 4] xyxy in its pixels; "labels" int32 [b, M], -1 in padding rows; "image_id" int64 [b];
        "original_size" int32 [b, 2] of the file; and unless backend="device" the maps of `method.target_shapes`, float32.

    Raises:
        UserError: an image file is missing (unless skipped), no image of the split exists, or the service cannot make its batches.
        ValueError: an argument outside its choices.
    """
    _check_train_arguments(backend, broken_images, batch_size, num_shards, shard_index)
    check_files(split, broken_images)
    if service:
        check_service(service)
    paint, maps = (method.paint, method.target_shapes) if backend == "py_function" else (None, {})
    settings: dict[str, Any] = {"image_size": image_size, "keep_ratio": keep_ratio, "seed": seed, "broken_images": broken_images}
    settings |= {"notes": notes or ImageNotes(), "reader": ImageReader(len(split.images))}
    settings["cache"] = cache_of(split, cache, image_size, keep_ratio)
    rows, balance = batch_size // num_shards, balance_of(split, class_balance, seed)
    steps = tf.data.Dataset.range(start_step, np.iinfo(np.int64).max)
    numbers = steps.map(rows_of_step(seed, len(split.images), batch_size, rows, shard_index * rows, balance))
    parallel = workers or _cores()
    if service:
        if not can_read(split, augment):
            raise UserError(f"data.service={service}: its workers read packed images only; pack {split.annotations} with ttfnet data pack")
        note_sizes(split, settings["notes"])
        make_row = packed_row(split, image_size, keep_ratio, augment.flip, seed, batch_size)
        calls = workers or tf.data.AUTOTUNE  # on its workers
        dataset = numbers.unbatch().map(make_row, num_parallel_calls=calls).batch(rows, drop_remainder=True)
        messages = {name: marked(text.format(service)) for name, text in (("lost", _LOST), ("silent", _SILENT))}
        dataset = read_in_order(dataset, service, first_step=start_step, **messages)
    elif augment == Augmentation(flip=augment.flip) and balance is None:
        dataset = _batches_of_files(numbers, split, augment, settings, rows, parallel)
    else:
        make_row = _sampled_row(split, augment, {**settings, "balance": balance})
        dataset = numbers.unbatch().map(make_row, num_parallel_calls=parallel, deterministic=True).batch(rows, drop_remainder=True)
        dataset = dataset.map(checked)
    if paint is not None:
        dataset = dataset.unbatch().map(_painted(paint, maps), num_parallel_calls=parallel, deterministic=True)
        dataset = dataset.batch(rows, drop_remainder=True)
    if backend == "graph":
        render = _as_written(lambda batch: {**batch, **method.render(batch["boxes"], batch["labels"])})
        dataset = dataset.map(render, num_parallel_calls=_PARALLEL_BATCHES, deterministic=True)
    return _finish(dataset)


def build_eval_dataset(
    split: CocoSplit,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    broken_images: str = "raise",
    workers: int = 0,
    notes: ImageNotes | None = None,
    cache: str = "none",
    keep_ratio: bool = False,
) -> tf.data.Dataset:
    """Every image of the split once, in its order.

    The last batch is filled up with black rows of image_id -1. With broken_images="skip" the row of an image that cannot be read is
    such a row too: the image counts in the evaluation as one without detections.

    Args and Returns are those of `build_train_dataset` with backend="device".

    Raises:
        UserError: an image file is missing (unless skipped), or no image of the split exists.
    """
    _check_choice("broken_images", broken_images, ("raise", "skip"))
    check_files(split, broken_images)
    settings: dict[str, Any] = {"broken_images": broken_images, "notes": notes or ImageNotes(), "reader": ImageReader(len(split.images))}
    settings.update(cache=cache_of(split, cache, image_size, keep_ratio), keep_ratio=keep_ratio)

    def sample(index):
        return eval_sample(split, int(index), image_size=image_size, **settings)

    dataset = tf.data.Dataset.range(steps_per_epoch(len(split.images), batch_size) * batch_size)
    dataset = dataset.map(in_graph(sample, example_signature(split.max_boxes, image_size)), num_parallel_calls=workers or _cores())
    return _finish(dataset.batch(batch_size, drop_remainder=True).map(checked))


def check_files(split: CocoSplit, broken_images: str) -> None:
    """Finds missing files before the first step instead of hours later.

    Each file of a split is looked for once: later calls, such as that of a second dataset, take the answer of the first.

    Args:
        split: whose images to look for.
        broken_images: "raise", or "skip" to accept missing files as long as one exists.

    Raises:
        UserError: names the first one that is missing.
    """
    missing, count = split.missing_images, split.images.num_files
    if missing and (broken_images == "raise" or len(missing) == count):
        first, others = missing[0], len(missing) - 1
        more = f" and {others} more of {count}" if others else ""
        raise UserError(f"{first.path} (image id {first.id}){more}: no such file; check the images folder of {split.annotations}")


def iterate(dataset: tf.data.Dataset) -> Iterator[Any]:
    """The elements of `dataset`; a UserError inside it comes out as it was.

    Raises:
        UserError: an image cannot be read.
    """
    with single_threaded_opencv():
        iterator = iter(dataset)
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                return
            except tf.errors.OpError as error:
                raise reraise(error) from None
            yield batch


_opencv_lock = threading.Lock()
_opencv_users: list[int] = []  # threads that OpenCV had when each of the open blocks began


@contextlib.contextmanager
def single_threaded_opencv() -> Iterator[None]:
    """OpenCV uses one thread inside the block; the last of several open blocks gives back what the first one found.

    The setting belongs to the process, so whoever reads batches sets it, here and nowhere else: `iterate` for itself, training for its
    whole loop. tf.data works on several images at a time, and threads inside one resize would only compete. Pixels do not depend on it.
    """
    with _opencv_lock:
        _opencv_users.append(cv2.getNumThreads() if not _opencv_users else _opencv_users[0])
        cv2.setNumThreads(1)
    try:
        yield
    finally:
        with _opencv_lock:
            before = _opencv_users.pop()
            if not _opencv_users:
                cv2.setNumThreads(before)


def _sampled_row(split: CocoSplit, augment: Augmentation, settings: dict[str, Any]) -> Callable:
    """(epoch, position, index and perhaps copy) -> a row, all of it in Python."""

    def sample(*numbers):
        return train_sample(split, *map(int, numbers), augmentation=augment, **settings)

    return in_graph(sample, example_signature(most_boxes(split, augment), settings["image_size"]))


def _batches_of_files(
    numbers: tf.data.Dataset, split: CocoSplit, augment: Augmentation, settings: dict[str, Any], rows: int, parallel: int
) -> tf.data.Dataset:
    """Batches where nothing but the flip is random: only pixels come from Python, all else is made for `rows` rows at a time.

    A row of its own would take as many operations as a batch, and they would cost as much as its resize.
    """
    make, is_flipped = Rows(split, settings["image_size"], settings["keep_ratio"]), flips(augment.flip, settings["seed"])

    def drawn(epochs, positions, indices):
        return tf.stack([epochs, positions, indices, tf.cast(is_flipped(epochs, indices), tf.int64)], axis=1)

    def pixels(numbers):
        epoch, position, index, is_flipped = numbers.tolist()
        return train_pixels(split, epoch, position, index, bool(is_flipped), flip=augment.flip, **settings)

    def make_rows(found):
        found = checked(found)
        return make.of_images(found["index"], found["image"], found["original_size"], found["is_flipped"])

    read = in_graph(pixels, pixels_signature(settings["image_size"]))
    dataset = numbers.map(_as_written(drawn)).unbatch().map(read, num_parallel_calls=parallel, deterministic=True)
    return dataset.batch(rows, drop_remainder=True).map(_as_written(make_rows))


def _painted(paint: Paint, maps: Mapping[str, tuple[int, ...]]) -> Callable:
    """A row -> the row with the target maps of its boxes, drawn in NumPy."""

    def run(boxes, labels):
        known = labels >= 0
        painted = paint(boxes[known], labels[known])
        return [painted[name] for name in maps]

    def function(row):
        drawn = tf.numpy_function(run, (row["boxes"], row["labels"]), [tf.float32] * len(maps))
        return {**row, **{name: tf.ensure_shape(values, shape) for (name, shape), values in zip(maps.items(), drawn)}}

    return _as_written(function)


@functools.cache
def _close_iterators_at_exit() -> None:
    """Ends reading ahead before the interpreter does, once in a process.

    The threads of tf.data call `sample` until an iterator is deleted. One that a program has not read to its end would live until the
    interpreter is taken down, where a thread that asks for Python ends the process ("terminate called without an active exception") or
    waits for ever.
    """
    atexit.register(_close_iterators)


def _close_iterators() -> None:
    for one in gc.get_objects():
        if issubclass(type(one), tf.data.Iterator):
            vars(one).clear()  # the handle among them, with which the iterator goes; waits for calls of `sample` that have begun


def _finish(dataset: tf.data.Dataset) -> tf.data.Dataset:
    _close_iterators_at_exit()
    options = tf.data.Options()
    # The thread that chooses numbers of parallel calls sleeps for up to a minute, and to delete an iterator is to wait for it: it may be
    # woken a moment before it can see that it is cancelled. Nothing here leaves a number to it.
    options.autotune.enabled = False
    # Shards are cut by index, and a second cut would lose rows.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.prefetch(_PREFETCH).with_options(options)


def _cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_train_arguments(backend: str, broken_images: str, batch_size: int, num_shards: int, shard_index: int) -> None:
    _check_choice("backend", backend, ("py_function", "graph", "device"))
    _check_choice("broken_images", broken_images, ("raise", "skip"))
    if batch_size % num_shards or not 0 <= shard_index < num_shards:
        raise ValueError(f"batch_size {batch_size} must be a multiple of num_shards {num_shards}, and shard_index {shard_index} below it")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, received {value!r}")
