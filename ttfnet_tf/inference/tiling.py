"""Detection on large images in overlapping tiles, whose detections are merged; NumPy only.

The rule compares detections of one class from tiles that overlap. Those of one tile are left to the network's own peak test.

1. A detection is *cut* at a side that lies near a border of its tile, unless the image ends there too.
2. A cut detection is dropped if another covers half of its area or more, is cut at none of its other sides, reaches as far wherever it is
   cut itself, and is cut at fewer sides or reaches farther: that tile has the object whole, or more of it.
3. What is still cut belongs to objects larger than the overlap. Two such parts are of one object if they overlap, each is cut at the side
   where the other's tile goes on, and their extents along the seam have an IoU of .5 or more. Parts become the smallest box around them,
   with the highest of their scores.
4. Of two detections with an IoU of .5 or more the one with the higher score stays.

Reference for detection in slices: Akyon et al. 2022 (SAHI, arXiv:2202.06934), which has step 4 alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ttfnet_tf.boxes import LEAST_TILE, MOST_OVERLAP, tiles_of
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.image_like import ImageLike, as_rgb

_COVERED = _SAME_EXTENT = _SAME_OBJECT = 0.5
_EDGE = 0.01  # of a tile's side: what ends so near to a border counts as cut
_EDGE_PIXELS = 2.0  # of the network's input, at least
_LEFT, _TOP, _RIGHT, _BOTTOM = range(4)  # columns of boxes, and of the flags of cut sides


class TiledDetector:
    """A `Detector` that looks at images in tiles; it has the same calls.

    The image is decoded whole; beside it there are the tiles of one call of the network. An image that is not larger than a tile is seen
    as a whole.

    Args:
        detector: with `batch`, `timed` and `warm_up` of `Detector`.
        tile: side of the square tiles in pixels of the image; that of the network's input keeps the size of objects.
        overlap: of neighbours, at least, as a fraction of their side: 0 to .5. Objects up to this size are whole in one tile.
        max_pixels: height x width of the largest image file that is decoded.

    Raises:
        UserError: `tile`, `overlap` or `max_pixels` is out of range.
    """

    def __init__(self, detector: Any, tile: int, overlap: float = 0.2, *, max_pixels: int = MAX_PIXELS):
        check_tiles(tile, overlap)
        if max_pixels < 1:
            raise UserError(f"max_pixels {max_pixels} must be 1 or more")
        self.detector, self.tile, self.overlap, self.max_pixels = detector, tile, overlap, max_pixels
        self.class_names, self.category_ids, self.image_size = detector.class_names, detector.category_ids, detector.image_size
        self._edge = max(_EDGE * tile, _EDGE_PIXELS * tile / min(detector.image_size))
        self._names = dict(zip(self.category_ids, self.class_names))

    def __call__(self, image: ImageLike) -> Detections:
        """Detects on one image, see `Detector.__call__`."""
        return self.batch([image])[0]

    def batch(self, images: Sequence[ImageLike], *, batch_size: int = 8) -> list[Detections]:
        """Detects on several images; `batch_size` tiles of an image go through the network at a time."""
        return [self._detect(image, batch_size)[0] for image in images]

    def timed(self, images: Sequence[ImageLike], *, batch_size: int) -> tuple[list[Detections], float]:
        """As `batch`, with the seconds of the network."""
        found = [self._detect(image, batch_size) for image in images]
        return [detections for detections, _ in found], sum(seconds for _, seconds in found)

    def warm_up(self, batch_size: int) -> None:
        """Compiles for calls of `batch_size` tiles."""
        self.detector.warm_up(batch_size)

    def lower_thresholds(self, least: float) -> dict[int, float]:
        """See `Detector.lower_thresholds`."""
        return self.detector.lower_thresholds(least)

    def _detect(self, image: ImageLike, batch_size: int) -> tuple[Detections, float]:
        pixels = as_rgb(image, max_pixels=self.max_pixels)
        height, width = pixels.shape[:2]
        tiles = tiles_of((height, width), self.tile, self.overlap)
        parts: list[Detections] = []
        seconds = 0.0
        for start in range(0, len(tiles), batch_size):
            views = [pixels[top:bottom, left:right] for left, top, right, bottom in tiles[start : start + batch_size]]
            found, of_call = self.detector.timed(views, batch_size=batch_size)
            parts, seconds = parts + found, seconds + of_call
        boxes = np.concatenate([found.boxes + np.tile(tile[:2], 2) for found, tile in zip(parts, tiles)]).astype(np.float32)
        scores, classes = (np.concatenate([getattr(found, name) for found in parts]) for name in ("scores", "class_ids"))
        if len(tiles) > 1:
            owners = np.repeat(np.arange(len(tiles)), [len(found) for found in parts])
            boxes, scores, classes = merge(boxes, scores, classes, owners, tiles, (height, width), self._edge)
        names = tuple(self._names[number] for number in classes.tolist())
        return Detections(boxes, scores, classes.astype(np.int32), names, (height, width)), seconds


def check_tiles(tile: int, overlap: float) -> None:
    """Raises UserError if one is out of range."""
    if tile < LEAST_TILE:
        raise UserError(f"--tile {tile} must be {LEAST_TILE} px or more")
    if not 0 <= overlap <= MOST_OVERLAP:
        raise UserError(f"--overlap {overlap:g} must lie in 0..{MOST_OVERLAP:g}")


def merge(
    boxes: np.ndarray,
    scores: np.ndarray,
    classes: np.ndarray,
    owners: np.ndarray,
    tiles: np.ndarray,
    size: tuple[int, int],
    edge: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The detections of all tiles as those of the image, by the rule at the top.

    Args:
        boxes: float32 [N, 4] xyxy in pixels of the image, inclusive corners.
        scores: [N].
        classes: [N].
        owners: int [N], which tile each comes from.
        tiles: int [T, 4], see `tiles_of`.
        size: (height, width) of the image.
        edge: pixels from a border of a tile within which a detection counts as cut.

    Returns:
        boxes [n, 4], scores [n] descending, classes [n].
    """
    cut = _cut_sides(boxes, tiles[owners], size, edge)
    first, second = _pairs(boxes, classes, owners, tiles)
    alive = ~_dropped_parts(boxes, cut, first, second, edge)
    first, second = (one[alive[first] & alive[second]] for one in (first, second))
    part_of = _joined(boxes, cut, tiles[owners], first, second)
    boxes, scores = _around(boxes, scores, part_of)
    alive &= part_of == np.arange(len(boxes))  # an object of several parts is kept in the place of one of them
    is_joined = np.bincount(part_of, minlength=len(boxes)) > 1
    more = [_overlapping(boxes, classes, index, alive) for index in np.flatnonzero(alive & is_joined)]
    first, second = (np.concatenate([one, *(pair[k] for pair in more)]).astype(np.int64) for k, one in enumerate((first, second)))
    kept = np.flatnonzero(_best_of_each(boxes, scores, first, second, alive))
    kept = kept[np.argsort(-scores[kept], kind="stable")]
    return boxes[kept], scores[kept], classes[kept]


