"""Rows of batches from a packed folder, in TensorFlow operations alone: read, decode, resize, flip, and pad the boxes.

The same rows, bit for bit, as `data.samples` makes in Python. Any row is read by itself, at its offset in a shard, so that order and resume
are those of training from files. This is for the workers of tf.data service, which run no Python. On the machine that trains,
`data.samples` reads packed folders too, in a quarter of the processor time: OpenCV's resize is one call, and here ten operations.

Augmentation beyond the flip is in NumPy and OpenCV only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ttfnet_tf.data.annotated_images import Tiles
from ttfnet_tf.data.augment import Augmentation
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.numpy_random import first_random
from ttfnet_tf.data.opencv_resize import fit, resize_image
from ttfnet_tf.data.order import steps_per_epoch
from ttfnet_tf.data.rows import Rows
from ttfnet_tf.data.samples import ImageNotes
from ttfnet_tf.data.service import STEP

_as_written = tf.autograph.experimental.do_not_convert
_BUFFER = 1 << 17  # bytes read at a time
_ENCODED = "image/encoded"


def can_read(split: CocoSplit, augmentation: Augmentation) -> bool:
    """Whether rows of a split can be made without Python: all its images are packed, and nothing but a flip is random."""
    return split.packed is not None and not split.missing_images and augmentation == Augmentation(flip=augmentation.flip)


def note_sizes(split: CocoSplit, notes: ImageNotes) -> None:
    """Notes the images of a packed split that have another size than annotated; training from files notes each when it is read."""
    found, tiles = _table(split)[:, 5:7], split.images.tiles
    annotated = split.images.sizes if tiles is None else tiles.file_sizes
    for index in np.flatnonzero((found != annotated).any(axis=1)):
        split.images.part(index, np.broadcast_to(np.uint8(0), [*found[index], 3]))  # raises where it is a tile
        notes.add_resized(split.images[index], (int(found[index, 0]), int(found[index, 1])))


def packed_row(split: CocoSplit, image_size: tuple[int, int], keep_ratio: bool, flip: float, seed: int, batch_size: int) -> Callable:
    """(epoch, position, index) -> a row of a packed split with the step of its batch; as `in_graph` of `train_sample`, without Python."""
    rows, is_flipped = PackedRows(split, image_size, keep_ratio), flips(flip, seed)
    steps = steps_per_epoch(len(split.images), batch_size)

    def make_row(epoch, position, index):
        return {**rows.row(index, is_flipped(epoch[None], index[None])[0]), STEP: epoch * steps + position // batch_size}

    return _as_written(make_row)


class PackedRows:
    """Makes rows of a packed split; the dictionaries of `samples.example_signature`.

    Args:
        split: whose images are in one packed folder.
        image_size: (H, W) of the result in pixels.
        keep_ratio: whether images keep their ratio, see `boxes.fitted_size`.
    """

    def __init__(self, split: CocoSplit, image_size: tuple[int, int], keep_ratio: bool = False):
        folder = split.packed
        assert folder is not None
        self._size, self._keep_ratio, self._rows = image_size, keep_ratio, Rows(split, image_size, keep_ratio)
        table = _table(split)
        self._files = tf.constant([str(shard) for shard in folder.shards])
        self._shards, self._records, self._orientations = (tf.constant(table[:, k]) for k in (0, 1, 7))
        tiles = split.images.tiles
        self._views = None if tiles is None else tf.constant(_views_of_parts(tiles))

    def row(self, index: tf.Tensor, is_flipped: tf.Tensor) -> dict[str, tf.Tensor]:
        """Image `index` of the split, mirrored or not."""
        image = self._part(index, self._read(index))
        original_size = tf.shape(image)[:2]
        image = self._resized(image)
        image = tf.cond(is_flipped, lambda: tf.reverse(image, [1]), lambda: image)
        return self._rows.of_image(index, image, original_size, is_flipped)

    def _read(self, index):
        """uint8 [h, w, 3] of an image as the reader gives it."""
        file, record = tf.gather(self._files, self._shards[index]), self._records[index]
        # No class of tf.data begins at an offset; its checksum is the file's own.
        found = tf.raw_ops.TFRecordDatasetV2(
            filenames=[file], compression_type="", buffer_size=tf.constant(_BUFFER, tf.int64), byte_offsets=[record]
        )
        kind = {"output_types": [tf.string], "output_shapes": [[]]}
        first = tf.raw_ops.TakeDataset(input_dataset=found, count=tf.constant(1, tf.int64), **kind)
        (example,) = tf.raw_ops.DatasetToSingleElement(dataset=first, **kind)
        content = tf.io.parse_single_example(example, {_ENCODED: tf.io.FixedLenFeature([], tf.string)})[_ENCODED]
        # Decodes PNG files too. The transform that Pillow and OpenCV use; TensorFlow's default is faster and less accurate.
        return _turned(tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"), self._orientations[index])

    def _part(self, index, image):
        """`AnnotatedImages.part`."""
        if self._views is None:
            return image
        left, top, right, bottom = tf.unstack(self._views[index])
        return image[top:bottom, left:right]

    def _resized(self, image):
        is_there = tf.reduce_all(tf.shape(image)[:2] == list(self._size))

        def changed():
            return fit(image, self._size, resize=resize_image)[0] if self._keep_ratio else resize_image(image, self._size)

        return tf.ensure_shape(tf.cond(is_there, lambda: image, changed), [*self._size, 3])


def flips(probability: float, seed: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """(epochs int64 [N], images int64 [N]) -> bool [N], whether `augment.augment_image` mirrors each of them."""
    return lambda epochs, images: first_random(seed, epochs, images) < probability


def _views_of_parts(tiles: Tiles) -> np.ndarray:
    """int64 [I, 4] views; of whole files one that is as large as any file, for they may have another size than annotated."""
    whole = [0, 0, np.iinfo(np.int64).max, np.iinfo(np.int64).max]
    return np.where(tiles.are_parts[:, None], tiles.views, whole)


def _table(split: CocoSplit) -> np.ndarray:
    """The rows of `PackedFolder.table` of the images of a packed split."""
    folder: Any = split.packed
    return folder.table[folder.positions(split.images.names)]


def _turned(image, orientation):
    """Applies an EXIF orientation 1..8, as `images.turn` does."""

    def turned():
        is_in = lambda *values: tf.reduce_any(orientation == list(values))  # noqa: E731
        result = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        result = tf.cond(is_in(2, 3, 6, 7), lambda: tf.reverse(result, [1]), lambda: result)
        return tf.cond(is_in(3, 4, 7, 8), lambda: tf.reverse(result, [0]), lambda: result)

    return tf.cond(orientation == 1, lambda: image, turned)
