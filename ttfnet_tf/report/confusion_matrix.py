"""What objects are taken for: the confusion matrix, with background as one more class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttfnet_tf.report.evaluated_images import Scene, pair


@dataclass(frozen=True, eq=False)
class Confusion:
    """Counts over a data set.

    Attributes:
        counts: int [C + 1, C + 1]. Row: class of the object, the last one where there was none. Column: class of the detection, the last
            one where there was none. The corner is 0: background that was rightly left alone is not counted.
    """

    counts: np.ndarray

    @property
    def precision(self) -> np.ndarray:
        """float [C]: share of the detections of a class that have found an object of it; NaN without detections."""
        return _share(np.diag(self.counts)[:-1], self.counts.sum(axis=0)[:-1])

    @property
    def recall(self) -> np.ndarray:
        """float [C]: share of the objects of a class that were found as what they are; NaN without objects."""
        return _share(np.diag(self.counts)[:-1], self.counts.sum(axis=1)[:-1])

    def mix_ups(self, limit: int) -> list[tuple[int, int, int]]:
        """(class of the object, class of the detection, count) of the most frequent cases in which one was taken for another."""
        mixed = self.counts[:-1, :-1].copy()
        np.fill_diagonal(mixed, 0)
        order = np.argsort(-mixed, axis=None, kind="stable")[:limit]
        places = zip(*np.unravel_index(order, mixed.shape))
        return [(int(row), int(column), int(mixed[row, column])) for row, column in places if mixed[row, column]]


def confuse(scenes: Sequence[Scene], num_classes: int, *, score_threshold: float, threshold: float = 0.5) -> Confusion:
    """Counts detections above `score_threshold`, paired with objects that they overlap by `threshold` or more, see `scenes.pair`."""
    counts = np.zeros((num_classes + 1, num_classes + 1), np.int64)
    for scene in scenes:
        pairs = pair(scene, score_threshold=score_threshold, threshold=threshold)
        has_owner = pairs.owner >= 0
        np.add.at(counts, (scene.labels[pairs.owner[has_owner]], scene.found_labels[has_owner]), 1)
        np.add.at(counts, (num_classes, scene.found_labels[~has_owner & ~pairs.is_ignored]), 1)
        np.add.at(counts, (scene.labels[~pairs.found(len(scene.labels)) & ~scene.is_crowd], num_classes), 1)
    return Confusion(counts)


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
