"""Metrics and precision-recall curves of each class, from a finished pycocotools evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools.cocoeval import COCOeval

from ttfnet_tf.report.confusion_matrix import ConfusionMatrix

_IOU = {"AP50": 0.5, "AP75": 0.75}
_SIZES = {"APs": 1, "APm": 2, "APl": 3}  # position in COCOeval's ranges of areas


@dataclass(frozen=True)
class ClassMetrics:
    """The metrics of one class; None where there is nothing to measure.

    Attributes:
        objects: number of objects without crowds.
        metrics: AP, AP50, AP75, APs, APm, APl, 0..1.
        confident: number of detections above the threshold of the confusion matrix; precision and recall are of these.
        precision: fraction of them that matched an object of the class.
        recall: fraction of the objects that they matched.
    """

    name: str
    objects: int
    metrics: dict[str, float | None]
    confident: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class PrecisionCurve:
    """Precision against recall of one class: at the recalls 0, .01, ..., 1, the highest precision at that recall or above."""

    name: str
    ap: float
    recalls: tuple[float, ...]
    at: dict[str, tuple[float, ...]]  # AP50 and AP75 -> precisions


def class_metrics(evaluation: COCOeval, class_names: Sequence[str], confusion: ConfusionMatrix) -> list[ClassMetrics]:
    """The metrics of every class, in order.

    Args:
        evaluation: from `coco_metrics.coco_evaluation`.
        class_names: in the order of its category ids.
        confusion: of the same detections.
    """
    classes = []
    for k, name in enumerate(class_names):
        metrics = {"AP": _mean(_precision(evaluation, k))}
        metrics.update({key: _mean(_precision(evaluation, k)[_index(evaluation, iou)]) for key, iou in _IOU.items()})
        metrics.update({key: _mean(_precision(evaluation, k, area)) for key, area in _SIZES.items()})
        counts = confusion.counts
        classes.append(
            ClassMetrics(
                name=name,
                objects=int(counts[k].sum()),
                metrics=metrics,
                confident=int(counts[:, k].sum()),
                precision=_known(confusion.precision[k]),
                recall=_known(confusion.recall[k]),
            )
        )
    return classes


def precision_curves(evaluation: COCOeval, class_names: Sequence[str]) -> list[PrecisionCurve]:
    """The curves of the classes that have objects, in order."""
    recalls = tuple(float(recall) for recall in evaluation.params.recThrs)
    curves = []
    for k, name in enumerate(class_names):
        ap = _mean(_precision(evaluation, k))
        if ap is not None:
            at = {key: tuple(_precision(evaluation, k)[_index(evaluation, iou)].tolist()) for key, iou in _IOU.items()}
            curves.append(PrecisionCurve(name, ap, recalls, at))
    return curves


def best_and_worst(curves: Sequence[PrecisionCurve], limit: int) -> list[PrecisionCurve]:
    """The curves by descending AP; if there are more than `limit`, the first and the last `limit / 2`."""
    ordered = sorted(curves, key=lambda curve: -curve.ap)
    return ordered if len(ordered) <= limit else ordered[: limit - limit // 2] + ordered[-(limit // 2) :]


def _precision(evaluation: COCOeval, k: int, area: int = 0) -> np.ndarray:
    """[IoU threshold, recall]; -1 without objects."""
    return evaluation.eval["precision"][:, :, k, area, -1]


def _index(evaluation: COCOeval, iou: float) -> int:
    return int(np.abs(evaluation.params.iouThrs - iou).argmin())


def _mean(precision: np.ndarray) -> float | None:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else None


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
