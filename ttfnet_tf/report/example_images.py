"""The images that went best and worst, with truth and detections drawn on two copies."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from ttfnet_tf.boxes import resize_boxes, xywh_to_xyxy
from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.draw import draw_boxes
from ttfnet_tf.report.evaluated_images import Scene, pair

RIGHT, WRONG, CROWD = (40, 130, 255), (255, 110, 0), (150, 150, 150)  # RGB of boxes, told apart by most eyes
SIDE = 420  # px of the longer side of a drawing
_QUALITY = 80
_LABELS = 12  # with more boxes only mistakes get a label, or texts hide the image


@dataclass(frozen=True, eq=False)
class ImageScore:
    """How one image went at the threshold of the scores."""

    scene: Scene
    owner: np.ndarray  # int [M], see `scenes.Matches`
    shown: np.ndarray  # bool [M]: detections above the threshold and not in a crowd
    correct: int
    mixed_up: int  # detections of an object under another class
    false: int  # detections without an object
    missed: int

    @property
    def f1(self) -> float:
        """2 correct / (objects + detections); 1 is perfect."""
        total = self.scene.num_objects + int(self.shown.sum())
        return 2 * self.correct / total if total else 1.0


@dataclass(frozen=True)
class Drawing:
    """Two JPEGs as data: addresses, and what to say about them."""

    image_id: int
    file_name: str
    truth: str
    found: str
    size: tuple[int, int]  # (height, width) in pixels of each
    score: ImageScore


def score_images(scenes: Sequence[Scene], *, score_threshold: float) -> list[ImageScore]:
    """Scores of the images with objects or detections, in the order of `scenes`."""
    found = []
    for scene in scenes:
        pairs = pair(scene, score_threshold=score_threshold)
        shown, has_owner = ~pairs.is_ignored, pairs.owner >= 0
        is_same = has_owner & (scene.found_labels == scene.labels[pairs.owner] if len(scene.labels) else has_owner)
        if scene.num_objects or shown.any():
            missed = int((~pairs.found(len(scene.labels)) & ~scene.is_crowd).sum())
            correct, mixed_up = int(is_same.sum()), int((has_owner & ~is_same).sum())
            found.append(ImageScore(scene, pairs.owner, shown, correct, mixed_up, int((shown & ~has_owner).sum()), missed))
    return found


def best_and_worst(scores: Sequence[ImageScore], limit: int) -> tuple[list[ImageScore], list[ImageScore]]:
    """The `limit` best (those with most objects first) and worst (those with most mistakes first); no image is in both."""
    ordered = sorted(scores, key=lambda score: (score.f1, -(score.mixed_up + score.false + score.missed), score.scene.num_objects))
    worst = [score for score in ordered[: min(limit, (len(ordered) + 1) // 2)] if score.f1 < 1]
    best = ordered[len(worst) :][::-1][:limit]
    return best, worst


def draw_score(score: ImageScore, file: str, class_names: Sequence[str]) -> Drawing:
    """Draws an image: what was found in one colour, mistakes in another.

    Raises:
        UserError: the image is missing or broken.
    """
    image = read_rgb(file)
    height, width = image.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    small = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    scene = score.scene
    found = np.zeros(len(scene.labels), bool)
    same = [row for row in np.flatnonzero(score.owner >= 0) if scene.found_labels[row] == scene.labels[score.owner[row]]]
    found[score.owner[same]] = True
    colours = [CROWD if crowd else RIGHT if right else WRONG for crowd, right in zip(scene.is_crowd, found)]
    truth = _draw(small, (height, width), scene.boxes, [class_names[k] for k in scene.labels], colours)

    rows = np.flatnonzero(score.shown)
    labels = [f"{class_names[scene.found_labels[row]]} {scene.scores[row]:.2f}" for row in rows]
    colours = [RIGHT if row in same else WRONG for row in rows]
    detections = _draw(small, (height, width), scene.found_boxes[rows], labels, colours)
    return Drawing(scene.image_id, str(file), _jpeg(truth), _jpeg(detections), size, score)


def draw_scores(scores: Sequence[ImageScore], files: dict[int, str], class_names: Sequence[str]) -> tuple[list[Drawing], list[str]]:
    """Drawings, and a line for each image that could not be read; files by image id."""
    drawings, lines = [], []
    for score in scores:
        try:
            drawings.append(draw_score(score, files[score.scene.image_id], class_names))
        except UserError as error:
            lines.append(str(error))
    return drawings, lines


def _draw(small, size, boxes, labels, colours) -> np.ndarray:
    if len(labels) > _LABELS:
        labels = [label if colour == WRONG else "" for label, colour in zip(labels, colours)]
    corners = resize_boxes(xywh_to_xyxy(boxes), size, small.shape[:2])
    inner = corners + np.array([1, 1, -1, -1], np.float32)  # a second line inside the first: one alone is too thin on a page
    inner[:, 2:] = np.maximum(inner[:, :2], inner[:, 2:])
    both = np.concatenate([corners, inner])
    return draw_boxes(small, both, [*labels, *[""] * len(labels)], [*colours, *colours])


def _jpeg(image: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_QUALITY, optimize=True, subsampling=0)  # or thin lines lose their colour
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
