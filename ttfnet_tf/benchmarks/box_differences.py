"""Differences between the detections of two forms of a model, box by box.

Each detection of the reference looks for its counterpart. pycocotools pairs the other way round: there a detection looks for an object, so
an additional detection of the other form could take the counterpart away.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask

from ttfnet_tf.boxes import fitted_size

SAME_OBJECT = 0.5  # IoU from which two boxes of a class are the same detection


@dataclass(frozen=True)
class Differences:
    """Differences of the matched detections; 0 if there are none.

    Attributes:
        compared: reference detections above the score.
        matched: how many of them have a counterpart.
        corners: largest and median difference of boxes, each by the side that differs most, in pixels of the network's input.
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
    keep_ratio: bool = False,
) -> Differences:
    """Pairs each confident detection of the reference with the free detection of the same image and class that overlaps it most.

    Args:
        expected: COCO results of the reference, see `coco_metrics.coco_results`; in each image by descending score.
        found: of the other form, with all scores, so that a detection whose score dropped below `score` is still matched.
        original_sizes: image id -> (height, width) of the image in pixels.
        image_size: (H, W) of the network's input in pixels.
        score: reference detections with higher scores are compared.
        keep_ratio: whether images keep their ratio, see `boxes.fitted_size`.
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
        (iou,) = mask.iou([one["bbox"]], [other["bbox"] for other in candidates], [0] * len(candidates))
        best = int(np.argmax(iou))
        if iou[best] < SAME_OBJECT:
            continue
        other = candidates.pop(best)
        height, width = original_sizes[one["image_id"]]
        fitted = fitted_size((height, width), image_size, keep_ratio)
        scale = np.array([fitted[1] / width, fitted[0] / height] * 2)
        corners.append(np.abs((_corners(one["bbox"]) - _corners(other["bbox"])) * scale).max())
        scores.append(abs(one["score"] - other["score"]))
    return Differences(compared, len(corners), _largest_and_median(corners), _largest_and_median(scores))


def _corners(boxes):
    """[..., 4] x, y, width, height to left, top, right, bottom."""
    boxes = np.asarray(boxes, np.float64)
    return np.concatenate([boxes[..., :2], boxes[..., :2] + boxes[..., 2:]], axis=-1)


def _largest_and_median(values):
    return (float(np.max(values)), float(np.median(values))) if values else (0.0, 0.0)