def _cut_sides(boxes: np.ndarray, tiles: np.ndarray, size: tuple[int, int], edge: float) -> np.ndarray:
    """bool [N, 4]: whether each side lies near a border of the tile, where the image goes on."""
    height, width = size
    near = np.concatenate([boxes[:, :2] - tiles[:, :2] <= edge, tiles[:, 2:] - 1 - boxes[:, 2:] <= edge], axis=1)
    goes_on = np.concatenate([tiles[:, :2] > 0, tiles[:, 2:] < (width, height)], axis=1)
    return near & goes_on


def _pairs(boxes: np.ndarray, classes: np.ndarray, owners: np.ndarray, tiles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first [P], second [P]): detections of one class from two tiles that overlap each other, as do the tiles."""
    order = np.argsort(owners, kind="stable")
    members = np.split(order, np.searchsorted(owners[order], np.arange(1, len(tiles))))
    found: list[tuple[np.ndarray, np.ndarray]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
    for number, tile in enumerate(tiles):
        later = tiles[number + 1 :]
        near = ((later[:, :2] < tile[2:]) & (later[:, 2:] > tile[:2])).all(axis=1)
        for other in number + 1 + np.flatnonzero(near):
            mine, theirs = (_reaching(boxes, members[a], tiles[b]) for a, b in ((number, other), (other, number)))
            if len(mine) and len(theirs):
                common = _intersections(boxes[mine][:, None], boxes[theirs][None]) * (classes[mine][:, None] == classes[theirs])
                rows, columns = np.nonzero(common)
                found.append((mine[rows], theirs[columns]))
    return np.concatenate([one for one, _ in found]), np.concatenate([other for _, other in found])


def _reaching(boxes: np.ndarray, members: np.ndarray, tile: np.ndarray) -> np.ndarray:
    """Those of some detections whose boxes reach into a tile."""
    own = boxes[members]
    return members[((own[:, :2] < tile[2:]) & (own[:, 2:] >= tile[:2])).all(axis=1)]


def _dropped_parts(boxes: np.ndarray, cut: np.ndarray, first: np.ndarray, second: np.ndarray, edge: float) -> np.ndarray:
    """bool [N]: step 2."""
    common, areas = _intersections(boxes[first], boxes[second]), _areas(boxes)
    reach = boxes * np.array([-1, -1, 1, 1], np.float32)  # outwards
    dropped = np.zeros(len(boxes), bool)
    for part, whole in ((first, second), (second, first)):
        farther = reach[whole] - reach[part]
        is_inside = (cut[part] >= cut[whole]).all(axis=1) & (~cut[whole] | (farther >= -edge)).all(axis=1)
        is_more = ((cut[part] > cut[whole]) | (cut[part] & (farther > edge))).any(axis=1)
        dropped[part[is_inside & is_more & (common >= _COVERED * areas[part])]] = True
    return dropped


def _joined(boxes: np.ndarray, cut: np.ndarray, tiles: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """int [N]: step 3; the smallest index among the parts of an object, a detection's own where it is whole."""
    are_parts = np.zeros(len(first), bool)
    for start, end, along in ((_LEFT, _RIGHT, (_TOP, _BOTTOM)), (_TOP, _BOTTOM, (_LEFT, _RIGHT))):
        agree = _extents_agree(boxes[first][:, along], boxes[second][:, along])
        for before, after in ((first, second), (second, first)):
            is_before = tiles[before][:, start] < tiles[after][:, start]
            are_parts |= is_before & cut[before, end] & cut[after, start] & agree
    part_of = np.arange(len(boxes))
    pairs = list(zip(first[are_parts].tolist(), second[are_parts].tolist()))
    changed = bool(pairs)
    while changed:
        before = part_of.copy()
        for one, other in pairs:
            part_of[one] = part_of[other] = min(part_of[one], part_of[other])
        changed = bool((part_of != before).any())
    return part_of


