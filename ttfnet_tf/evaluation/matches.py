"""Which detection matched which object, as pycocotools paired them at an IoU of .5.

pycocotools is the only matcher: the curves of TensorBoard, the confusion matrix and the error types of the report all read its pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from pycocotools.cocoeval import COCOeval

IOU = 0.5
SHOWN_SCORE = 0.3  # detections up to it are not drawn, and in the drawn images they neither match an object nor count as wrong


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs of one class in one image: N objects and M detections, at most the 100 with the highest scores.

    Attributes:
        label: position of the class in the category ids.
        image_id: of the image.
        objects: [N] annotations, as in the annotation file.
        is_ignored_object: bool [N]; a crowd, which no detection has to match.
        detections: [M] in COCO's result format, by descending score.
        matched: int [M]: the object that the detection matched, or -1; never an ignored object.
        is_ignored: bool [M]; the detection lies in a crowd and is neither correct nor wrong.
    """

    label: int
    image_id: int
    objects: list[dict]
    is_ignored_object: np.ndarray
    detections: list[dict]
    matched: np.ndarray
    is_ignored: np.ndarray


@dataclass(frozen=True, eq=False)
class ClassMatches:
    """The detections of one class in all images.

    Attributes:
        num_objects: without crowds.
        scores: float [D], descending; without detections in crowds.
        correct: bool [D]; whether the detection matched an object.
    """

    num_objects: int
    scores: np.ndarray
    correct: np.ndarray

    def counts(self, thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(correct, wrong) [T]: numbers of detections whose score reaches each of the thresholds [T]."""
        passing = self.scores[:, None] >= thresholds
        return (passing & self.correct[:, None]).sum(axis=0), (passing & ~self.correct[:, None]).sum(axis=0)


@dataclass(frozen=True)
class ImageMatches:
    """What is correct and wrong in one image; annotations and COCO results, with "bbox" in pixels of the image.

    Attributes:
        missed: annotations of the objects that no detection matched.
        found: annotations of the other objects.
        wrong: detections that matched no object.
        correct: the other detections.
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
    """The matches of one evaluation."""

    classes: dict[str, ClassMatches]  # by name, in the order of the labels
    images: dict[int, ImageMatches]  # by image id

    def worst(self, count: int) -> list[int]:
        """Ids of the images with the most mistakes, worst first; images without mistakes are not among them."""
        wrong = [image_id for image_id, image in self.images.items() if image.mistakes]
        return sorted(wrong, key=lambda image_id: -self.images[image_id].mistakes)[:count]


def pairs_of(evaluation: COCOeval) -> Iterator[Pairs]:
    """The pairs of an evaluation at an IoU of .5, class by class and image by image, where there is an object or a detection.

    Args:
        evaluation: after `evaluate()`; the ids of its detections count from 1.
    """
    parameters = evaluation.params
    at = int(np.flatnonzero(np.isclose(parameters.iouThrs, IOU))[0])
    # An entry for each class, range of areas and image, in this order; the first range is that of all areas.
    entries = np.array(evaluation.evalImgs, object).reshape(len(parameters.catIds), len(parameters.areaRng), -1)
    for label, of_class in enumerate(entries[:, 0]):
        for entry in of_class:
            if entry is None:  # neither object nor detection
                continue
            is_ignored_object = np.asarray(entry["gtIgnore"]) != 0
            matched = np.full(len(entry["dtIds"]), -1)
            row_of = {number: row for row, number in enumerate(entry["dtIds"])}
            # By the objects: several detections may match one crowd, and annotation ids need not fit into the floats of dtMatches.
            for place, number in enumerate(entry["gtMatches"][at]):
                if number and not is_ignored_object[place]:
                    matched[row_of[int(number)]] = place
            yield Pairs(
                label=label,
                image_id=int(entry["image_id"]),
                objects=[evaluation.cocoGt.anns[number] for number in entry["gtIds"]],
                is_ignored_object=is_ignored_object,
                detections=[evaluation.cocoDt.anns[number] for number in entry["dtIds"]],
                matched=matched,
                is_ignored=np.asarray(entry["dtIgnore"][at]) != 0,
            )


def match(evaluation: COCOeval, class_names: Sequence[str], *, shown_score: float = SHOWN_SCORE) -> Matches:
    """Collects the pairs of an evaluation by class and by image.

    Args:
        evaluation: see `pairs_of`.
        class_names: unique, in the order of its categories.
        shown_score: detections up to it do not count in `images`.
    """
    images = {int(image_id): ImageMatches() for image_id in evaluation.params.imgIds}
    scores: list[list[np.ndarray]] = [[] for _ in class_names]
    correct: list[list[np.ndarray]] = [[] for _ in class_names]
    num_objects = [0] * len(class_names)
    for pairs in pairs_of(evaluation):
        counted = ~pairs.is_ignored
        scores[pairs.label].append(np.array([one["score"] for one in pairs.detections], np.float64)[counted])
        correct[pairs.label].append((pairs.matched >= 0)[counted])
        num_objects[pairs.label] += int(np.count_nonzero(~pairs.is_ignored_object))
        _add(images[pairs.image_id], pairs, shown_score)
    classes = {}
    for label, name in enumerate(class_names):
        of_class = np.concatenate([*scores[label], np.zeros(0)])
        order = np.argsort(-of_class, kind="stable")
        classes[name] = ClassMatches(num_objects[label], of_class[order], np.concatenate([*correct[label], np.zeros(0, bool)])[order])
    return Matches(classes, images)


def _add(image: ImageMatches, pairs: Pairs, shown_score: float) -> None:
    """Adds the pairs of one class to those of its image."""
    is_found = np.zeros(len(pairs.objects), bool)
    for detection, place, is_ignored in zip(pairs.detections, pairs.matched, pairs.is_ignored):
        if detection["score"] > shown_score and not is_ignored:
            (image.correct if place >= 0 else image.wrong).append(detection)
            if place >= 0:
                is_found[place] = True
    for annotation, found, is_ignored in zip(pairs.objects, is_found, pairs.is_ignored_object):
        if not is_ignored:
            (image.found if found else image.missed).append(annotation)
