"""Why AP50 is not 1: every mistake is of one kind, and each kind is mended in turn to see what it costs.

Reference: Bolya et al., "TIDE: A General Toolbox for Identifying Object Detection Errors", arXiv:2008.08115: kinds, overlaps of .5 and
.1, and the mending of each. Where a detection is of two kinds the earlier one in `KINDS` counts, in the order of the authors' toolbox
(tidecv/quantify.py of dbolya/tide 09eeffb).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttfnet_tf.report.evaluated_images import Scene, match

FOUND, NEAR = 0.5, 0.1  # overlap from which an object is found, and below which a detection has nothing to do with it
# Kind -> what it is, for readers. A detection is "wrong" that has found no object of its class.
KINDS = {
    "localisation": "a wrong detection that overlaps an object of its class by .1 to .5",
    "classification": "a wrong detection that overlaps an object of another class by .5 or more",
    "duplicate": "a wrong detection that overlaps an object of its class by .5 or more, which a better-scored one has found already",
    "background": "a wrong detection that overlaps no object by more than .1",
    "both": "a wrong detection of the rest: it overlaps objects of other classes by .1 to .5 only",
    "missed": "an object that no detection has found, and that none of the first two kinds is about",
}
_CORRECT = -1
_RECALLS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class ErrorType:
    """One kind of mistake over a data set."""

    kind: str  # key of KINDS
    count: int
    confident: int | None  # those with a score above a threshold; None for missed objects, which have no score
    gain: float  # AP50 with this kind mended less AP50, 0..1


@dataclass(frozen=True)
class ErrorTypes:
    """All kinds, and AP50 as it is."""

    ap50: float | None  # None without objects
    types: tuple[ErrorType, ...]  # in the order of KINDS


@dataclass(frozen=True, eq=False)
class _Rows:
    """Every detection that is right or wrong, and every object."""

    labels: np.ndarray  # int [R], of the detections
    scores: np.ndarray  # float [R]
    kinds: np.ndarray  # int [R]: position in KINDS or _CORRECT
    targets: np.ndarray  # int [R]: the object that a mended detection would find, or -1
    objects: np.ndarray  # int [O]: labels
    is_found: np.ndarray  # bool [O]


def error_types(scenes: Sequence[Scene], num_classes: int, *, score_threshold: float) -> ErrorTypes:
    """Sorts the mistakes of all scenes; `score_threshold` only says which of them count as confident."""
    rows = _rows(scenes)
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
            after = _mended(rows, chosen, num_classes)
        types.append(ErrorType(kind, counts, confident, max(0.0, (after or 0.0) - (before or 0.0))))
    return ErrorTypes(before, tuple(types))


def mean_average_precision(labels: np.ndarray, scores: np.ndarray, is_correct: np.ndarray, num_objects: np.ndarray) -> float | None:
    """Mean over the classes that have objects of `average_precision`; None if none has.

    Args:
        labels, scores, is_correct: [R], of detections.
        num_objects: int [C].
    """
    found = [average_precision(scores[labels == k], is_correct[labels == k], num_objects[k]) for k in np.flatnonzero(num_objects)]
    return float(np.mean(found)) if found else None


def average_precision(scores: np.ndarray, is_correct: np.ndarray, num_objects: int) -> float:
    """COCO's AP at one overlap: the mean over recalls 0, .01, ..., 1 of the highest precision at that recall or beyond.

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


def _rows(scenes: Sequence[Scene]) -> _Rows:
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("labels", "scores", "kinds", "targets", "objects", "is_found")}
    before = 0  # objects of earlier scenes
    for scene in scenes:
        matches = match(scene, FOUND)
        is_object = ~scene.is_crowd
        kinds, targets = _judge(scene, matches.owner, is_object)
        counted = ~matches.is_ignored
        position = np.cumsum(is_object) - 1 + before
        parts["labels"].append(scene.found_labels[counted])
        parts["scores"].append(scene.scores[counted])
        parts["kinds"].append(kinds[counted])
        parts["targets"].append(np.where(targets >= 0, position[targets] if len(position) else -1, -1)[counted])
        parts["objects"].append(scene.labels[is_object])
        parts["is_found"].append(matches.found(len(scene.labels))[is_object])
        before += scene.num_objects
    types = {"scores": np.float64, "is_found": bool}
    empty = {name: np.zeros(0, types.get(name, np.int64)) for name in parts}
    return _Rows(**{name: np.concatenate([empty[name], *arrays]) for name, arrays in parts.items()})


def _judge(scene: Scene, owner: np.ndarray, is_object: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kind of every detection, and the object that it would have found without its mistake (-1: none)."""
    is_same = scene.found_labels[:, None] == scene.labels[None]
    same, same_at = _largest(scene.overlap, is_same & is_object)
    other, other_at = _largest(scene.overlap, ~is_same & is_object)
    wrong = owner < 0
    position = {kind: number for number, kind in enumerate(KINDS)}
    cases = [
        (~wrong, _CORRECT),
        ((same >= NEAR) & (same < FOUND), position["localisation"]),
        (other >= FOUND, position["classification"]),
        (same >= FOUND, position["duplicate"]),
        (np.maximum(same, other) <= NEAR, position["background"]),
    ]
    kinds = np.select([case for case, _ in cases], [kind for _, kind in cases], position["both"])
    targets = np.select([kinds == position["localisation"], kinds == position["classification"]], [same_at, other_at], -1)
    return kinds, targets


def _largest(overlap: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[M] largest overlap among the allowed objects, 0 where there is none, and its place."""
    if not overlap.shape[1]:
        return np.zeros(len(overlap)), np.full(len(overlap), -1)
    masked = np.where(allowed, overlap, 0.0)
    return masked.max(axis=1), masked.argmax(axis=1)


def _mended(rows: _Rows, chosen: np.ndarray, num_classes: int) -> float | None:
    """AP50 after the chosen mistakes are put right: the best-scored one about an unfound object finds it, every other one is taken away."""
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
