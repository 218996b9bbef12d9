"""Detections held against their data set: every figure of the report that needs both."""

from __future__ import annotations

from dataclasses import dataclass

from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.evaluation.evaluate import METRIC_NAMES, coco_evaluation
from ttfnet_tf.report.class_metrics import ClassFigures, PrecisionCurve, class_figures, precision_curves
from ttfnet_tf.report.confusion_matrix import Confusion, confuse
from ttfnet_tf.report.dataset_summary import unique_names
from ttfnet_tf.report.error_types import ErrorTypes, error_types
from ttfnet_tf.report.evaluated_images import scenes_of
from ttfnet_tf.report.example_images import ImageScore, score_images


@dataclass(frozen=True, eq=False)
class Analysis:
    """What the detections of one evaluation are worth.

    Attributes:
        metrics: the 12 COCO numbers, 0..1; -1 where there is nothing to measure.
        class_names: unique.
        score_threshold: of `confusion`, `scores` and the confident ones among the mistakes.
    """

    annotations: str
    num_images: int
    metrics: dict[str, float]
    class_names: list[str]
    classes: list[ClassFigures]
    curves: list[PrecisionCurve]
    confusion: Confusion
    errors: ErrorTypes
    scores: list[ImageScore]
    score_threshold: float


def analyse(split: CocoSplit, detections: list[dict], *, score_threshold: float) -> Analysis:
    """Measures detections on a split in every way that the report shows.

    Args:
        split: read with `training=False`.
        detections: COCO results.
        score_threshold: detections at or below it are left out of confusion matrix and images; AP and error types take all.
    """
    evaluation = coco_evaluation(split, detections)
    names = unique_names(split.class_names, split.category_ids)
    image_ids = [int(number) for number in evaluation.params.imgIds]
    scenes = scenes_of(evaluation.cocoGt, detections, image_ids, split.category_ids)
    confusion = confuse(scenes, split.num_classes, score_threshold=score_threshold)
    return Analysis(
        annotations=str(split.annotations),
        num_images=len(split.images),
        metrics={name: float(value) for name, value in zip(METRIC_NAMES, evaluation.stats)},
        class_names=names,
        classes=class_figures(evaluation, names, confusion),
        curves=precision_curves(evaluation, names),
        confusion=confusion,
        errors=error_types(scenes, split.num_classes, score_threshold=score_threshold),
        scores=score_images(scenes, score_threshold=score_threshold),
        score_threshold=score_threshold,
    )
