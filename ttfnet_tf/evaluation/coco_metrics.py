"""The COCO metrics of detections, as pycocotools computes them."""

from __future__ import annotations

import contextlib
import io
from collections import Counter

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ttfnet_tf.boxes import xyxy_to_xywh
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.coco_file import read_coco

# In the order of `COCOeval.stats`: AP averaged over IoU .50:.95, at .50 and at .75, and for small, medium and large objects (area below
# 32^2, up to 96^2, above, in pixels); average recall with 1, 10 and 100 detections per image, and for small, medium and large objects.
# With another limit than 100, AR100 is called after it.
METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")

MAX_DETECTIONS = 100  # of a class in an image that count: COCO's limit


def coco_results(image_id: int, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, category_ids) -> list[dict]:
    """Detections of one image in COCO's result format.

    Args:
        boxes: [N, 4] xyxy, inclusive corners in original pixels; written as [x1, y1, x2 - x1 + 1, y2 - y1 + 1].
        scores: [N].
        classes: [N] 0-based index into `category_ids`, the ids of the annotation file with their gaps.
    """
    return [
        {"image_id": image_id, "category_id": int(category_ids[index]), "bbox": [float(v) for v in box], "score": float(score)}
        for box, score, index in zip(xyxy_to_xywh(boxes), scores, classes)
    ]


def coco_metrics(split: CocoSplit, detections: list[dict]) -> tuple[dict[str, float], dict[str, float]]:
    """The 12 COCO metrics and the AP of each class, see `metrics_of`.

    Works without any detection (0 where there are objects) and without any object (-1).

    Args:
        split: its annotation file is the ground truth; only images of the split count.
        detections: in COCO's result format.
    """
    return metrics_of(coco_evaluation(split, detections), split)


def coco_evaluation(split: CocoSplit, detections: list[dict], max_detections: int = MAX_DETECTIONS) -> COCOeval:
    """The finished pycocotools object, for more than the 12 metrics.

    Args:
        split, detections: as in `coco_metrics`.
        max_detections: of a class in an image, those with the highest scores, that count; 10 at least.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth = _with_defaults(ground_truth(split))
        evaluation = COCOeval(truth, _as_coco(truth, detections), "bbox")
        evaluation.params.imgIds = [image.id for image in split.images]
        evaluation.params.catIds = list(split.category_ids)
        evaluation.params.maxDets = [1, 10, max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    if max_detections != MAX_DETECTIONS:  # pycocotools looks for the AP with 100 and gives -1
        evaluation.stats[0] = _mean(evaluation.eval["precision"][:, :, :, 0, -1])
    return evaluation


def crowded_images(evaluation: COCOeval) -> int:
    """How many images have more objects of one class than detections that count."""
    objects = Counter((one["image_id"], one["category_id"]) for one in evaluation.cocoGt.anns.values() if not one["iscrowd"])
    evaluated = set(evaluation.params.imgIds)
    return len({image_id for (image_id, _), count in objects.items() if count > evaluation.params.maxDets[-1] and image_id in evaluated})


def ground_truth(split: CocoSplit) -> COCO:
    """The annotations of all files of a split, with its image ids and categories; those of classes that it does not use are not in it.

    Annotations of several files are numbered from 1.
    """
    if not split.parts:
        return read_coco(split.annotations)
    images, annotations = [], []
    for part in split.parts:
        content = read_coco(part.annotations).dataset
        images += [{**image, "id": image["id"] + part.first_id} for image in content["images"]]
        for one in content["annotations"]:
            if one["category_id"] in part.category_of:
                moved = {"image_id": one["image_id"] + part.first_id, "category_id": part.category_of[one["category_id"]]}
                annotations.append({**one, **moved, "id": len(annotations) + 1})
    truth = COCO()
    categories = [{"id": number, "name": name} for number, name in zip(split.category_ids, split.class_names)]
    truth.dataset = {"images": images, "annotations": annotations, "categories": categories}
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
    return truth


def metrics_of(evaluation: COCOeval, split: CocoSplit) -> tuple[dict[str, float], dict[str, float]]:
    """({name of `METRIC_NAMES`: value}, {class name: AP}), 0..1; -1 where there is no object to measure on."""
    names = [f"AR{evaluation.params.maxDets[-1]}" if name == f"AR{MAX_DETECTIONS}" else name for name in METRIC_NAMES]
    metrics = {name: float(value) for name, value in zip(names, evaluation.stats)}
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # [IoU, recall, class], objects of all sizes, all detections that count
    per_class = {}
    for index, (name, category_id) in enumerate(zip(split.class_names, split.category_ids)):
        # COCO files may have two classes of the same name.
        per_class[f"{name} (id {category_id})" if name in per_class else name] = _mean(precision[:, :, index])
    return metrics, per_class


def _mean(precision: np.ndarray) -> float:
    """The mean where there is an object; -1 where there is none."""
    known = precision[precision > -1]
    return float(known.mean()) if known.size else -1.0


def _with_defaults(truth: COCO) -> COCO:
    """Adds what pycocotools requires and some annotation files lack."""
    for annotation in truth.dataset["annotations"]:
        annotation["iscrowd"] = annotation.get("iscrowd") or 0
        if annotation.get("area") is None:
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    return truth


def _as_coco(truth: COCO, detections: list[dict]) -> COCO:
    """As `COCO.loadRes`, which fails for an empty list. Ids count from 1 in the order of the list."""
    results = COCO()
    results.dataset = {
        "images": truth.dataset["images"],
        "categories": truth.dataset["categories"],
        "annotations": [
            {**one, "id": number, "area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0} for number, one in enumerate(detections, start=1)
        ],
    }
    results.createIndex()
    return results
