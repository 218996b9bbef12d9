"""Drawn truth, detections and IDF1 of twelve shapes that move through a video and cross; run it for the table in docs/video.md.

python tests/tracking_scenes.py        # needs ttfnet-tf[track], no TensorFlow; about a minute
"""

from __future__ import annotations

import dataclasses
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.video.tracking import Tracker

NAMES = ("circle", "square", "triangle")
THRESHOLD = 0.3
SHAPES, SECONDS = 12, 10


@dataclass(frozen=True)
class Scene:
    """What is drawn, and what a detector makes of it. Lengths in pixels."""

    seed: int = 0
    fps: float = 25
    size: tuple[int, int] = (240, 320)  # height, width
    sides: tuple[float, float] = (22, 28)
    speeds: tuple[float, float] = (20, 60)  # a second
    classes: int = 3
    curved: bool = False  # shapes swing; else they bounce off the border
    noise: float = 1.0  # of each corner, standard deviation
    missed: float = 0.03  # fraction of the boxes
    weak: float = 0.07  # fraction of the boxes, with scores from .12 to .3
    false: float = 0.3  # boxes where there is nothing, a frame
    merged: float = 0.25  # of two shapes of a class nearer than this many sides, one is detected


# The rows of the table, each with the seeds 0 to 4.
SCENES = {
    "25 fps, 20 to 60 pixels a second": Scene(),
    "10 fps": Scene(fps=10),
    "60 fps": Scene(fps=60),
    "10 fps, 60 to 120 pixels a second": Scene(fps=10, speeds=(60, 120)),
    "30 fps, 100 to 200 pixels a second": Scene(fps=30, speeds=(100, 200)),
    "640 x 480, sides of 30 to 60 pixels": Scene(size=(480, 640), sides=(30, 60), speeds=(40, 120)),
    "1280 x 720, sides of 40 to 120 pixels, 50 fps": Scene(fps=50, size=(720, 1280), sides=(40, 120), speeds=(80, 250)),
    "curved ways": Scene(curved=True, speeds=(30, 90)),
    "noise of 2 pixels, a false box in every second frame": Scene(noise=2, false=0.5),
    "10 % missed": Scene(missed=0.1),
    "all of one class, 640 x 480": Scene(classes=1, size=(480, 640), sides=(30, 60), speeds=(40, 120)),
}


def true_boxes(scene: Scene) -> np.ndarray:
    """Boxes [frames, shapes, 4], inclusive corners."""
    draw = np.random.default_rng([scene.seed, 1])
    sides = np.repeat(draw.uniform(*scene.sides, (SHAPES, 1)), 2, axis=1)
    room = np.array(scene.size[::-1]) - sides
    speeds, start = draw.uniform(*scene.speeds, (SHAPES, 2)) / np.sqrt(2), draw.uniform(0, 2, (SHAPES, 2))
    seconds = np.arange(round(SECONDS * scene.fps))[:, None, None] / scene.fps
    if scene.curved:
        corners = room / 2 * (1 + np.sin(np.pi * start + 2 * speeds / room * seconds))
    else:
        way = (start * room + speeds * seconds) % (2 * room)
        corners = np.minimum(way, 2 * room - way)
    return np.concatenate([corners, corners + sides - 1], axis=2)


def detections_of(scene: Scene, truth: np.ndarray) -> Iterator[Detections]:
    """The detections of each frame, as a detector with a heatmap gives them."""
    draw = np.random.default_rng([scene.seed, 2])
    classes = np.arange(SHAPES) % scene.classes
    for boxes in truth:
        is_weak = draw.uniform(size=SHAPES) < scene.weak
        scores = np.where(is_weak, draw.uniform(0.12, 0.3, SHAPES), draw.uniform(0.3, 0.99, SHAPES))
        keep = draw.uniform(size=SHAPES) >= scene.missed
        centres, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2] - boxes[:, 0] + 1
        for one in range(SHAPES):
            for other in range(one):
                near = np.hypot(*(centres[one] - centres[other])) < scene.merged * min(sides[one], sides[other])
                if classes[one] == classes[other] and near:
                    keep[one if scores[one] < scores[other] else other] = False
        boxes = (boxes + draw.normal(0, scene.noise, boxes.shape))[keep]
        corner, side = draw.uniform(0, np.array(scene.size[::-1]) - scene.sides[1]), draw.uniform(*scene.sides)
        add = draw.uniform() < scene.false
        boxes = np.concatenate([boxes, [[*corner, *(corner + side)]] * add]) if add else boxes
        scores = np.append(scores[keep], [draw.uniform(0.1, 0.5)] * add)
        yield make_detections(boxes, scores, np.append(classes[keep], [draw.integers(scene.classes)] * add), scene.size)


