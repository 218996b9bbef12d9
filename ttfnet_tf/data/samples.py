"""One row of a batch, in NumPy: read the image, augment or resize it, pad its boxes.

A sample is a function of (seed, epoch, index): any row of any batch can be made again by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ttfnet_tf.boxes import fitted_size, resize_boxes
from ttfnet_tf.data.annotated_images import AnnotatedImage
from ttfnet_tf.data.augment import Augmentation, augment_sample
from ttfnet_tf.data.balance import ClassBalance
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.image_cache import ImageCache
from ttfnet_tf.data.image_reader import ImageReader
from ttfnet_tf.data.mosaic import Labelled
from ttfnet_tf.data.order import epoch_order
from ttfnet_tf.data.transforms import fit, image_rng, new_pixels, resize, resized
from ttfnet_tf.errors import UserError

Example = dict[str, Any]
Keep = Callable[[int, np.ndarray], None]


class ImageNotes:
    """Problems seen while reading images; each image is counted and named once. Safe across threads."""

    def __init__(self) -> None:
        self.broken: dict[int, str] = {}  # image id -> line; images that were skipped
        self.resized: dict[int, str] = {}  # image id -> line; images of another size than annotated
        self._unread: list[str] = []
        self._lock = threading.Lock()

    def add_broken(self, image: AnnotatedImage, line: str) -> None:
        self._add(self.broken, image, line)

    def add_resized(self, image: AnnotatedImage, size: tuple[int, int]) -> None:
        annotated, actual = (f"{width}x{height}" for height, width in (image.size, size))
        where = f"{image.path} (image id {image.id})"
        self._add(self.resized, image, f"{where}: is {actual}, not {annotated} as annotated; its boxes may not fit")

    def new_lines(self) -> list[str]:
        """Lines that no earlier call returned, one for each image."""
        with self._lock:
            lines, self._unread = self._unread, []
        return lines

    def _add(self, group: dict[int, str], image: AnnotatedImage, line: str) -> None:
        with self._lock:
            if image.id not in group:
                group[image.id] = line
                self._unread.append(line)


def train_sample(
    split: CocoSplit,
    epoch: int,
    position: int,
    index: int,
    copy: int = 0,
    *,
    image_size: tuple[int, int],
    seed: int,
    augmentation: Augmentation,
    balance: ClassBalance | None = None,
    broken_images: str,
    notes: ImageNotes,
    reader: ImageReader,
    cache: ImageCache | None = None,
    keep_ratio: bool = False,
) -> Example:
    """The augmented image at a position of an epoch, with its boxes.

    Args:
        split: the images.
        epoch: from 0.
        position: of the image in the order of the epoch; where the search for the next readable image starts.
        index: of the image in `split.images`.
        copy: earlier positions of the epoch with this image, in the order of `balance`.
        image_size: (H, W) of the result in pixels.
        seed: of order and augmentation.
        augmentation: the random changes.
        balance: how often images are seen; None is once an epoch.
        broken_images: "raise", or "skip" to take the next image of the order.
        notes: collects problems.
        reader: of the split's files.
        cache: keeps resized images; nothing in `augmentation` may come before the resize.
        keep_ratio: whether images keep their ratio, see `boxes.fitted_size`.
    """
    kept = None if cache is None else _kept(cache, split, index, notes, image_size, keep_ratio)
    if kept is None:
        keep = _keeper(cache, image_size, keep_ratio)
        image, index = _read_or_next(split, epoch, position, index, seed, broken_images, notes, reader, balance, keep)
        original_size, boxes = image.shape[:2], split.images.objects(index)[0]
        if cache is not None:
            image, boxes = resize(image, boxes, image_size, keep_ratio=keep_ratio)
            cache.put(index, image, original_size)
    else:
        image, boxes, original_size = kept
    sample, rng, count = (image, boxes, split.images.objects(index)[1]), image_rng(seed, epoch, index, copy), len(split.images)

    def other(number: int) -> Labelled | None:
        number = number if balance is None else balance.image(epoch, number)
        return _resized_image(split, number, image_size, broken_images, notes, reader, cache, keep_ratio)

    settings: dict[str, Any] = {"epoch": epoch, "count": count, "other": other, "keep_ratio": keep_ratio}
    image, boxes, labels = augment_sample(sample, image_size, augmentation, rng, **settings)
    return _example(image, boxes, labels, split.images.ids[index], original_size, most_boxes(split, augmentation))


def most_boxes(split: CocoSplit, augmentation: Augmentation) -> int:
    """M of training batches: boxes of one row at most."""
    return split.max_boxes * augmentation.most_images


def train_pixels(
    split: CocoSplit,
    epoch: int,
    position: int,
    index: int,
    is_flipped: bool,
    *,
    image_size: tuple[int, int],
    seed: int,
    flip: float,
    broken_images: str,
    notes: ImageNotes,
    reader: ImageReader,
    cache: ImageCache | None = None,
    keep_ratio: bool = False,
) -> Example:
    """The image of `train_sample` where nothing but the flip is random; its boxes are left to `data.rows`.

    Args:
        split, epoch, position, index, image_size, seed, broken_images, notes, reader, cache, keep_ratio: as there.
        is_flipped: whether image `index` is mirrored in this epoch.
        flip: the probability of that, asked for when another image takes its place.

    Returns:
        "image", "original_size", "index", "is_flipped": the image, its size before, its index and whether it is mirrored.
    """
    kept, found = None if cache is None else cache.get(index), index
    if kept is not None:
        image, original_size = kept
        _note_size(split, index, original_size, notes)
    else:
        keep = _keeper(cache, image_size, keep_ratio)
        image, found = _read_or_next(split, epoch, position, index, seed, broken_images, notes, reader, keep=keep)
        original_size = image.shape[0], image.shape[1]
        if cache is not None:
            image = resized(image, image_size, False, keep_ratio=keep_ratio)
            cache.put(found, image, original_size)
    if found != index:
        is_flipped = image_rng(seed, epoch, found).random() < flip
    image, size = resized(image, image_size, is_flipped, keep_ratio=keep_ratio), np.array(original_size, np.int32)
    return {"image": image, "original_size": size, "index": found, "is_flipped": is_flipped}


def pixels_signature(image_size: tuple[int, int]) -> dict[str, tf.TensorSpec]:
    """Shapes and types of what `train_pixels` returns."""
    return {
        "image": tf.TensorSpec([*image_size, 3], tf.uint8),
        "original_size": tf.TensorSpec([2], tf.int32),
        "index": tf.TensorSpec([], tf.int64),
        "is_flipped": tf.TensorSpec([], tf.bool),
    }


def eval_sample(
    split: CocoSplit,
    index: int,
    *,
    image_size: tuple[int, int],
    broken_images: str,
    notes: ImageNotes,
    reader: ImageReader,
    cache: ImageCache | None = None,
    keep_ratio: bool = False,
) -> Example:
    """Image `index` resized, with its boxes; beyond the last image, and for an image that is skipped, a black row of image id -1."""
    is_image = index < len(split.images)
    if cache is not None and is_image and (kept := _kept(cache, split, index, notes, image_size, keep_ratio)) is not None:
        image, boxes, original_size = kept
        return _example(image, boxes, split.images.objects(index)[1], split.images.ids[index], original_size, split.max_boxes)
    image = _read(split, index, broken_images, notes, reader) if is_image else None
    if image is None:
        black = np.zeros([*image_size, 3], np.uint8)
        return _example(black, np.zeros([0, 4], np.float32), np.zeros([0], np.int32), -1, image_size, split.max_boxes)
    boxes, labels = split.images.objects(index)
    pixels, boxes = resize(image, boxes, image_size, out=new_pixels(image_size), keep_ratio=keep_ratio)
    if cache is not None:
        cache.put(index, pixels, image.shape[:2])
    return _example(pixels, boxes, labels, split.images.ids[index], image.shape[:2], split.max_boxes)


def example_signature(
    max_boxes: int, image_size: tuple[int, int], target_shapes: Mapping[str, tuple[int, ...]] | None = None
) -> dict[str, tf.TensorSpec]:
    """Shapes and types of a sample in the order of its keys; `target_shapes` are those of the maps that it has."""
    return {
        "image": tf.TensorSpec([*image_size, 3], tf.uint8),
        "boxes": tf.TensorSpec([max_boxes, 4], tf.float32),
        "labels": tf.TensorSpec([max_boxes], tf.int32),
        "image_id": tf.TensorSpec([], tf.int64),
        "original_size": tf.TensorSpec([2], tf.int32),
        **{name: tf.TensorSpec(shape, tf.float32) for name, shape in (target_shapes or {}).items()},
    }


def _example(
    image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, image_id: int, original_size: tuple[int, int], max_boxes: int
) -> Example:
    """The dictionary of `example_signature`: boxes padded with zeros and labels with -1 up to `max_boxes` rows."""
    padded_boxes, padded_labels = np.zeros([max_boxes, 4], np.float32), np.full([max_boxes], -1, np.int32)
    padded_boxes[: len(boxes)], padded_labels[: len(boxes)] = boxes, labels
    return {
        "image": image,
        "boxes": padded_boxes,
        "labels": padded_labels,
        "image_id": np.int64(image_id),
        "original_size": np.array(original_size, np.int32),
    }


def _kept(
    cache: ImageCache, split: CocoSplit, index: int, notes: ImageNotes, image_size: tuple[int, int], keep_ratio: bool
) -> tuple[np.ndarray, np.ndarray, tuple[int, int]] | None:
    """The resized image, its boxes in it, and its size before, of an image that is kept."""
    found = cache.get(index)
    if found is None:
        return None
    image, original_size = found
    _note_size(split, index, original_size, notes)
    fitted = fitted_size(original_size, image_size, keep_ratio)
    return image, resize_boxes(split.images.objects(index)[0], original_size, fitted), original_size


def _resized_image(
    split: CocoSplit,
    index: int,
    image_size: tuple[int, int],
    broken_images: str,
    notes: ImageNotes,
    reader: ImageReader,
    cache: ImageCache | None,
    keep_ratio: bool,
) -> Labelled | None:
    """Image `index` in the size of the input with its boxes and labels; None for a broken image that is skipped."""
    annotated, labels = split.images.objects(index)
    kept = None if cache is None else _kept(cache, split, index, notes, image_size, keep_ratio)
    if kept is not None:
        return kept[0], kept[1], labels
    image = _read(split, index, broken_images, notes, reader, _keeper(cache, image_size, keep_ratio))
    if image is None:
        return None
    original_size = image.shape[:2]
    image, boxes = resize(image, annotated, image_size, keep_ratio=keep_ratio)
    if cache is not None:
        cache.put(index, image, original_size)
    return image, boxes, labels


def _read_or_next(
    split: CocoSplit,
    epoch: int,
    position: int,
    index: int,
    seed: int,
    broken_images: str,
    notes: ImageNotes,
    reader: ImageReader,
    balance: ClassBalance | None = None,
    keep: Keep | None = None,
) -> tuple[np.ndarray, int]:
    """The image `index` and `index`; where it is skipped, those of the next position whose image can be read."""
    count = len(split.images)
    for step in range(count):
        if step:
            index = int(epoch_order(seed, epoch, tf.constant(position + step, tf.int64), count))
            index = index if balance is None else balance.image(epoch, index)
        image = _read(split, index, broken_images, notes, reader, keep)
        if image is not None:
            return image, index
    raise UserError(f"{split.annotations}: none of its {count} images can be read; the first: {next(iter(notes.broken.values()))}")


def _read(
    split: CocoSplit, index: int, broken_images: str, notes: ImageNotes, reader: ImageReader, keep: Keep | None = None
) -> np.ndarray | None:
    """uint8 [h, w, 3], or None for a broken image that is skipped; `keep` gets the other tiles of its file, which is decoded here."""
    images = split.images
    source, number = images.source(index), images.file_number(index)
    pixels = reader.read_plain(number, source)
    try:
        if pixels is None:
            pixels = reader.read(number, source, f"{source} (image id {images.ids[index]})")
        image = images.part(index, pixels)
    except UserError as error:
        if broken_images == "raise":
            raise UserError(f"{error}; fix or remove it, or set data.broken_images=skip") from None
        notes.add_broken(images[index], str(error))
        return None
    if keep is not None:
        for other in images.of_same_file(index):
            if other != index:
                keep(other, images.part(other, pixels))
    _note_size(split, index, image.shape[:2], notes)
    return image


def _keeper(cache: ImageCache | None, image_size: tuple[int, int], keep_ratio: bool) -> Keep | None:
    """Puts an image into the cache, where there is one, unless it is there."""

    def keep(index: int, image: np.ndarray) -> None:
        if index not in found:
            found.put(index, fit(image, image_size, keep_ratio=keep_ratio), (image.shape[0], image.shape[1]))

    if cache is None:
        return None
    found = cache
    return keep


def _note_size(split: CocoSplit, index: int, size: tuple[int, int], notes: ImageNotes) -> None:
    if list(size) != split.images.sizes[index].tolist():
        notes.add_resized(split.images[index], size)
