"""Large training images cut into overlapping tiles, each of which is an image of its own; NumPy only.

The grid is that of detection in tiles (`boxes.tiles_of`). An image with no side above that of a tile stays as it is. In a tile

- boxes are clipped to it;
- a box is kept if a quarter or more of its area is visible, and if no side that the tile cuts becomes shorter than `min_box_size`. Of a
  box that is wider or higher than a tile, the quarter is that of the largest part which a tile can show. One tile at least shows half of
  each side, so with an overlap of `2 * min_box_size` no object is lost; one up to the size of the overlap is whole in a tile;
- what is visible of other boxes is background, for there are no regions that training ignores;
- a tile without a box is dropped unless `empty_images="keep"`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttfnet_tf.boxes import tiles_of
from ttfnet_tf.data.annotated_images import AnnotatedImages, Tiles
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.errors import UserError

LEAST_VISIBLE = 0.25  # of the area that a tile can show of a box
EMPTY_TILES = "tiles without a usable box"  # in `CocoSplit.dropped`
_AT_ONCE = 256  # tiles whose boxes are clipped at a time, which limits the memory for an image of very many


def tiled(split: CocoSplit, tile: int, overlap: float, *, min_box_size: float = 1.0, empty_images: str = "drop") -> CocoSplit:
    """A training split whose images are the tiles of its images, in their order and row by row.

    Args:
        split: read with `training=True`.
        tile: side of the tiles in pixels of the image; 0 is no tiles.
        overlap: of neighbours, at least, as a fraction of their side.
        min_box_size: pixels; see the top of the file.
        empty_images: "drop" or "keep".

    Raises:
        UserError: no tile is left to train on.
    """
    images = split.images
    if not tile or not len(images) or not (images.sizes > tile).any():
        return split
    parts = [_parts(size, tile, overlap, *images.objects(index), min_box_size) for index, size in enumerate(_whole_numbers(images.sizes))]
    if empty_images == "drop":
        parts = [part.without_empty() for part in parts]
    dropped = sum(part.dropped for part in parts)
    counts = dict(split.dropped) | ({EMPTY_TILES: dropped} if dropped else {})
    if not any(len(part.views) for part in parts):
        raise UserError(
            f"{split.annotations}: data.tile={tile} leaves no tile with a usable box; set data.empty_images=keep to train on empty ones"
        )
    return dataclasses.replace(split, images=_assembled(images, parts), dropped=counts)


def describe_tiles(split: CocoSplit, tile: int, *, cached: bool) -> str:
    """A line about what tiles do with a split.

    Args:
        split: of `tiled`.
        tile: as there.
        cached: whether resized images are kept.
    """
    tiles = split.images.tiles
    if tiles is None:
        return f"data.tile={tile} changes nothing: no training image is larger"
    cost = "each image is decoded once" if cached else "each image is decoded for each of its tiles; data.cache=disk does it once"
    return f"data.tile={tile}: an epoch is {len(split.images)} tiles of {split.images.num_files} images; {cost}"


@dataclass(frozen=True)
class _Parts:
    """The tiles of one image."""

    views: np.ndarray  # int64 [T, 4]
    counts: np.ndarray  # int64 [T] boxes of each
    boxes: np.ndarray  # float32 [n, 4] of all tiles after each other, in pixels of their tile
    labels: np.ndarray  # int32 [n]
    dropped: int = 0  # empty tiles that are not here

    def without_empty(self) -> _Parts:
        """The tiles with boxes, and an image that is whole."""
        if len(self.views) == 1:
            return self
        kept = self.counts > 0
        return _Parts(self.views[kept], self.counts[kept], self.boxes, self.labels, int((~kept).sum()))


def _parts(size: tuple[int, int], tile: int, overlap: float, boxes: np.ndarray, labels: np.ndarray, min_box_size: float) -> _Parts:
    """All tiles of an image of `size` (height, width) with their boxes."""
    if max(size) <= tile:
        return _Parts(np.array([[0, 0, size[1], size[0]]], np.int64), np.array([len(boxes)], np.int64), boxes, labels)
    views = tiles_of(size, tile, overlap)
    inside = np.clip(boxes, 0, np.array([size[1] - 1, size[0] - 1] * 2, np.float32))  # in the image
    counts, found, rows = [], [], []
    for start in range(0, len(views), _AT_ONCE):
        kept, clipped = clip_to_tiles(inside, views[start : start + _AT_ONCE], min_box_size)
        counts.append(kept.sum(axis=1))
        found.append(clipped[kept])
        rows.append(np.nonzero(kept)[1])
    return _Parts(views, np.concatenate(counts), np.concatenate(found), labels[np.concatenate(rows)])


def _whole_numbers(sizes: np.ndarray) -> list[tuple[int, int]]:
    """(height, width) of each image; annotation files may give them as floats."""
    return [(int(height), int(width)) for height, width in sizes.tolist()]


def clip_to_tiles(boxes: np.ndarray, views: np.ndarray, min_box_size: float) -> tuple[np.ndarray, np.ndarray]:
    """What tiles show of boxes, by the rules at the top.

    Args:
        boxes: float32 [N, 4] xyxy in pixels of the image, clipped to it.
        views: int64 [T, 4] left, top, right, bottom in the same pixels, the last two excluded.
        min_box_size: pixels.

    Returns:
        bool [T, N], whether a box is kept in a tile; float32 [T, N, 4], boxes in pixels of the tiles, clipped to them.
    """
    corners = np.tile(views[:, :2], 2).astype(np.float32)[:, None]  # [T, 1, 4]
    sides = (views[:, 2:] - views[:, :2]).astype(np.float32)[:, None]  # [T, 1, 2]
    moved = boxes[None] - corners
    visible = np.minimum(moved[..., 2:], sides - 1) - np.maximum(moved[..., :2], 0) + 1  # [T, N, 2] width, height
    own = boxes[None, :, 2:] - boxes[None, :, :2] + 1
    is_cut = (moved[..., :2] < 0) | (moved[..., 2:] > sides - 1)
    is_there = (visible > 0).all(axis=-1)
    is_enough = visible.prod(axis=-1) >= LEAST_VISIBLE * np.minimum(own, sides).prod(axis=-1)
    is_large = (~is_cut | (visible >= min_box_size)).all(axis=-1)
    clipped = np.clip(moved, 0, np.tile(sides - 1, 2))
    return is_there & is_enough & is_large, clipped.astype(np.float32)


def _assembled(images: AnnotatedImages, parts: Sequence[_Parts]) -> AnnotatedImages:
    """The tiles of all images as one sequence."""
    of_image = np.repeat(np.arange(len(parts)), [len(part.views) for part in parts])
    views = np.concatenate([part.views for part in parts])
    counts = np.concatenate([part.counts for part in parts])
    file_sizes = np.array(_whole_numbers(images.sizes), np.int64)[of_image]
    return AnnotatedImages(
        ids=images.ids[of_image],
        sizes=views[:, 3:1:-1] - views[:, 1::-1],
        folder=images.folder,
        names=[images.names[index] for index in of_image.tolist()],
        offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        boxes=np.concatenate([part.boxes for part in parts]).astype(np.float32),
        labels=np.concatenate([part.labels for part in parts]).astype(np.int32),
        tiles=Tiles(views, file_sizes, np.unique(of_image, return_inverse=True)[1].reshape(-1).astype(np.int64)),
    )