def make_detections(boxes: Sequence, scores: Sequence, classes: Sequence, size: tuple[int, int]) -> Detections:
    """Detections in the order of their scores."""
    order = np.argsort(-np.asarray(scores, float), kind="stable")
    boxes, scores = np.asarray(boxes, np.float32).reshape(-1, 4)[order], np.asarray(scores, np.float32)[order]
    classes = np.asarray(classes, np.int32)[order]
    return Detections(boxes, scores, classes, tuple(NAMES[index] for index in classes), size)


def iou(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """IoU [N, M] of boxes [N, 4] and [M, 4], inclusive corners."""
    one, other = one[:, None], other[None]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2]) + 1
    inside = np.prod(np.maximum(sides, 0), axis=-1)
    area = [np.prod(boxes[..., 2:] - boxes[..., :2] + 1, axis=-1) for boxes in (one, other)]
    return inside / (area[0] + area[1] - inside)


def idf1(truth: Sequence, found: Sequence) -> float:
    """IDF1 of Ristani et al. 2016, "Performance Measures and a Data Set for Multi-Target, Multi-Camera Tracking".

    One id for each object at most and one object for each id, so that most boxes agree (IoU of .5 or more): 2 IDTP / (boxes + boxes found).

    Args:
        truth: for each frame, a box [4] for each object.
        found: for each frame, (id, box [4]).
    """
    from scipy.optimize import linear_sum_assignment

    columns = {number: column for column, number in enumerate(sorted({number for frame in found for number, _ in frame}))}
    agree = np.zeros((len(truth[0]), len(columns)))
    for boxes, frame in zip(truth, found):
        if frame:
            overlaps = iou(np.asarray(boxes), np.array([box for _, box in frame])) >= 0.5
            for column, (number, _) in enumerate(frame):
                agree[:, columns[number]] += overlaps[:, column]
    return 2 * agree[linear_sum_assignment(-agree)].sum() / (sum(map(len, truth)) + sum(map(len, found)))


def with_ids(scene: Scene, detections: Sequence[Detections]) -> list[list[tuple[int, np.ndarray]]]:
    """(id, box) of what the package's tracker makes of a scene."""
    tracker, found = Tracker(dict.fromkeys(range(scene.classes), THRESHOLD)), []
    for frame, one in enumerate(detections):
        tracked = tracker.update(one, frame / scene.fps)
        found.append([(number, box) for number, box in zip(tracked.ids, tracked.detections.boxes) if number])
    return found


def _with_plain_byte_track(scene: Scene, detections: Sequence[Detections]) -> list[list[tuple[int, np.ndarray]]]:
    """The same with ByteTrack as it is, given the frame rate and the threshold, for each class by itself."""
    from supervision import ByteTrack
    from supervision import Detections as SupervisionDetections

    options = {"track_activation_threshold": THRESHOLD, "lost_track_buffer": 30, "frame_rate": scene.fps}
    trackers, found = [ByteTrack(**options) for _ in range(scene.classes)], []
    for one in detections:
        found.append([])
        for class_id, tracker in enumerate(trackers):
            rows = one.class_ids == class_id
            given = SupervisionDetections(one.boxes[rows] + np.float32([0, 0, 1, 1]), None, one.scores[rows], one.class_ids[rows])
            tracks = tracker.update_with_detections(given)
            found[-1] += [(number * scene.classes + class_id, box) for number, box in zip(tracks.tracker_id, tracks.xyxy)]
    return found


def _with_true_ids(scene: Scene, detections: Sequence[Detections], truth: np.ndarray) -> list[list[tuple[int, np.ndarray]]]:
    """The most that ids can reach: each detection with the shape that it overlaps most."""
    found = []
    for boxes, one in zip(truth, detections):
        overlaps = iou(boxes, one.boxes)
        found.append([(int(row.argmax()), box) for row, box in zip(overlaps.T, one.boxes) if row.max() >= 0.3])
    return found


def main(words: str = "", seeds: str = "5") -> None:
    """Prints the table of docs/video.md, or the rows with some words."""
    warnings.simplefilter("ignore")
    print("| Scene | IDF1, worst | average | ByteTrack as it is, worst | average | true ids, average |\n|---|--:|--:|--:|--:|--:|")
    used, frames = 0.0, 0
    for name, scene in SCENES.items():
        if words not in name:
            continue
        results: list[list[float]] = [[], [], []]
        for seed in range(int(seeds)):
            seeded = dataclasses.replace(scene, seed=seed)
            truth = true_boxes(seeded)
            detections = list(detections_of(seeded, truth))
            start = time.process_time()
            tracked = with_ids(seeded, detections)
            used, frames = used + time.process_time() - start, frames + len(truth)
            others = (_with_plain_byte_track(seeded, detections), _with_true_ids(seeded, detections, truth))
            for values, found in zip(results, (tracked, *others)):
                values.append(idf1(truth, found))
        ours, plain, best = results
        cells = (min(ours), np.mean(ours), min(plain), np.mean(plain), np.mean(best))
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in cells)} |", flush=True)
    print(f"\nTracking: {1000 * used / frames:.1f} ms of processor time a frame")


if __name__ == "__main__":
    main(*sys.argv[1:])
