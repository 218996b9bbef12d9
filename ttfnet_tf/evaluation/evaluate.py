"""Evaluates a detector on a data set: runs it on every image and computes the COCO metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ttfnet_tf.data import pipeline
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.coco_metrics import MAX_DETECTIONS, coco_evaluation, coco_results, crowded_images, metrics_of
from ttfnet_tf.evaluation.matches import Matches, match
from ttfnet_tf.files import MAX_PIXELS, remove, write_json
from ttfnet_tf.inference.detector import Detector
from ttfnet_tf.inference.predictor import in_original
from ttfnet_tf.inference.tiling import TiledDetector
from ttfnet_tf.methods import decode
from ttfnet_tf.outputs import marked


@dataclass(frozen=True)
class EvaluationResult:
    """The result of one evaluation.

    Attributes:
        detections: in COCO's result format, one dict each: image_id, category_id (of the annotation file), bbox [x, y, w, h], score.
        metrics: the 12 COCO metrics by `METRIC_NAMES`, 0..1; -1 where the ground truth has no such object, as in pycocotools.
        per_class: class name -> AP; -1 for a class without objects.
        num_images: number of evaluated images.
        matches: which detection matched which object, at an IoU of .5.
        first_ids: of several annotation files, what was added to the image ids of each; see `CocoSplit.own_id`.
        has_annotations: whether there is a ground truth; the files of secret test sets have none.
        max_detections: of a class in an image that count.
        crowded_images: images with more objects of one class than that.
    """

    detections: list[dict]
    metrics: dict[str, float]
    per_class: dict[str, float]
    num_images: int
    matches: Matches = field(default_factory=lambda: Matches({}, {}))
    first_ids: dict[str, int] = field(default_factory=dict)
    has_annotations: bool = True
    max_detections: int = MAX_DETECTIONS
    crowded_images: int = 0

    def write(self, folder: str | Path) -> Path:
        """Writes detections.json (COCO's result format) and metrics.json; returns the path of the first.

        Raises:
            UserError: the folder cannot be written to.
        """
        folder = Path(folder)
        figures: dict[str, Any] = {"metrics": self.metrics, "per_class": self.per_class, "images": self.num_images}
        if self.first_ids:
            figures["first_ids"] = self.first_ids
        if self.max_detections != MAX_DETECTIONS:
            figures["max_detections"] = self.max_detections
        remove(folder / "detections.json")  # those of before do not belong to the new figures
        write_json(folder / "metrics.json", marked("ttfnet evaluate", figures))
        write_json(folder / "detections.json", self.detections)
        return folder / "detections.json"

    def table(self) -> str:
        """The 12 metrics and the AP of every class, to print; "-" where there is nothing to measure."""
        names = list(self.metrics)
        lines = ["  ".join(f"{name} {_text(self.metrics[name])}" for name in row) for row in (names[:6], names[6:])]
        width = max((len(name) for name in self.per_class), default=0)
        lines += [f"  {name:{width}}  AP {_text(value)}" for name, value in self.per_class.items()]
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
    dataset: tf.data.Dataset | None = None,
    keep_ratio: bool = False,
    max_detections: int = MAX_DETECTIONS,
) -> EvaluationResult:
    """Runs a detector on every image of a split and computes the COCO metrics.

    Args:
        predict: from `inference.predict_function`, for batches of `batch_size` images of `image_size`.
        split: read with `training=False`, so that no image is dropped.
        image_size: (H, W) of the model's input in pixels.
        batch_size: images per call; does not change the result.
        score_threshold: only detections with higher scores count.
        broken_images: "raise" or "skip"; a skipped image counts as an image without detections.
        workers: parallel calls of the input pipeline; 0 is one for each processor core.
        notes: collects messages about images, such as skipped ones.
        on_batch: called with the number of images done so far.
        dataset: of `pipeline.build_eval_dataset` with these arguments, for a split that is evaluated often; None makes one.
        keep_ratio: whether images keep their ratio, see `boxes.fitted_size`.
        max_detections: see `coco_evaluation`.

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
        dataset=dataset,
        keep_ratio=keep_ratio,
    )
    return _result(split, detections, max_detections)


def detector_in_tiles(
    predict: Callable,
    split: CocoSplit,
    *,
    image_size: tuple[int, int],
    keep_ratio: bool,
    score_threshold: float,
    tile: int,
    overlap: float,
    max_pixels: int = MAX_PIXELS,
) -> TiledDetector:
    """The function of `evaluate` as a detector in tiles.

    Args:
        predict, image_size, keep_ratio, score_threshold: as in `evaluate`.
        split: whose classes the function detects.
        tile, overlap, max_pixels: as in `TiledDetector`.
    """

    def with_tensors(images):  # on several replicas it gives arrays
        return {name: tf.convert_to_tensor(value) for name, value in predict(tf.convert_to_tensor(images)).items()}

    detector = Detector(
        None,
        split.class_names,
        split.category_ids,
        None,
        image_size=image_size,
        keep_ratio=keep_ratio,
        score_threshold=score_threshold,
        make_predict=lambda _: with_tensors,
    )
    return detector.tiled(tile, overlap, max_pixels=max_pixels)


