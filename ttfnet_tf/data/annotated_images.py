"""The images of a split with their boxes, as arrays: an object for an image is made when it is asked for."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np

from ttfnet_tf.errors import UserError


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """One image and its usable boxes."""

    id: int  # image id of the annotation file
    path: Path
    size: tuple[int, int]  # (height, width) in pixels as annotated
    boxes: np.ndarray  # float32 [N, 4] xyxy in pixels of the image, inclusive corners, not clipped
    labels: np.ndarray  # int32 [N], 0-based position in `CocoSplit.category_ids`


@dataclass(frozen=True, eq=False)
class Tiles:
    """Which part of which file each image of a sequence is, see `data.tiles`."""

    views: np.ndarray  # int64 [I, 4] left, top, right, bottom in pixels of the file, the last two excluded
    file_sizes: np.ndarray  # int64 [I, 2] height, width of the whole file as annotated
    files: np.ndarray  # int64 [I], ascending: number of the file, from 0

    @property
    def are_parts(self) -> np.ndarray:
        """bool [I]: whether each is less than its file."""
        return (self.views[:, 3:1:-1] != self.file_sizes).any(axis=1) | (self.views[:, :2] > 0).any(axis=1)


@dataclass(frozen=True, eq=False)
class AnnotatedImages(Sequence[AnnotatedImage]):
    """A sequence of `AnnotatedImage`; with 100,000 images it takes a tenth of the memory of a list of them."""

    ids: np.ndarray  # int64 [I]
    sizes: np.ndarray  # [I, 2] height, width in pixels as annotated
    folder: Path
    names: Sequence[str]  # of the files, relative to `folder`
    offsets: np.ndarray  # int64 [I + 1]; image i has the boxes offsets[i] to offsets[i + 1]
    boxes: np.ndarray  # float32 [N, 4] of all images, as in `AnnotatedImage`
    labels: np.ndarray  # int32 [N]
    tiles: Tiles | None = None  # where images are parts of files; sizes and boxes are those of the parts

    @staticmethod
    def of(images: Iterable[AnnotatedImage]) -> AnnotatedImages:
        """The images of any sequence."""
        if isinstance(images, AnnotatedImages):
            return images
        images = list(images)
        counts = [len(image.boxes) for image in images]
        sizes = [side for image in images for side in image.size]
        return AnnotatedImages(
            ids=np.array([image.id for image in images], np.int64),
            sizes=np.array(sizes, np.int64 if set(map(type, sizes)) <= {int} else object).reshape(-1, 2),
            folder=Path(),
            names=[str(image.path) for image in images],
            offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            boxes=np.concatenate([np.zeros([0, 4], np.float32), *(image.boxes for image in images)]).astype(np.float32),
            labels=np.concatenate([np.zeros([0], np.int32), *(image.labels for image in images)]).astype(np.int32),
        )

    @functools.cached_property
    def _prefix(self) -> str:
        return "" if self.folder == Path() else str(self.folder)

    def source(self, index: int) -> Any:
        """What an image is read from: the path of a file as text, or an object with `read_bytes` in a packed folder or behind a URL."""
        return self.file(index) if isinstance(self.folder, Path) else self.folder / self.names[index]

    @property
    def counts(self) -> np.ndarray:
        """int64 [I] boxes of each image."""
        return np.diff(self.offsets)

    def file(self, index: int) -> str:
        """The path of an image as text."""
        return os.path.join(self._prefix, self.names[index])

    @property
    def num_files(self) -> int:
        """Number of the files that the images are, or are parts of."""
        return len(self) if self.tiles is None else len(np.unique(self.tiles.files))

    def firsts(self) -> list[int]:
        """One image of each file, the first."""
        return list(range(len(self))) if self.tiles is None else np.unique(self.tiles.files, return_index=True)[1].tolist()

    def file_number(self, index: int) -> int:
        """Number of the file of an image, from 0."""
        return index if self.tiles is None else int(self.tiles.files[index])

    def of_same_file(self, index: int) -> range:
        """The images that are parts of the same file, this one included."""
        if self.tiles is None:
            return range(index, index + 1)
        first, last = (int(np.searchsorted(self.tiles.files, self.tiles.files[index], side=side)) for side in ("left", "right"))
        return range(first, last)

    def part(self, index: int, pixels: np.ndarray) -> np.ndarray:
        """An image out of the pixels of its file; a copy where it is a part, so that the whole is not kept in memory.

        Args:
            index: of the image.
            pixels: [H, W, 3] of the file.

        Raises:
            UserError: the file has another size than annotated, so that its tiles are elsewhere.
        """
        if self.tiles is None:
            return pixels
        left, top, right, bottom = self.tiles.views[index].tolist()
        height, width = self.tiles.file_sizes[index].tolist()
        if (left, top, right, bottom) == (0, 0, width, height):
            return pixels
        if pixels.shape[:2] != (height, width):
            is_now = f"is {pixels.shape[1]}x{pixels.shape[0]}, not {width}x{height} as annotated"
            raise UserError(f"{self.source(index)} (image id {self.ids[index]}): {is_now}, so its tiles do not fit")
        return pixels[top:bottom, left:right].copy()

    def shown_name(self, index: int) -> str:
        """The id of an image, of a part with its left and top in the file: 7, or 7-0-409."""
        if self.tiles is None or not self.tiles.are_parts[index]:
            return str(self.ids[index])
        return "-".join(map(str, (self.ids[index], *self.tiles.views[index, :2].tolist())))

    def chosen(self, indices: np.ndarray) -> AnnotatedImages:
        """The images at int [n] positions."""
        rows = np.concatenate([np.zeros(0, np.int64), *(np.arange(self.offsets[one], self.offsets[one + 1]) for one in indices)])
        tiles = self.tiles
        if tiles is not None:
            files = np.cumsum(np.diff(tiles.files[indices], prepend=-1) != 0) - 1
            tiles = Tiles(tiles.views[indices], tiles.file_sizes[indices], files)
        return AnnotatedImages(
            ids=self.ids[indices],
            sizes=self.sizes[indices],
            folder=self.folder,
            names=[self.names[one] for one in indices],
            offsets=np.concatenate([[0], np.cumsum(self.counts[indices])]).astype(np.int64),
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            tiles=tiles,
        )

    def objects(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Boxes [N, 4] and labels [N] of an image."""
        start, end = self.offsets[index], self.offsets[index + 1]
        return self.boxes[start:end], self.labels[start:end]

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> AnnotatedImage: ...

    @overload
    def __getitem__(self, index: slice) -> AnnotatedImages: ...

    def __getitem__(self, index):
        if isinstance(index, slice):
            return self.chosen(np.arange(len(self))[index])
        index = range(len(self))[index]  # counts from the end, and raises IndexError
        height, width = self.sizes[index].tolist()
        return AnnotatedImage(int(self.ids[index]), self.folder / self.names[index], (height, width), *self.objects(index))


def joined(parts: Sequence[AnnotatedImages], first_ids: Sequence[int], repeats: Sequence[int]) -> AnnotatedImages:
    """The images of several folders as one sequence.

    Args:
        parts: whose folders are folders of files.
        first_ids: added to the ids of each part.
        repeats: how often the images of each part come, one pass over the part after the other.
    """
    every = [part for part, repeat in zip(parts, repeats) for _ in range(repeat)]
    ids = [part.ids + first for part, first, repeat in zip(parts, first_ids, repeats) for _ in range(repeat)]
    counts = [part.counts for part in every]
    return AnnotatedImages(
        ids=np.concatenate(ids),
        sizes=np.concatenate([part.sizes for part in every]),
        folder=Path(),
        names=[part.file(index) for part in every for index in range(len(part))],
        offsets=np.concatenate([[0], np.cumsum(np.concatenate(counts))]),
        boxes=np.concatenate([part.boxes for part in every]),
        labels=np.concatenate([part.labels for part in every]),
    )
