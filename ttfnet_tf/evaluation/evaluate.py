"""Detections over a data set, and the COCO figures that pycocotools makes of them."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from ttfnet_tf.boxes import xyxy_to_xywh
from ttfnet_tf.data import pipeline
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.coco_file import read_coco
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.matches import Matches, match
from ttfnet_tf.files import write_json
from ttfnet_tf.inference.predictor import to_original
from ttfnet_tf.methods import decode

# In the order of `COCOeval.stats`: AP over IoU .50:.95, at .50, at .75, of small, medium and large objects (32^2 and 96^2 px of area);
# average recall with 1, 10 and 100 detections an image, and of small, medium and large objects with 100.
METRIC_NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


@dataclass(frozen=True)
class EvaluationResult:
    """What one evaluation found.

    Attributes:
        detections: COCO results, one dict a detection: image_id, category_id (of the annotation file), bbox [x, y, w, h], score.
        metrics: the 12 COCO numbers by `METRIC_NAMES`, 0..1; -1 where the ground truth has no such object, as pycocotools says it.
        per_class: class name -> AP; -1 for a class without objects.
        num_images: how many were evaluated.
        matches: which detections found an object, at an IoU of .5.
    """

    detections: list[dict]
    metrics: dict[str, float]
    per_class: dict[str, float]
    num_images: int
    matches: Matches = field(default_factory=lambda: Matches({}, {}))

    def write(self, folder: str | Path) -> Path:
        """Writes detections.json (COCO result format) and metrics.json; returns the path of the first.

        Raises:
            UserError: the folder cannot be written to.
        """
        folder = Path(folder)
        write_json(folder / "metrics.json", {"metrics": self.metrics, "per_class": self.per_class, "images": self.num_images})
        write_json(folder / "detections.json", self.detections)
        return folder / "detections.json"

    def table(self) -> str:
        """The 12 numbers and the AP of every class, for people; "-" where there is nothing to measure."""
        lines = ["  ".join(f"{name} {_figure(self.metrics[name])}" for name in row) for row in (METRIC_NAMES[:6], METRIC_NAMES[6:])]
        width = max((len(name) for name in self.per_class), default=0)
        lines += [f"  {name:{width}}  AP {_figure(value)}" for name, value in self.per_class.items()]
        return "\n".join(lines)


def evaluate(
    predict: Callable,
    split: CocoSplit,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    score_threshold: float = 0.01,
    broken_images: str = "raise",
    workers: int = 0,
    notes: pipeline.ImageNotes | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> EvaluationResult:
    """Detects on every image of a split and measures with pycocotools.

    Args:
        predict: from `inference.predict_function`, for batches of `batch_size` images of `image_size`.
        split: read with `training=False`, so that every image counts.
        image_size: (H, W) of the model's input in pixels.
        batch_size: images of one call; does not change the result.
        score_threshold: only scores above it count.
        broken_images: "raise" or "skip"; a skipped image counts as one without detections.
        workers: parallel calls of the input pipeline; 0 lets tf.data choose.
        notes: collects what is noticed about images, such as skipped ones.
        on_batch: called with the number of images done so far.

    Raises:
        UserError: an image is missing or broken and `broken_images` is "raise".
    """
    detections = detect(
        predict,
        split,
        image_size=image_size,
        batch_size=batch_size,
        score_threshold=score_threshold,
        broken_images=broken_images,
        workers=workers,
        notes=notes,
        on_batch=on_batch,
    )
    evaluation = coco_evaluation(split, detections)
    metrics, per_class = _figures_of(split, evaluation)
    return EvaluationResult(detections, metrics, per_class, len(split.images), match(evaluation, list(per_class)))


def detect(
    predict: Callable,
    split: CocoSplit,
    *,
    image_size: tuple[int, int],
    batch_size: int,
    score_threshold: float,
    broken_images: str = "raise",
    workers: int = 0,
    notes: pipeline.ImageNotes | None = None,
    on_batch: Callable[[int], None] | None = None,
) -> list[dict]:
    """Runs `predict` over a split; arguments as in `evaluate`.

    Returns:
        COCO results in original pixels, ordered by image and falling score.
    """
    dataset = pipeline.build_eval_dataset(
        split, image_size=image_size, batch_size=batch_size, broken_images=broken_images, workers=workers, notes=notes
    )
    detections, done = [], 0
    for batch in pipeline.iterate(dataset):
        found = {name: value.numpy() for name, value in predict(batch["image"]).items()}
        for row, (image_id, original_size) in enumerate(zip(batch["image_id"].numpy(), batch["original_size"].numpy())):
            if image_id < 0:  # padding of the last batch
                continue
            one = decode.select({name: value[row] for name, value in found.items()}, score_threshold)
            boxes = to_original(one["boxes"], image_size=image_size, original_size=tuple(int(side) for side in original_size))
            detections += coco_results(int(image_id), boxes, one["scores"], one["classes"], split.category_ids)
            done += 1
        if on_batch is not None:
            on_batch(done)
    return detections


def coco_results(image_id: int, boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, category_ids) -> list[dict]:
    """COCO results of one image.

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
    """The 12 COCO numbers and the AP of each class.

    Works without a single detection (0 where there are objects) and without a single object (-1).

    Args:
        split: its annotation file is the ground truth; only its images count.
        detections: COCO results.
    """
    return _figures_of(split, coco_evaluation(split, detections))


