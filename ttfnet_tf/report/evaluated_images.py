"""Objects and detections of one image side by side, and which detection has found which object.

Two rules are in use. `match` is COCO's and asks class by class; AP and the error types rest on it. `pair` lets classes differ, which a
confusion matrix is about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask
from pycocotools.coco import COCO

MAX_DETECTIONS = 100  # of a class in an image, as COCO's AP counts them


@dataclass(frozen=True, eq=False)
class Scene:
    """One image with N annotated objects and M detections; boxes are x, y, width, height in its pixels."""

    image_id: int
    boxes: np.ndarray  # float64 [N, 4]
    labels: np.ndarray  # int [N], position in the category ids
    is_crowd: np.ndarray  # bool [N]; a crowd is no object to be found, and detections in it are no mistakes
    found_boxes: np.ndarray  # float64 [M, 4]
    found_labels: np.ndarray  # int [M]
    scores: np.ndarray  # float64 [M], falling
    overlap: np.ndarray  # float64 [M, N]: intersection over union; over the detection's own area for a crowd

    @property
    def num_objects(self) -> int:
        """Without crowds."""
        return int(np.sum(~self.is_crowd))


@dataclass(frozen=True, eq=False)
class Matches:
    """Who has found whom in a scene."""

    owner: np.ndarray  # int [M]: the object that a detection has found, or -1
    is_ignored: np.ndarray  # bool [M]: lies in a crowd of its class, or below the threshold of the scores; neither right nor wrong

    def found(self, num_boxes: int) -> np.ndarray:
        """bool [N]: the objects that have been found."""
        found = np.zeros(num_boxes, bool)
        found[self.owner[self.owner >= 0]] = True
        return found


def scenes_of(truth: COCO, detections: Iterable[dict], image_ids: Sequence[int], category_ids: Sequence[int]) -> list[Scene]:
    """One scene for each of `image_ids`, in that order.

    Args:
        truth: annotations; only `category_ids` count, and so with the detections.
        detections: COCO results.
    """
    label_of = {category: label for label, category in enumerate(category_ids)}
    found_in = defaultdict(list)
    for one in detections:
        if one["category_id"] in label_of:
            found_in[one["image_id"]].append(one)
    return [
        _scene(image_id, [a for a in truth.imgToAnns[image_id] if a["category_id"] in label_of], found_in[image_id], label_of)
        for image_id in image_ids
    ]


def match(scene: Scene, threshold: float = 0.5) -> Matches:
    """COCO's rule: by falling score, each detection takes the free object of its class that it overlaps most, by `threshold` or more."""
    owner, is_ignored = np.full(len(scene.scores), -1), np.zeros(len(scene.scores), bool)
    near = (scene.found_labels[:, None] == scene.labels[None]) & (scene.overlap >= threshold)
    _take(scene, near, owner)
    is_ignored[owner < 0] = (near & scene.is_crowd)[owner < 0].any(axis=1)
    return Matches(owner, is_ignored)


def pair(scene: Scene, *, score_threshold: float, threshold: float = 0.5) -> Matches:
    """Detections above `score_threshold` to objects of any class: first those of the same class as `match` does, then what is left over."""
    is_confident = scene.scores > score_threshold
    owner = np.full(len(scene.scores), -1)
    close = (scene.overlap >= threshold) & is_confident[:, None]
    same = scene.found_labels[:, None] == scene.labels[None]
    _take(scene, close & same, owner)
    _take(scene, close & ~same, owner)
    in_crowd = (owner < 0) & (close & same & scene.is_crowd).any(axis=1)
    return Matches(owner, in_crowd | ~is_confident)


def _take(scene: Scene, near: np.ndarray, owner: np.ndarray) -> None:
    """Gives every detection without an owner its free neighbour (bool [M, N]) of most overlap; writes into `owner`."""
    is_free = ~scene.is_crowd
    is_free[owner[owner >= 0]] = False
    for row in np.flatnonzero((near & is_free).any(axis=1) & (owner < 0)):
        candidates = np.flatnonzero(near[row] & is_free)
        if len(candidates):
            overlaps = scene.overlap[row, candidates]
            owner[row] = candidates[np.flatnonzero(overlaps == overlaps.max())[-1]]  # the last of equals, as pycocotools does
            is_free[owner[row]] = False


def _scene(image_id: int, annotations: list[dict], found: list[dict], label_of: dict[int, int]) -> Scene:
    boxes = np.array([a["bbox"] for a in annotations], np.float64).reshape(-1, 4)
    is_crowd = np.array([bool(a.get("iscrowd")) for a in annotations], bool)
    found_boxes = np.array([one["bbox"] for one in found], np.float64).reshape(-1, 4)
    found_labels = np.array([label_of[one["category_id"]] for one in found], np.int64)
    scores = np.array([one["score"] for one in found], np.float64)
    order = np.argsort(-scores, kind="mergesort")
    kept = np.zeros(len(order), bool)
    for label in np.unique(found_labels):
        kept[np.flatnonzero(found_labels[order] == label)[:MAX_DETECTIONS]] = True
    order = order[kept]
    overlap = np.zeros((len(order), len(boxes)))
    if overlap.size:
        overlap = np.asarray(mask.iou(found_boxes[order], boxes, is_crowd.astype(np.uint8)))
    return Scene(
        image_id=image_id,
        boxes=boxes,
        labels=np.array([label_of[a["category_id"]] for a in annotations], np.int64),
        is_crowd=is_crowd,
        found_boxes=found_boxes[order],
        found_labels=found_labels[order],
        scores=scores[order],
        overlap=overlap,
    )
