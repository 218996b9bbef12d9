"""Batches for training and evaluation: tf.data around one NumPy function an image.

Order and randomness are functions of (seed, epoch, index): the batch of step s never depends on what was read before, so a run may
start at any step and goes on bit for bit. The dictionaries that come out are described at the `build_*` functions and in
docs/data_contract.md.

A mistake of the user inside tf.data (an image that is missing or broken) travels as one marked line in TensorFlow's error; `iterate` and
`reraise` turn it back into the UserError.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import tensorflow as tf

from ttfnet_tf.data.augment import Augmentation, augment_image
from ttfnet_tf.data.coco import AnnotatedImage, CocoSplit
from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.data.transforms import image_rng, resize
from ttfnet_tf.errors import UserError
from ttfnet_tf.methods.base import Method

_MARK, _END = "UserError<<", ">>UserError"  # around a UserError's line inside a TensorFlow error
_FLIP = Augmentation(flip=0.5)
_PREFETCH = 2  # batches; a batch of 512 px targets with 80 classes is 85 MB at 16 images


class ImageNotes:
    """What was noticed about images while reading them; each image is counted and named once. Safe across threads."""

    def __init__(self) -> None:
        self.broken: dict[int, str] = {}  # image id -> line
        self.resized: dict[int, str] = {}  # image id -> line; images of another size than the annotations say
        self._unread: list[str] = []
        self._lock = threading.Lock()

    def add_broken(self, image: AnnotatedImage, line: str) -> None:
        self._add(self.broken, image, line)

    def add_resized(self, image: AnnotatedImage, size: tuple[int, int]) -> None:
        expected, found = (f"{width}x{height}" for height, width in (image.size, size))
        where = f"{image.path} (image id {image.id})"
        self._add(self.resized, image, f"{where}: is {found}, not {expected} as annotated; its boxes may not fit")

    def new_lines(self) -> list[str]:
        """Lines that no earlier call returned, one an image."""
        with self._lock:
            lines, self._unread = self._unread, []
        return lines

    def _add(self, group: dict[int, str], image: AnnotatedImage, line: str) -> None:
        with self._lock:
            if image.id not in group:
                group[image.id] = line
                self._unread.append(line)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Batches until every image was seen; the last one is filled up from the start of the epoch's order."""
    return -(-num_images // batch_size)


def epoch_order(seed: tf.Tensor, epoch: tf.Tensor, positions: tf.Tensor, num_images: int) -> tf.Tensor:
    """Indices of the images at `positions` (int64 [P], from 0, taken modulo `num_images`) of the permutation of (seed, epoch)."""
    key = tf.stack([tf.cast(seed, tf.int64), tf.cast(epoch, tf.int64)])
    last = tf.constant(num_images - 1, tf.int64)
    return tf.random.experimental.index_shuffle(tf.math.floormod(positions, last + 1), key, last)


def build_train_dataset(
    split: CocoSplit,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    seed: int,
    method: Method,
    augment: Augmentation = _FLIP,
    backend: str = "py_function",
    broken_images: str = "raise",
    workers: int = 0,
    start_step: int = 0,
    num_shards: int = 1,
    shard_index: int = 0,
    notes: ImageNotes | None = None,
) -> tf.data.Dataset:
    """Endless batches; element n is the batch of step `start_step + n`.

    Args:
        split: what to train on.
        image_size: (H, W) of the input in pixels.
        batch_size: B images of a global batch, a multiple of `num_shards`.
        seed: of order and augmentation.
        method: draws the targets; made for `image_size` and the classes of the split.
        augment: what is changed at random between decoding and batching.
        backend: "py_function" paints targets in NumPy and "graph" in TensorFlow, both here; "device" leaves them to the training step.
        broken_images: "raise" stops at an image that cannot be read; "skip" takes the next of the epoch's order that can, and notes it.
        workers: images in work at a time; 0 lets tf.data choose.
        start_step: first step.
        num_shards: input pipelines that share a global batch.
        shard_index: k takes the rows k B / num_shards up to (k + 1) B / num_shards.
        notes: collects what is noticed about images.

    Returns:
        Dataset of dictionaries of static shape, with b = B / num_shards and M = `split.max_boxes`:
        "image" uint8 [b, H, W, 3] RGB; "boxes" float32 [b, M, 4] xyxy in its pixels; "labels" int32 [b, M], -1 in padding rows;
        "image_id" int64 [b]; "original_size" int32 [b, 2] height and width of the file's image; and unless backend="device"
        the maps of `method.target_shapes`, float32.

    Raises:
        UserError: an image file is missing (unless skipped), or no image of the split exists.
        ValueError: an argument outside its choices.
    """
    _check_choice("backend", backend, ("py_function", "graph", "device"))
    _check_choice("broken_images", broken_images, ("raise", "skip"))
    if batch_size % num_shards or not 0 <= shard_index < num_shards:
        raise ValueError(f"batch_size {batch_size} must be a multiple of num_shards {num_shards}, and shard_index {shard_index} below it")
    notes = notes or ImageNotes()
    check_files(split, broken_images)
    count = len(split.images)
    epoch_steps = steps_per_epoch(count, batch_size)
    rows = batch_size // num_shards

    def shard_of_step(step):
        epoch, step_in_epoch = step // epoch_steps, step % epoch_steps
        positions = step_in_epoch * batch_size + shard_index * rows + tf.range(rows, dtype=tf.int64)
        return tf.fill([rows], epoch), positions, epoch_order(seed, epoch, positions, count)

    def make_example(epoch, position, index):
        """One row of the batch, in NumPy."""
        image, annotated, index = _read(split, int(epoch), int(position), int(index), seed=seed, policy=broken_images, notes=notes)
        original_size = image.shape[:2]
        rng = image_rng(seed, int(epoch), index)
        image, boxes, labels = augment_image(image, annotated.boxes, annotated.labels, image_size, augment, rng)
        example = _example(image, boxes, labels, annotated.id, original_size, split.max_boxes)
        if backend == "py_function":
            example.update(method.paint(boxes, labels))
        return example

    signature = _signature(split, image_size)
    if backend == "py_function":
        signature.update({name: tf.TensorSpec(shape, tf.float32) for name, shape in method.target_shapes.items()})
    dataset = tf.data.Dataset.range(start_step, np.iinfo(np.int64).max)
    dataset = dataset.map(shard_of_step).unbatch()
    dataset = dataset.map(_in_graph(make_example, signature), num_parallel_calls=workers or tf.data.AUTOTUNE, deterministic=True)
    dataset = dataset.batch(rows, drop_remainder=True)
    if backend == "graph":
        dataset = dataset.map(lambda batch: {**batch, **method.render(batch["boxes"], batch["labels"])})
    return _finish(dataset)


def build_eval_dataset(
    split: CocoSplit,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    broken_images: str = "raise",
    workers: int = 0,
    notes: ImageNotes | None = None,
) -> tf.data.Dataset:
    """Every image of the split once, in its order.

    The last batch is filled up with black rows of image_id -1. So is, with broken_images="skip", the row of an image that cannot
    be read: it counts in the evaluation as one without detections.

    Args and Returns are those of `build_train_dataset` with backend="device".

    Raises:
        UserError: an image file is missing (unless skipped), or no image of the split exists.
    """
    _check_choice("broken_images", broken_images, ("raise", "skip"))
    notes = notes or ImageNotes()
    check_files(split, broken_images)
    black, no_boxes, no_labels = np.zeros([*image_size, 3], np.uint8), np.zeros([0, 4], np.float32), np.zeros([0], np.int32)
    padding = _example(black, no_boxes, no_labels, -1, image_size, split.max_boxes)

    def make_example(index):
        if index >= len(split.images):
            return padding
        annotated = split.images[int(index)]
        image = _read_image(annotated, broken_images, notes)
        if image is None:
            return padding
        resized, boxes = resize(image, annotated.boxes, image_size)
        return _example(resized, boxes, annotated.labels, annotated.id, image.shape[:2], split.max_boxes)

    dataset = tf.data.Dataset.range(steps_per_epoch(len(split.images), batch_size) * batch_size)
    dataset = dataset.map(_in_graph(make_example, _signature(split, image_size)), num_parallel_calls=workers or tf.data.AUTOTUNE)
    return _finish(dataset.batch(batch_size, drop_remainder=True))


def iterate(dataset: tf.data.Dataset) -> Iterator[Any]:
    """The elements of `dataset`; an error of its images comes as the UserError it was.

    Raises:
        UserError: an image cannot be read.
    """
    iterator = iter(dataset)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except tf.errors.OpError as error:
            raise reraise(error) from None
        yield batch


def reraise(error: BaseException) -> BaseException:
    """The UserError inside an error of TensorFlow, or `error` itself; for `raise reraise(error) from None`."""
    _, mark, rest = str(error).partition(_MARK)
    line, end, _ = rest.partition(_END)
    return UserError(line) if mark and end else error


def _read(split: CocoSplit, epoch: int, position: int, index: int, *, seed: int, policy: str, notes: ImageNotes):
    """(image, image, index) at `position`, or with policy "skip" of the next position whose image can be read."""
    count = len(split.images)
    for step in range(count):
        if step:
            index = int(epoch_order(seed, epoch, tf.constant(position + step, tf.int64), count))
        annotated = split.images[index]
        image = _read_image(annotated, policy, notes)
        if image is not None:
            return image, annotated, index
    raise UserError(f"{split.annotations}: none of its {count} images can be read; the first: {next(iter(notes.broken.values()))}")


def _read_image(annotated: AnnotatedImage, policy: str, notes: ImageNotes) -> np.ndarray | None:
    """uint8 [H, W, 3], or None for an image to skip."""
    try:
        image = read_rgb(annotated.path, name=f"{annotated.path} (image id {annotated.id})")
    except UserError as error:
        if policy == "raise":
            raise UserError(f"{error}; mend or remove it, or set data.broken_images=skip") from None
        notes.add_broken(annotated, str(error))
        return None
    if image.shape[:2] != annotated.size:
        notes.add_resized(annotated, image.shape[:2])
    return image


def _example(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, image_id: int, size: tuple[int, int], max_boxes: int
) -> dict[str, np.ndarray]:
    padded_boxes, padded_labels = np.zeros([max_boxes, 4], np.float32), np.full([max_boxes], -1, np.int32)
    padded_boxes[: len(boxes)], padded_labels[: len(boxes)] = boxes, labels
    return {
        "image": image,
        "boxes": padded_boxes,
        "labels": padded_labels,
        "image_id": np.int64(image_id),
        "original_size": np.array(size, np.int32),
    }


def _signature(split: CocoSplit, image_size: tuple[int, int]) -> dict[str, tf.TensorSpec]:
    return {
        "image": tf.TensorSpec([*image_size, 3], tf.uint8),
        "boxes": tf.TensorSpec([split.max_boxes, 4], tf.float32),
        "labels": tf.TensorSpec([split.max_boxes], tf.int32),
        "image_id": tf.TensorSpec([], tf.int64),
        "original_size": tf.TensorSpec([2], tf.int32),
    }


def _in_graph(make_example: Callable[..., dict[str, np.ndarray]], signature: dict[str, tf.TensorSpec]) -> Callable:
    """The NumPy function as a function of tensors with static shapes.

    A UserError comes out as a string and is raised by an assertion: an exception would bring its stack trace into the log.
    """
    nothing = [np.zeros(spec.shape, spec.dtype.as_numpy_dtype) for spec in signature.values()]

    def run(*arguments):
        try:
            example = make_example(*arguments)
        except UserError as error:
            return [str(error).encode(), *nothing]
        return [b"", *(example[key] for key in signature)]

    def function(*arguments):
        fault, *values = tf.numpy_function(run, arguments, [tf.string, *(spec.dtype for spec in signature.values())])
        fault.set_shape([])
        message = tf.strings.join([_MARK, fault, _END])
        with tf.control_dependencies([tf.debugging.Assert(tf.equal(fault, ""), [message])]):
            values = [tf.identity(value) for value in values]
        for value, spec in zip(values, signature.values()):
            value.set_shape(spec.shape)
        return dict(zip(signature, values))

    return function


def _finish(dataset: tf.data.Dataset) -> tf.data.Dataset:
    cv2.setNumThreads(1)  # tf.data works on several images at a time; threads of one resize would only compete
    options = tf.data.Options()
    # Shards are cut by index, and a second cut would lose rows.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    return dataset.prefetch(_PREFETCH).with_options(options)


def check_files(split: CocoSplit, policy: str) -> None:
    """Finds missing files before the first step instead of hours later.

    Args:
        split: whose images to look for.
        policy: "raise", or "skip" to be content with one that is there.

    Raises:
        UserError: names the first one that is missing.
    """
    missing = [image for image in split.images if not image.path.is_file()]
    if missing and (policy == "raise" or len(missing) == len(split.images)):
        first, others = missing[0], len(missing) - 1
        more = f" and {others} more of {len(split.images)}" if others else ""
        raise UserError(f"{first.path} (image id {first.id}){more}: no such file; check the images folder of {split.annotations}")


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, received {value!r}")
