"""Figures and curves class by class, out of what pycocotools has measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.cocoeval import COCOeval

from ttfnet_tf.report.confusion_matrix import Confusion

_OVERLAPS = {"AP50": 0.5, "AP75": 0.75}
_SIZES = {"APs": 1, "APm": 2, "APl": 3}  # place in COCOeval's areas


@dataclass(frozen=True)
class ClassFigures:
    """One class; None where there is nothing to measure.

    Attributes:
        objects: without crowds.
        figures: AP, AP50, AP75, APs, APm, APl, 0..1.
        confident: detections above the threshold of the confusion matrix, and of those and the objects:
        precision: share of the detections that have found an object of the class.
        recall: share of the objects that were found.
    """

    name: str
    objects: int
    figures: dict[str, float | None]
    confident: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class PrecisionCurve:
    """Precision against recall of one class, at the recalls 0, .01, ..., 1: the highest precision at that recall or beyond."""

    name: str
    ap: float
    recalls: tuple[float, ...]
    at: dict[str, tuple[float, ...]]  # AP50 and AP75 -> precisions


def class_figures(evaluation: COCOeval, class_names: Sequence[str], confusion: Confusion) -> list[ClassFigures]:
    """All classes in their order.

    Args:
        evaluation: from `evaluate.coco_evaluation`.
        class_names: in the order of its category ids.
        confusion: counts of the same data.
    """
    found = []
    for k, name in enumerate(class_names):
        figures = {"AP": _mean(_precision(evaluation, k))}
        figures.update({key: _mean(_precision(evaluation, k)[_place(evaluation, overlap)]) for key, overlap in _OVERLAPS.items()})
        figures.update({key: _mean(_precision(evaluation, k, area)) for key, area in _SIZES.items()})
        counts = confusion.counts
        found.append(
            ClassFigures(
                name=name,
                objects=int(counts[k].sum()),
                figures=figures,
                confident=int(counts[:, k].sum()),
                precision=_known(confusion.precision[k]),
                recall=_known(confusion.recall[k]),
            )
        )
    return found


def precision_curves(evaluation: COCOeval, class_names: Sequence[str]) -> list[PrecisionCurve]:
    """Curves of the classes that have objects, in their order."""
    recalls = tuple(float(recall) for recall in evaluation.params.recThrs)
    curves = []
    for k, name in enumerate(class_names):
        ap = _mean(_precision(evaluation, k))
        if ap is not None:
            at = {key: tuple(_precision(evaluation, k)[_place(evaluation, overlap)].tolist()) for key, overlap in _OVERLAPS.items()}
            curves.append(PrecisionCurve(name, ap, recalls, at))
    return curves


def strongest_and_weakest(curves: Sequence[PrecisionCurve], limit: int) -> list[PrecisionCurve]:
    """All, strongest first; with more than `limit` of them only the `limit / 2` with the highest AP and as many with the lowest."""
    ordered = sorted(curves, key=lambda curve: -curve.ap)
    return ordered if len(ordered) <= limit else ordered[: limit - limit // 2] + ordered[-(limit // 2) :]


def _precision(evaluation: COCOeval, k: int, area: int = 0) -> np.ndarray:
    """[overlap, recall]; -1 without objects."""
    return evaluation.eval["precision"][:, :, k, area, -1]


def _place(evaluation: COCOeval, overlap: float) -> int:
    return int(np.abs(evaluation.params.iouThrs - overlap).argmin())


def _mean(precision: np.ndarray) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