def coco_evaluation(split: CocoSplit, detections: list[dict]) -> COCOeval:
    """The finished pycocotools object, for those who want more than the 12 numbers; arguments as in `coco_metrics`."""
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints what it does
        truth = _with_defaults(read_coco(split.annotations))
        evaluation = COCOeval(truth, _as_coco(truth, detections), "bbox")
        evaluation.params.imgIds = [image.id for image in split.images]
        evaluation.params.catIds = list(split.category_ids)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def check_classes(split: CocoSplit, class_names: Sequence[str], category_ids: Sequence[int]) -> None:
    """Refuses to measure a model on annotations with other classes than its own.

    Args:
        split: what to measure on.
        class_names: of the model.
        category_ids: of the model.

    Raises:
        UserError: names the annotation file and the first difference.
    """
    known = dict(zip(category_ids, class_names))
    found = dict(zip(split.category_ids, split.class_names))
    if len(known) != len(found):
        raise UserError(f"{split.annotations}: has {len(found)} classes, the model was trained on {len(known)}")
    for category_id, name in found.items():
        if known.get(category_id) != name:
            received = f"category id {category_id} is '{name}' there"
            expected = f"'{known[category_id]}' in the model" if category_id in known else "unknown to the model"
            raise UserError(f"{split.annotations}: does not have the classes of the model: {received} and {expected}")


def _figures_of(split: CocoSplit, evaluation: COCOeval) -> tuple[dict[str, float], dict[str, float]]:
    metrics = {name: float(value) for name, value in zip(METRIC_NAMES, evaluation.stats)}
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # [IoU, recall, class], all areas, 100 detections
    per_class = {}
    for index, (name, category_id) in enumerate(zip(split.class_names, split.category_ids)):
        known = precision[:, :, index][precision[:, :, index] > -1]
        # Two classes of one name are legal in COCO files.
        per_class[f"{name} (id {category_id})" if name in per_class else name] = float(known.mean()) if known.size else -1.0
    return metrics, per_class


def _with_defaults(truth: COCO) -> COCO:
    """Home-made annotation files leave out what pycocotools reads without asking."""
    for annotation in truth.dataset["annotations"]:
        annotation["iscrowd"] = annotation.get("iscrowd") or 0
        if annotation.get("area") is None:
            annotation["area"] = annotation["bbox"][2] * annotation["bbox"][3]
    return truth


def _as_coco(truth: COCO, detections: list[dict]) -> COCO:
    """What `COCO.loadRes` makes of boxes, but for an empty list too."""
    found = COCO()
    found.dataset = {
        "images": truth.dataset["images"],
        "categories": truth.dataset["categories"],
        "annotations": [
            {**one, "id": number, "area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0} for number, one in enumerate(detections, start=1)
        ],
    }
    found.createIndex()
    return found


def _figure(value: float) -> str:
    return f"{value:.3f}" if value > -1 else "-"