def evaluate_tiles(
    detector: TiledDetector,
    split: CocoSplit,
    *,
    batch_size: int,
    broken_images: str = "raise",
    notes: pipeline.ImageNotes | None = None,
    on_batch: Callable[[int], None] | None = None,
    max_detections: int = MAX_DETECTIONS,
) -> EvaluationResult:
    """As `evaluate`, in tiles of one image after the other.

    Args:
        detector: its score threshold decides what counts.
        split, broken_images, notes, on_batch, max_detections: as in `evaluate`.
        batch_size: tiles per call; does not change the result.

    Raises:
        UserError: an image is missing or broken and `broken_images` is "raise".
    """
    pipeline.check_files(split, broken_images)
    detections: list[dict] = []
    for index in range(len(split.images)):
        image, source = split.images[index], split.images.source(index)
        try:
            pixels = read_rgb(source, f"{source} (image id {image.id})", max_pixels=detector.max_pixels)
        except UserError as error:
            if broken_images == "raise":
                raise UserError(f"{error}; fix or remove it, or set data.broken_images=skip") from None
            if notes is not None:
                notes.add_broken(image, str(error))
        else:
            detections += detector.batch([pixels], batch_size=batch_size)[0].to_coco(image.id)
        if on_batch is not None:
            on_batch(index + 1)
    return _result(split, detections, max_detections)


def _result(split: CocoSplit, detections: list[dict], max_detections: int) -> EvaluationResult:
    evaluation = coco_evaluation(split, detections, max_detections)
    metrics, per_class = metrics_of(evaluation, split)
    first_ids = {str(part.annotations): part.first_id for part in split.parts} if len(split.parts) > 1 else {}
    has_annotations = bool(evaluation.cocoGt.anns)
    matches = match(evaluation, list(per_class))
    crowded = crowded_images(evaluation)
    return EvaluationResult(detections, metrics, per_class, len(split.images), matches, first_ids, has_annotations, max_detections, crowded)


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
    dataset: tf.data.Dataset | None = None,
    keep_ratio: bool = False,
) -> list[dict]:
    """Runs a detector on every image of a split; arguments as in `evaluate`.

    Returns:
        Detections in COCO's result format, in original pixels, by image and descending score.
    """
    if dataset is None:
        dataset = pipeline.build_eval_dataset(
            split,
            image_size=image_size,
            batch_size=batch_size,
            broken_images=broken_images,
            workers=workers,
            notes=notes,
            keep_ratio=keep_ratio,
        )
    detections, done = [], 0
    for batch in pipeline.iterate(dataset):
        found = {name: np.asarray(value) for name, value in predict(batch["image"]).items()}
        for row, (image_id, original_size) in enumerate(zip(batch["image_id"].numpy(), batch["original_size"].numpy())):
            if image_id < 0:  # padding of the last batch
                continue
            one = decode.select({name: value[row] for name, value in found.items()}, score_threshold)
            height, width = (int(side) for side in original_size)
            one = in_original(one, image_size=image_size, original_size=(height, width), keep_ratio=keep_ratio)
            detections += coco_results(int(image_id), one["boxes"], one["scores"], one["classes"], split.category_ids)
            done += 1
        if on_batch is not None:
            on_batch(done)
    return detections


def check_classes(split: CocoSplit, class_names: Sequence[str], category_ids: Sequence[int]) -> None:
    """Refuses to evaluate a model on annotations with other classes.

    Args:
        split: the data set.
        class_names: of the model.
        category_ids: of the model.

    Raises:
        UserError: names the annotation file and the first difference.
    """
    known = dict(zip(category_ids, class_names))
    found = dict(zip(split.category_ids, split.class_names))
    missing = [f"'{name}' (id {category_id})" for category_id, name in known.items() if category_id not in found]
    if missing and all(known.get(category_id) == name for category_id, name in found.items()):
        which = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
        raise UserError(f"{split.annotations}: lacks classes of the model: {which}; add them to 'categories', they need no boxes")
    if len(known) != len(found):
        raise UserError(f"{split.annotations}: has {len(found)} classes, but the model was trained on {len(known)}")
    for category_id, name in found.items():
        if known.get(category_id) != name:
            expected = f"'{known[category_id]}' in the model" if category_id in known else "unknown to the model"
            raise UserError(
                f"{split.annotations}: has other classes than the model: category id {category_id} is '{name}' there and {expected}"
            )


def _text(value: float) -> str:
    return f"{value:.3f}" if value > -1 else "-"
