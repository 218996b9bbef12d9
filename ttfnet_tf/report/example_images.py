"""The best and worst images of an evaluation, drawn twice: with the ground truth and with the detections."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ttfnet_tf.boxes import resize_boxes, xywh_to_xyxy
from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.draw import draw_boxes
from ttfnet_tf.report.evaluated_images import EvaluatedImage, pair_across_classes

CORRECT, WRONG, CROWD = (40, 130, 255), (255, 110, 0), (150, 150, 150)  # RGB of boxes; safe for most colour-blind readers
SIDE = 420  # pixels of the longer side of a drawing
_QUALITY = 80
_LABELS = 12  # with more boxes, only mistakes get a label, so that texts do not hide the image


@dataclass(frozen=True, eq=False)
class ImageScore:
    """Correct and wrong detections of one image above a score threshold.

    Attributes:
        matched: int [M]: the object that a detection matched, also across classes, or -1.
        shown: bool [M]: detections above the threshold and not in a crowd.
        correct: number of detections that matched an object of their class.
        confused: number of detections that matched an object of another class.
        background: number of detections that matched no object.
        missed: number of objects that no detection matched.
    """

    image: EvaluatedImage
    matched: np.ndarray
    shown: np.ndarray
    correct: int
    confused: int
    background: int
    missed: int

    @property
    def f1(self) -> float:
        """2 correct / (objects + detections); 1 is perfect."""
        total = self.image.num_objects + int(self.shown.sum())
        return 2 * self.correct / total if total else 1.0


@dataclass(frozen=True)
class Drawing:
    """One image as two JPEGs."""

    image_id: int
    file_name: str
    truth: str  # data: address, with the objects
    detections: str  # data: address, with the detections
    size: tuple[int, int]  # (height, width) of each in pixels
    score: ImageScore


def score_images(images: Sequence[EvaluatedImage], *, score_threshold: float) -> list[ImageScore]:
    """Scores the images with objects or detections, in the given order."""
    scores = []
    for image in images:
        matched, is_ignored = pair_across_classes(image, score_threshold=score_threshold)
        shown, has_object = ~is_ignored, matched >= 0
        is_correct = _is_correct(image, matched)
        if image.num_objects or shown.any():
            scores.append(
                ImageScore(
                    image,
                    matched,
                    shown,
                    correct=int(is_correct.sum()),
                    confused=int((has_object & ~is_correct).sum()),
                    background=int((shown & ~has_object).sum()),
                    missed=int((~image.is_found(matched) & ~image.is_crowd).sum()),
                )
            )
    return scores


def best_and_worst(scores: Sequence[ImageScore], limit: int) -> tuple[list[ImageScore], list[ImageScore]]:
    """The `limit` best images (most objects first) and the `limit` worst (most mistakes first); no image is in both."""
    ordered = sorted(scores, key=lambda score: (score.f1, -(score.confused + score.background + score.missed), score.image.num_objects))
    worst = [score for score in ordered[: min(limit, (len(ordered) + 1) // 2)] if score.f1 < 1]
    best = ordered[len(worst) :][::-1][:limit]
    return best, worst


def draw_image(score: ImageScore, file: str | Path, class_names: Sequence[str]) -> Drawing:
    """Draws an image: correct boxes in one colour, mistakes in another.

    Raises:
        UserError: the image is missing or broken.
    """
    pixels = read_rgb(file)
    height, width = pixels.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
    image = score.image
    is_correct = _is_correct(image, score.matched)
    is_found = image.is_found(score.matched[is_correct])
    colours = [CROWD if crowd else CORRECT if found else WRONG for crowd, found in zip(image.is_crowd, is_found)]
    truth = _draw(small, (height, width), image.boxes, [class_names[k] for k in image.labels], colours)

    rows = np.flatnonzero(score.shown)
    labels = [f"{class_names[image.detection_labels[row]]} {image.scores[row]:.2f}" for row in rows]
    colours = [CORRECT if is_correct[row] else WRONG for row in rows]
    detections = _draw(small, (height, width), image.detection_boxes[rows], labels, colours)
    return Drawing(image.image_id, str(file), _jpeg(truth), _jpeg(detections), size, score)


def draw_images(
    scores: Sequence[ImageScore], files: Mapping[int, str | Path], class_names: Sequence[str]
) -> tuple[list[Drawing], list[str]]:
    """(drawings, a line for each image that could not be read); files by image id."""
    drawings, lines = [], []
    for score in scores:
        try:
            drawings.append(draw_image(score, files[score.image.image_id], class_names))
        except UserError as error:
            lines.append(str(error))
    return drawings, lines


def _is_correct(image: EvaluatedImage, matched: np.ndarray) -> np.ndarray:
    """bool [M]: whether a detection matched an object of its class."""
    has_object = matched >= 0
    return has_object & (image.detection_labels == image.labels[matched]) if len(image.labels) else has_object


def _draw(small, size, boxes, labels, colours) -> np.ndarray:
    if len(labels) > _LABELS:
        labels = [label if colour == WRONG else "" for label, colour in zip(labels, colours)]
    corners = resize_boxes(xywh_to_xyxy(boxes), size, small.shape[:2])
    inner = corners + np.array([1, 1, -1, -1], np.float32)  # a second line inside the first, because one is too thin on a page
    inner[:, 2:] = np.maximum(inner[:, :2], inner[:, 2:])
    both = np.concatenate([corners, inner])
    return draw_boxes(small, both, [*labels, *[""] * len(labels)], [*colours, *colours])


def _jpeg(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_QUALITY, optimize=True, subsampling=0)  # keeps the colour of thin lines
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
