"""The objects and detections of each evaluated image, and which detection matched which object.

Within a class the pairs are pycocotools', see `evaluation.matches`; AP and the error types rest on them. The confusion matrix also needs
pairs of different classes, which COCO does not have: `pair_across_classes` adds them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from pycocotools import mask
from pycocotools.cocoeval import COCOeval

from ttfnet_tf.evaluation.matches import IOU, Pairs, pairs_of


@dataclass(frozen=True, eq=False)
class EvaluatedImage:
    """One image with N annotated objects and M detections; boxes are x, y, width, height in its pixels.

    Attributes:
        image_id: of the annotation file.
        boxes: float64 [N, 4], of the objects.
        labels: int [N], of the objects; positions in the category ids.
        is_crowd: bool [N]; no detection has to match a crowd, and detections in it are not wrong.
        detection_boxes: float64 [M, 4].
        detection_labels: int [M].
        scores: float64 [M], descending.
        iou: float64 [M, N]; for a crowd, the intersection over the area of the detection.
        matched: int [M]; the object of its class that a detection matched, or -1.
        is_ignored: bool [M]; the detection lies in a crowd of its class and is neither correct nor wrong.
    """

    image_id: int
    boxes: np.ndarray
    labels: np.ndarray
    is_crowd: np.ndarray
    detection_boxes: np.ndarray
    detection_labels: np.ndarray
    scores: np.ndarray
    iou: np.ndarray
    matched: np.ndarray
    is_ignored: np.ndarray

    @property
    def num_objects(self) -> int:
        """Number of objects without crowds."""
        return int(np.sum(~self.is_crowd))

    def is_found(self, matched: np.ndarray) -> np.ndarray:
        """bool [N]: whether an object is in `matched`, int [M]."""
        found = np.zeros(len(self.labels), bool)
        found[matched[matched >= 0]] = True
        return found


def evaluated_images(evaluation: COCOeval) -> list[EvaluatedImage]:
    """The images of an evaluation in its order, with the classes numbered in the order of its categories."""
    pairs: dict[int, list[Pairs]] = defaultdict(list)
    for one in pairs_of(evaluation):
        pairs[one.image_id].append(one)
    annotations = evaluation.cocoGt.imgToAnns
    return [_image(image_id, annotations[image_id], pairs[image_id]) for image_id in map(int, evaluation.params.imgIds)]


def pair_across_classes(image: EvaluatedImage, *, score_threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Pairs detections above `score_threshold` with objects of any class: of their own first, then with those that are still free.

    Returns:
        int [M]: the object that a detection matched, or -1.
        bool [M]: whether a detection counts neither as correct nor as wrong: its score is too low, or it lies in a crowd.
    """
    is_confident = image.scores > score_threshold
    # Detections match by descending score, so those below the threshold take nothing away from those above it.
    matched = np.where(is_confident, image.matched, -1)
    is_free = ~image.is_crowd & ~image.is_found(matched)
    is_near = (image.iou >= IOU) & is_confident[:, None] & (image.detection_labels[:, None] != image.labels[None])
    for row in np.flatnonzero((is_near & is_free).any(axis=1) & (matched < 0)):
        candidates = np.flatnonzero(is_near[row] & is_free)
        if len(candidates):
            iou = image.iou[row, candidates]
            matched[row] = candidates[np.flatnonzero(iou == iou.max())[-1]]  # the last of equals, as pycocotools does
            is_free[matched[row]] = False
    return matched, ~is_confident | ((matched < 0) & image.is_ignored)


def _image(image_id: int, annotations: Iterable[dict], classes: Iterable[Pairs]) -> EvaluatedImage:
    """Joins the classes of one image: objects in the order of the annotation file, detections by descending score and id."""
    label_of = {annotation["id"]: one.label for one in classes for annotation in one.objects}
    objects = [annotation for annotation in annotations if annotation["id"] in label_of]
    place_of = {annotation["id"]: place for place, annotation in enumerate(objects)}
    detections = []
    for one in classes:
        for detection, place, is_ignored in zip(one.detections, one.matched, one.is_ignored):
            matched = place_of[one.objects[place]["id"]] if place >= 0 else -1
            detections.append((-detection["score"], detection["id"], one.label, detection["bbox"], matched, is_ignored))
    detections.sort(key=lambda entry: entry[:2])
    boxes = np.array([annotation["bbox"] for annotation in objects], np.float64).reshape(-1, 4)
    is_crowd = np.array([bool(annotation.get("iscrowd")) for annotation in objects], bool)
    detection_boxes = np.array([entry[3] for entry in detections], np.float64).reshape(-1, 4)
    iou = np.zeros((len(detections), len(objects)))
    if iou.size:
        iou = np.asarray(mask.iou(detection_boxes, boxes, is_crowd.astype(np.uint8)))
    return EvaluatedImage(
        image_id=image_id,
        boxes=boxes,
        labels=np.array([label_of[annotation["id"]] for annotation in objects], np.int64),
        is_crowd=is_crowd,
        detection_boxes=detection_boxes,
        detection_labels=np.array([entry[2] for entry in detections], np.int64),
        scores=np.array([-entry[0] for entry in detections], np.float64),
        iou=iou,
        matched=np.array([entry[4] for entry in detections], np.int64),
        is_ignored=np.array([entry[5] for entry in detections], bool),
    )
