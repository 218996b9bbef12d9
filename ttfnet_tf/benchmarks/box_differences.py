"""How far the detections of one form of a model are from those of another, box by box."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

SAME_OBJECT = 0.5  # intersection over union from which two boxes of a class are taken for one detection


@dataclass(frozen=True)
class Differences:
    """Of matched detections; 0 where there is nothing to match.

    Attributes:
        compared: reference detections above the score.
        matched: how many of them were found again.
        corners: largest and median difference of a box's corners, the worst of its four sides, in pixels of the network's input.
        scores: largest and median difference of the scores.
    """

    compared: int
    matched: int
    corners: tuple[float, float]
    scores: tuple[float, float]


def differences(
    expected: Sequence[dict],
    found: Sequence[dict],
    *,
    original_sizes: Mapping[int, tuple[int, int]],
    image_size: tuple[int, int],
    score: float,
) -> Differences:
    """Pairs each confident detection with one of the same image and class, the best overlapping first come first served.

    Args:
        expected: COCO results of the reference, see `evaluate.coco_results`; best first in each image.
        found: of the other form; all scores, so that a detection that sank below `score` is still found.
        original_sizes: image id -> (height, width) of the image.
        image_size: (H, W) of the network's input.
        score: reference detections with scores above it are compared.
    """
    others = defaultdict(list)
    for one in found:
        others[one["image_id"], one["category_id"]].append(one)
    corners, scores, compared = [], [], 0
    for one in expected:
        if one["score"] <= score:
            continue
        compared += 1
        candidates = others[one["image_id"], one["category_id"]]
        if not candidates:
            continue
        overlaps = _overlaps(one["bbox"], np.array([other["bbox"] for other in candidates]))
        best = int(np.argmax(overlaps))
        if overlaps[best] < SAME_OBJECT:
            continue
        other = candidates.pop(best)
        height, width = original_sizes[one["image_id"]]
        scale = np.array([image_size[1] / width, image_size[0] / height] * 2)
        corners.append(np.abs((_corners(one["bbox"]) - _corners(other["bbox"])) * scale).max())
        scores.append(abs(one["score"] - other["score"]))
    return Differences(compared, len(corners), _largest_and_median(corners), _largest_and_median(scores))


def _corners(boxes):
    """[..., 4] x, y, width, height -> left, top, right, bottom."""
    boxes = np.asarray(boxes, np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def _overlaps(box, others):
    """Intersection over union of one [4] with others [N, 4], all x, y, width, height."""
    a, b = _corners(box), _corners(others)
    sides = np.maximum(np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2]), 0)
    shared = sides.prod(-1)
    return shared / (np.prod(box[2:]) + others[:, 2:].prod(-1) - shared)


def _largest_and_median(values):
    return (float(np.max(values)), float(np.median(values))) if values else (0.0, 0.0)