def _extents_agree(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """bool [P] of [P, 2] intervals with inclusive ends: an IoU of `_SAME_EXTENT` or more."""
    common = np.minimum(first[:, 1], second[:, 1]) - np.maximum(first[:, 0], second[:, 0]) + 1
    return common >= _SAME_EXTENT * (first[:, 1] - first[:, 0] + second[:, 1] - second[:, 0] + 2 - common)


def _around(boxes: np.ndarray, scores: np.ndarray, part_of: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and scores of objects, in the places that `_joined` names."""
    boxes, scores = boxes.copy(), scores.copy()
    for index in np.flatnonzero(part_of != np.arange(len(part_of))):
        place = part_of[index]
        boxes[place] = [*np.minimum(boxes[place, :2], boxes[index, :2]), *np.maximum(boxes[place, 2:], boxes[index, 2:])]
        scores[place] = max(scores[place], scores[index])
    return boxes, scores


def _overlapping(boxes: np.ndarray, classes: np.ndarray, index: int, alive: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of one detection with all others of its class: a joined box is larger than its tiles."""
    others = np.flatnonzero(alive & (classes == classes[index]))
    others = others[(others != index) & (_intersections(boxes[others], boxes[index]) > 0)]
    return np.full(len(others), index), others


def _best_of_each(boxes: np.ndarray, scores: np.ndarray, first: np.ndarray, second: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """bool [N]: step 4, the best score first; of equal scores the first one stays."""
    common, areas = _intersections(boxes[first], boxes[second]), _areas(boxes)
    is_same = alive[first] & alive[second] & (common >= _SAME_OBJECT * (areas[first] + areas[second] - common))
    rank = np.empty(len(boxes), np.int64)
    rank[np.argsort(-scores, kind="stable")] = np.arange(len(boxes))
    is_first = rank[first] < rank[second]
    better, worse = (np.where(is_first, *pair)[is_same] for pair in ((first, second), (second, first)))
    kept = alive.copy()
    for k in np.argsort(rank[better], kind="stable"):
        if kept[better[k]]:
            kept[worse[k]] = False
    return kept


def _intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Areas that boxes [..., 4] have in common, corners inclusive."""
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2]) + 1
    return np.maximum(sides, 0).prod(axis=-1)


def _areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2:] - boxes[:, :2] + 1).prod(axis=1)
