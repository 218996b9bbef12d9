"""The confusion matrix: which classes objects are detected as, with background as one more class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttfnet_tf.report.evaluated_images import EvaluatedImage, pair_across_classes


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Counts over a data set.

    Attributes:
        counts: int [C + 1, C + 1]. Row: class of the object; the last row holds detections of background. Column: class of the detection;
            the last column holds objects that were not detected. The corner is 0: background without a detection is not counted.
    """

    counts: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """float [C]: fraction of the detections of a class that matched an object of it; NaN without detections."""
        return _fraction(np.diag(self.counts)[:-1], self.counts.sum(axis=0)[:-1])

    @property
    def recall(self) -> np.ndarray:
        """float [C]: fraction of the objects of a class that were detected as this class; NaN without objects."""
        return _fraction(np.diag(self.counts)[:-1], self.counts.sum(axis=1)[:-1])

    def confusions(self, limit: int) -> list[tuple[int, int, int]]:
        """(class of the object, class of the detection, count) of the most frequent pairs of different classes."""
        confused = self.counts[:-1, :-1].copy()
        np.fill_diagonal(confused, 0)
        order = np.argsort(-confused, axis=None, kind="stable")[:limit]
        places = zip(*np.unravel_index(order, confused.shape))
        return [(int(row), int(column), int(confused[row, column])) for row, column in places if confused[row, column]]


def confusion_matrix(images: Sequence[EvaluatedImage], num_classes: int, *, score_threshold: float) -> ConfusionMatrix:
    """Counts the detections with scores above `score_threshold`, paired as `pair_across_classes` does."""
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for image in images:
        matched, is_ignored = pair_across_classes(image, score_threshold=score_threshold)
        has_object = matched >= 0
        np.add.at(counts, (image.labels[matched[has_object]], image.detection_labels[has_object]), 1)
        np.add.at(counts, (num_classes, image.detection_labels[~has_object & ~is_ignored]), 1)
        np.add.at(counts, (image.labels[~image.is_found(matched) & ~image.is_crowd], num_classes), 1)
    return ConfusionMatrix(counts)


def _fraction(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
