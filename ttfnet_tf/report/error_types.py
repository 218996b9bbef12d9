"""Error types: every error has one kind, and the gain of a kind is how much AP50 would rise if that kind alone were fixed.

Reference: Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", arXiv:2008.08115: the kinds, IoU thresholds of
.5 and .1, and how each kind is fixed. If a detection is of two kinds, the earlier one in `KINDS` counts, in the order of the authors'
toolbox (tidecv/quantify.py of dbolya/tide 09eeffb). That toolbox is not required here: it had its last release in 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttfnet_tf.evaluation.matches import IOU
from ttfnet_tf.report.evaluated_images import EvaluatedImage

NEAR = 0.1  # IoU up to which a detection has nothing to do with an object
# Kind -> what it is, for readers. A detection is wrong if it matched no object of its class.
KINDS = {
    "localisation": "wrong detection, IoU .1 to .5 with an object of its class",
    "classification": "wrong detection, IoU .5 or more with an object of another class",
    "duplicate": "wrong detection, IoU .5 or more with an object of its class that a better detection matched",
    "background": "wrong detection, IoU at most .1 with every object",
    "both": "any other wrong detection: IoU .1 to .5 with objects of other classes only",
    "missed": "object that no detection matched, and that no localisation or classification error is about",
}
_CORRECT = -1
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class ErrorType:
    """The errors of one kind in a data set."""

    kind: str  # key of KINDS
    count: int
    confident: int | None  # errors with a score above a threshold; None for missed objects, which have no score
    gain: float  # AP50 with this kind fixed minus AP50, 0..1


@dataclass(frozen=True)
class ErrorTypes:
    """The errors of all kinds, and AP50 without any fix."""

    ap50: float | None  # None without objects
    types: tuple[ErrorType, ...]  # in the order of KINDS


@dataclass(frozen=True, eq=False)
class _Rows:
    """Every detection that is correct or wrong, and every object, of all images."""

    labels: np.ndarray  # int [R], of the detections
    scores: np.ndarray  # float [R]
    kinds: np.ndarray  # int [R]: position in KINDS, or _CORRECT
    targets: np.ndarray  # int [R]: the object that the detection would match if it were fixed, or -1
    objects: np.ndarray  # int [O]: labels of the objects
    is_found: np.ndarray  # bool [O]: whether a detection matched the object


def error_types(images: Sequence[EvaluatedImage], num_classes: int, *, score_threshold: float) -> ErrorTypes:
    """Counts the errors of all images by kind; `score_threshold` only decides which count as confident."""
    rows = _rows(images)
    before = mean_average_precision(rows.labels, rows.scores, rows.kinds == _CORRECT, _count(rows.objects, num_classes))
    missed = ~rows.is_found
    blamed = rows.targets[(rows.targets >= 0) & (rows.kinds >= 0)]
    missed[blamed] = False
    types = []
    for number, kind in enumerate(KINDS):
        chosen = rows.kinds == number
        counts = int(chosen.sum())
        confident: int | None = int((chosen & (rows.scores > score_threshold)).sum())
        if kind == "missed":
            counts, confident = int(missed.sum()), None
            after = _ap50(rows, rows.labels, rows.kinds == _CORRECT, np.ones(len(rows.labels), bool), rows.objects[~missed], num_classes)
        else:
            after = _fixed(rows, chosen, num_classes)
        types.append(ErrorType(kind, counts, confident, max(0.0, (after or 0.0) - (before or 0.0))))
    return ErrorTypes(before, tuple(types))


def mean_average_precision(labels: np.ndarray, scores: np.ndarray, is_correct: np.ndarray, num_objects: np.ndarray) -> float | None:
    """The mean of `average_precision` over the classes that have objects; None if no class has.

    Args:
        labels, scores, is_correct: [R], of detections.
        num_objects: int [C].
    """
    found = [average_precision(scores[labels == k], is_correct[labels == k], num_objects[k]) for k in np.flatnonzero(num_objects)]
    return float(np.mean(found)) if found else None


def average_precision(scores: np.ndarray, is_correct: np.ndarray, num_objects: int) -> float:
    """COCO's AP at one IoU threshold: the mean, over the recalls 0, .01, ..., 1, of the highest precision at that recall or above.

    Args:
        scores: float [R].
        is_correct: bool [R].
        num_objects: above 0.
    """
    hits = np.cumsum(is_correct[np.argsort(-scores, kind="mergesort")])
    precision = hits / np.arange(1, len(hits) + 1)
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    places = np.searchsorted(hits / num_objects, _RECALLS, side="left")
    return float(np.append(highest, 0.0)[places].mean())


def _rows(images: Sequence[EvaluatedImage]) -> _Rows:
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("labels", "scores", "kinds", "targets", "objects", "is_found")}
    before = 0  # objects of earlier images
    for image in images:
        is_object = ~image.is_crowd
        kinds, targets = _kinds(image, is_object)
        counted = ~image.is_ignored
        position = np.cumsum(is_object) - 1 + before
        parts["labels"].append(image.detection_labels[counted])
        parts["scores"].append(image.scores[counted])
        parts["kinds"].append(kinds[counted])
        parts["targets"].append(np.where(targets >= 0, position[targets] if len(position) else -1, -1)[counted])
        parts["objects"].append(image.labels[is_object])
        parts["is_found"].append(image.is_found(image.matched)[is_object])
        before += image.num_objects
    types = {"scores": np.float64, "is_found": bool}
    empty = {name: np.zeros(0, types.get(name, np.int64)) for name in parts}
    return _Rows(**{name: np.concatenate([empty[name], *arrays]) for name, arrays in parts.items()})


def _kinds(image: EvaluatedImage, is_object: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[M] the kind of every detection, and [M] the object that it would match without its error (-1: none)."""
    is_same = image.detection_labels[:, None] == image.labels[None]
    same, same_at = _largest(image.iou, is_same & is_object)
    other, other_at = _largest(image.iou, ~is_same & is_object)
    position = {kind: number for number, kind in enumerate(KINDS)}
    cases = [
        (image.matched >= 0, _CORRECT),
        ((same >= NEAR) & (same < IOU), position["localisation"]),
        (other >= IOU, position["classification"]),
        (same >= IOU, position["duplicate"]),
        (np.maximum(same, other) <= NEAR, position["background"]),
    ]
    kinds = np.select([case for case, _ in cases], [kind for _, kind in cases], position["both"])
    targets = np.select([kinds == position["localisation"], kinds == position["classification"]], [same_at, other_at], -1)
    return kinds, targets


