"""Which detections found an object and which objects were missed, as pycocotools paired them at an IoU of .5."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pycocotools.cocoeval import COCOeval

IOU = 0.5
SHOWN_SCORE = 0.3  # detections up to it are drawn nowhere, so they count neither as wrong nor as having found something


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """Detections of one class over all images.

    Attributes:
        num_objects: to be found; crowds and ignored objects do not count.
        scores: float [D] falling; detections on crowds and ignored objects are left out.
        correct: bool [D] whether each found an object that no better one had.
    """

    num_objects: int
    scores: np.ndarray
    correct: np.ndarray

    def counts(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Correct and wrong detections with scores of at least each of the thresholds, [T] each."""
        passing = self.scores[:, None] >= thresholds
        return (passing & self.correct[:, None]).sum(axis=0), (passing & ~self.correct[:, None]).sum(axis=0)


@dataclass(frozen=True)
class ImageMatches:
    """What is right and wrong in one image; annotations and results as COCO has them, "bbox" in pixels of the image.

    Attributes:
        missed: annotations of the objects that no detection found.
        found: those of the others.
        wrong: detections that found nothing.
        correct: the others.
    """

    missed: list[dict] = field(default_factory=list)
    found: list[dict] = field(default_factory=list)
    wrong: list[dict] = field(default_factory=list)
    correct: list[dict] = field(default_factory=list)

    @property
    def mistakes(self) -> int:
        """Missed objects and wrong detections."""
        return len(self.missed) + len(self.wrong)


@dataclass(frozen=True)
class Matches:
    """Of one evaluation."""

    classes: dict[str, ClassMatches]  # by name, in the order of the labels
    images: dict[int, ImageMatches]  # by image id

    def worst(self, count: int) -> list[int]:
        """Image ids of the images with the most mistakes, the worst first; those without any are left out."""
        wrong = [image_id for image_id, image in self.images.items() if image.mistakes]
        return sorted(wrong, key=lambda image_id: -self.images[image_id].mistakes)[:count]


def match(evaluation: COCOeval, class_names: Sequence[str], *, shown_score: float = SHOWN_SCORE) -> Matches:
    """Reads the pairs out of an evaluation.

    Args:
        evaluation: after `evaluate()`; ids of its detections count from 1.
        class_names: a different name for each of its categories, in their order.
        shown_score: detections up to it do not count in `images`.
    """
    parameters = evaluation.params
    at = int(np.flatnonzero(np.isclose(parameters.iouThrs, IOU))[0])
    images = {int(image_id): ImageMatches() for image_id in parameters.imgIds}
    classes = {}
    # One entry for each class, range of areas and image, in this order; the first range is that of all areas.
    entries = np.array(evaluation.evalImgs, object).reshape(len(parameters.catIds), len(parameters.areaRng), -1)
    for name, of_class in zip(class_names, entries[:, 0]):
        scores, correct, num_objects = [], [], 0
        for entry in of_class:
            if entry is None:  # neither object nor detection
                continue
            counted = np.asarray(entry["dtIgnore"][at]) == 0
            paired = np.asarray(entry["dtMatches"][at]) != 0
            entry_scores = np.asarray(entry["dtScores"], np.float64)
            scores.append(entry_scores[counted])
            correct.append(paired[counted])
            num_objects += int(np.count_nonzero(np.asarray(entry["gtIgnore"]) == 0))
            _add_image(images[int(entry["image_id"])], evaluation, entry, at, shown_score)
        scores = np.concatenate([*scores, np.zeros(0)])
        order = np.argsort(-scores, kind="stable")
        classes[name] = ClassMatches(num_objects, scores[order], np.concatenate([*correct, np.zeros(0, bool)])[order])
    return Matches(classes, images)


def _add_image(image: ImageMatches, evaluation: COCOeval, entry: dict, at: int, shown_score: float) -> None:
    shown = {number for number, score in zip(entry["dtIds"], entry["dtScores"]) if score > shown_score}
    for number, ignored, paired in zip(entry["dtIds"], entry["dtIgnore"][at], entry["dtMatches"][at]):
        if number in shown and not ignored:
            (image.correct if paired else image.wrong).append(evaluation.cocoDt.anns[number])
    for number, ignored, paired in zip(entry["gtIds"], entry["gtIgnore"], entry["gtMatches"][at]):
        if not ignored:
            (image.found if paired in shown else image.missed).append(evaluation.cocoGt.anns[number])
