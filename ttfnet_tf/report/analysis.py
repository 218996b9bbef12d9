"""Analyses the detections of an evaluation against the annotations: every number of the report that needs both."""

from __future__ import annotations

from dataclasses import dataclass

from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.evaluation.coco_metrics import coco_evaluation, metrics_of
from ttfnet_tf.report.class_metrics import ClassMetrics, PrecisionCurve, class_metrics, precision_curves
from ttfnet_tf.report.confusion_matrix import ConfusionMatrix, confusion_matrix
from ttfnet_tf.report.dataset_summary import unique_names
from ttfnet_tf.report.error_types import ErrorTypes, error_types
from ttfnet_tf.report.evaluated_images import evaluated_images
from ttfnet_tf.report.example_images import ImageScore, score_images


@dataclass(frozen=True, eq=False)
class Analysis:
    """The analysis of one evaluation.

    Attributes:
        annotations: path of the annotation file.
        metrics: the 12 COCO metrics, 0..1; -1 where there is nothing to measure.
        class_names: unique.
        score_threshold: of the confusion matrix, of `scores`, and of the errors that count as confident.
    """

    annotations: str
    num_images: int
    metrics: dict[str, float]
    class_names: list[str]
    classes: list[ClassMetrics]
    curves: list[PrecisionCurve]
    confusion: ConfusionMatrix
    errors: ErrorTypes
    scores: list[ImageScore]
    score_threshold: float


def analyse(split: CocoSplit, detections: list[dict], *, score_threshold: float) -> Analysis:
    """Analyses detections on a split.

    Args:
        split: read with `training=False`.
        detections: in COCO's result format.
        score_threshold: confusion matrix and images use detections with higher scores; AP and error types use all.
    """
    evaluation = coco_evaluation(split, detections)
    names = unique_names(split.class_names, split.category_ids)
    images = evaluated_images(evaluation)
    confusion = confusion_matrix(images, split.num_classes, score_threshold=score_threshold)
    return Analysis(
        annotations=str(split.annotations),
        num_images=len(split.images),
        metrics=metrics_of(evaluation, split)[0],
        class_names=names,
        classes=class_metrics(evaluation, names, confusion),
        curves=precision_curves(evaluation, names),
        confusion=confusion,
        errors=error_types(images, split.num_classes, score_threshold=score_threshold),
        scores=score_images(images, score_threshold=score_threshold),
        score_threshold=score_threshold,
    )
