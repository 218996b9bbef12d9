"""Detection in tiles on one large drawn image: `python tests/large_image.py HEIGHT WIDTH OBJECTS` prints a line of JSON.

A stub finds drawn rectangles as well as a tile shows them, so that what is measured is the merging.
"tiles_recall": every object is looked for in the single tiles, before merging, at an IoU of .5.
"recall": in the merged detections. "wrong": merged detections that match no object.
"peak_gb": peak memory of the process in GB.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from ttfnet_tf.benchmarks.stages import peak_memory_gb
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.tiling import TiledDetector, tiles_of

TILE, OVERLAP, SIDE = 512, 0.2, 24  # px; of the objects at most


class Stub:
    """Boxes of bright areas, with noise of a pixel and a lower score where less is seen."""

    class_names, category_ids, image_size = ("object",), (1,), (512, 512)

    def __init__(self):
        self.found, self._rng = [], np.random.default_rng(0)

    def timed(self, images, *, batch_size):
        """As `Detector.timed`."""
        found = [self._find(image) for image in images]
        self.found += found
        return found, 0.0

    def _find(self, image):
        _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 150).astype(np.uint8))
        left, top, width, height, area = stats[1:].T.astype(np.float32)
        boxes = np.stack([left, top, left + width - 1, top + height - 1], axis=1) + self._rng.uniform(-1, 1, (len(left), 4))
        scores = (0.5 + 0.4 * area / SIDE**2).astype(np.float32)
        order = np.argsort(-scores)
        ids, names = np.ones(len(order), np.int32), ("object",) * len(order)
        return Detections(boxes[order].astype(np.float32), scores[order], ids, names, image.shape[:2])


def draw(file: Path, size: tuple[int, int], count: int) -> np.ndarray:
    """Writes the image; returns the boxes of its objects, [count, 4] xyxy, apart from each other."""
    rng, cell = np.random.default_rng(1), SIDE + 4
    image = np.full((*size, 3), 60, np.uint8)
    places = rng.permutation((size[0] // cell) * (size[1] // cell))[:count]
    rows, columns = places // (size[1] // cell), places % (size[1] // cell)
    sides = rng.integers(SIDE // 3, SIDE + 1, (count, 2))
    corners = np.stack([columns, rows], axis=1) * cell + 2 + (rng.random((count, 2)) * (SIDE - sides + 1)).astype(int)
    boxes = np.concatenate([corners, corners + sides - 1], axis=1)
    for x1, y1, x2, y2 in boxes:
        image[y1 : y2 + 1, x1 : x2 + 1] = (230, 200, 90)
    cv2.imwrite(str(file), image[..., ::-1])
    return boxes.astype(np.float32)


def is_matched(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """bool [N]: whether each box has an IoU of .5 or more with one of the others."""
    matched = np.zeros(len(boxes), bool)
    areas = (others[:, 2:] - others[:, :2] + 1).prod(axis=1)
    for number, box in enumerate(boxes):
        common = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]) + 1, 0).prod(axis=1)
        matched[number] = bool((common >= 0.5 * ((box[2:] - box[:2] + 1).prod() + areas - common)).any())
    return matched


def measure(size: tuple[int, int], count: int, folder: Path) -> dict[str, float]:
    """See the top of the file."""
    file = folder / "large.png"
    boxes = draw(file, size, count)
    stub = Stub()
    found = TiledDetector(stub, TILE, OVERLAP, max_pixels=size[0] * size[1])(file)
    tiles = tiles_of(size, TILE, OVERLAP)
    single = np.concatenate([one.boxes + np.tile(tile[:2], 2) for one, tile in zip(stub.found, tiles)])
    return {
        "tiles": len(tiles),
        "tiles_recall": float(is_matched(boxes, single).mean()),
        "recall": float(is_matched(boxes, found.boxes).mean()),
        "detections": len(found),
        "wrong": int((~is_matched(found.boxes, boxes)).sum()),
        "peak_gb": peak_memory_gb() * 2**30 / 1e9,
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        print(json.dumps(measure((int(sys.argv[1]), int(sys.argv[2])), int(sys.argv[3]), Path(temporary))))