def _largest(iou: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[M] the largest IoU with an allowed object, 0 if there is none, and [M] the object."""
    if not iou.shape[1]:
        return np.zeros(len(iou)), np.full(len(iou), -1)
    masked = np.where(allowed, iou, 0.0)
    return masked.max(axis=1), masked.argmax(axis=1)


def _fixed(rows: _Rows, chosen: np.ndarray, num_classes: int) -> float | None:
    """AP50 after the chosen errors are fixed: the best one about an object that is not found matches it, the others are removed."""
    labels, is_correct, stays = rows.labels.copy(), rows.kinds == _CORRECT, ~chosen
    taken = rows.is_found.copy()
    for row in np.flatnonzero(chosen)[np.argsort(-rows.scores[chosen], kind="mergesort")]:
        target = rows.targets[row]
        if target >= 0 and not taken[target]:
            taken[target] = stays[row] = is_correct[row] = True
            labels[row] = rows.objects[target]
    return _ap50(rows, labels, is_correct, stays, rows.objects, num_classes)


def _ap50(rows: _Rows, labels, is_correct, stays, objects, num_classes: int) -> float | None:
    return mean_average_precision(labels[stays], rows.scores[stays], is_correct[stays], _count(objects, num_classes))


def _count(labels: np.ndarray, num_classes: int) -> np.ndarray:
    return np.bincount(labels, minlength=num_classes)
