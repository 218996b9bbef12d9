"""The images of a split with their boxes, as arrays: an object for an image is made when it is asked for."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np


@dataclass(frozen=True, eq=False)
class AnnotatedImage:
    """One image and its usable boxes."""

    id: int  # image id of the annotation file
    path: Path
    size: tuple[int, int]  # (height, width) in pixels as annotated
    boxes: np.ndarray  # float32 [N, 4] xyxy in pixels of the image, inclusive corners, not clipped
    labels: np.ndarray  # int32 [N], 0-based position in `CocoSplit.category_ids`


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
            chosen = np.arange(len(self))[index]
            rows = np.concatenate([np.zeros(0, np.int64), *(np.arange(self.offsets[one], self.offsets[one + 1]) for one in chosen)])
            return AnnotatedImages(
                ids=self.ids[chosen],
                sizes=self.sizes[chosen],
                folder=self.folder,
                names=[self.names[one] for one in chosen],
                offsets=np.concatenate([[0], np.cumsum(self.counts[chosen])]).astype(np.int64),
                boxes=self.boxes[rows],
                labels=self.labels[rows],
            )
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
