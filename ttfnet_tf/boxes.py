"""Box formats and their frames, and the grid of tiles; NumPy only.

xyxy: corners x1, y1, x2, y2 in pixels of the image named beside it. Corners follow the reference: COCO's [x, y, w, h]
becomes x2 = x + w - 1, so a box one pixel wide has x1 == x2 and widths carry a +1 (tests/golden_subset/README.md;
mmdetection 1.0 `CocoDataset`). Cells are the stride-4 map; cell (row i, column j) stands for the point (4 j, 4 i).
"""

from collections.abc import Sequence

import numpy as np

STRIDE = 4  # input pixels per cell of the network's maps
LEAST_TILE, MOST_OVERLAP = 32, 0.5


def xywh_to_xyxy(boxes: np.ndarray | Sequence) -> np.ndarray:
    """[N, 4] COCO x, y, width, height -> [N, 4] inclusive corners."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:] - 1], axis=1)


def xyxy_to_xywh(boxes: np.ndarray | Sequence) -> np.ndarray:
    """[N, 4] inclusive corners -> [N, 4] COCO x, y, width, height; the inverse of `xywh_to_xyxy`."""
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2] + 1], axis=1)


def resize_boxes(boxes: np.ndarray, from_size: tuple[int, int], to_size: tuple[int, int]) -> np.ndarray:
    """[N, 4] xyxy in an image of `from_size` (H, W) -> xyxy in one of `to_size`, clipped to [0, W-1] x [0, H-1].

    Corners are multiplied by the ratio of the sizes, as the reference does (mmdetection 1.0 `Resize`).
    """
    height, width = to_size
    scale_x, scale_y = width / from_size[1], height / from_size[0]
    scaled = np.asarray(boxes, np.float32) * np.array([scale_x, scale_y, scale_x, scale_y], np.float32)
    limit = np.array([width - 1, height - 1, width - 1, height - 1], np.float32)
    return np.minimum(np.maximum(scaled, np.float32(0)), limit)  # faster than np.clip for a few boxes


def fitted_size(from_size: Sequence[float], to_size: tuple[int, int], keep_ratio: bool) -> tuple[int, int]:
    """(height, width) that an image of `from_size` (H, W) has in a network's input of `to_size`.

    Without `keep_ratio` it is stretched to `to_size`. With it (letterbox) both sides are scaled by the smaller of the two factors; the
    shorter one is rounded half up, in integers, so that every runtime gets the same number. The image fills the upper left corner; the
    rest is padding. `data.opencv_resize.fitted_size` is the same in TensorFlow.
    """
    if not keep_ratio:
        return to_size
    (from_height, from_width), (height, width) = (int(side) for side in from_size), to_size
    if width * from_height <= height * from_width:
        return max(1, (2 * from_height * width + from_width) // (2 * from_width)), width
    return height, max(1, (2 * from_width * height + from_height) // (2 * from_height))


def tiles_of(size: tuple[int, int], tile: int, overlap: float) -> np.ndarray:
    """int64 [T, 4] tiles of an image of `size` (height, width): left, top, right, bottom in pixels, the last two excluded; row by row.

    They have one size, overlap by `overlap` or more of it, and are spread evenly from border to border.
    """
    tops, lefts = (_starts(side, tile, overlap) for side in size)
    return np.array([(x, y, min(x + tile, size[1]), min(y + tile, size[0])) for y in tops for x in lefts], np.int64)


def _starts(side: int, tile: int, overlap: float) -> list[int]:
    if side <= tile:
        return [0]
    count = 1 + int(np.ceil((side - tile) / max(1, int(tile * (1 - overlap)))))
    return [(side - tile) * k // (count - 1) for k in range(count)]
