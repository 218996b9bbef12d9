"""Compares served detections with those of the run: number, order and classes equal, boxes and scores within a tolerance."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.image_files import Failure


@dataclass(frozen=True)
class Difference:
    """How local and served detections of one image differ."""

    box: float  # largest of any coordinate, as a fraction of the image's side
    score: float  # largest
    reason: str  # what differs beyond the tolerance, in one line; empty if nothing does


def compare(local: Detections, served: Detections, *, score_threshold: float, tolerance: float) -> Difference:
    """Compares the detections of one image position by position.

    Args:
        local: detections of the run with scores above `score_threshold`.
        served: detections of the server with scores above it.
        score_threshold: surplus detections of one side are ignored if their score is within the tolerance of it.
        tolerance: for boxes, as a fraction of the image's side, and for scores.
    """
    both = min(len(local), len(served))
    height, width = local.size
    sides = np.array([width, height, width, height], np.float32)
    box = np.abs(local.boxes[:both] - served.boxes[:both]) / sides
    score = np.abs(local.scores[:both] - served.scores[:both])
    largest = Difference(float(box.max(initial=0.0)), float(score.max(initial=0.0)), "")

    def differs(reason: str) -> Difference:
        return Difference(largest.box, largest.score, reason)

    if local.size != served.size:
        return differs(f"the image has {local.size} pixels locally and {served.size} on the server")
    more = (local if len(local) > both else served).scores[both:]
    if (more > score_threshold + tolerance).any():
        return differs(f"{len(local)} detections locally, {len(served)} served")
    if (wrong := np.flatnonzero(local.class_ids[:both] != served.class_ids[:both])).size:
        place = int(wrong[0])
        return differs(f"detection {place + 1} is of class {local.class_ids[place]} locally and {served.class_ids[place]} served")
    if not largest.box <= tolerance:  # NaN fails too
        return differs(f"boxes differ by up to {largest.box:.2g} of the image")
    if not largest.score <= tolerance:
        return differs(f"scores differ by up to {largest.score:.2g}")
    return largest


@dataclass(frozen=True)
class Verification:
    """The comparison of a number of images."""

    images: int  # compared
    detections: int  # of the run, in them
    differing: list[str]  # one line for each image that differs, beginning with its file
    box: float  # largest difference, as a fraction of the image's side
    score: float  # largest difference

    @property
    def passed(self) -> bool:
        """Whether something was compared and nothing differs."""
        return self.images > 0 and not self.differing

    def line(self, run: str) -> str:
        """One line for people."""
        figures = f"largest difference of boxes {self.box:.2g} of the image, of scores {self.score:.2g}"
        if self.passed:
            return f"verified against {run}: {self.images} images, {self.detections} detections, the same order and classes; {figures}"
        what = f"{len(self.differing)} images differ" if self.differing else "no image could be compared"
        return f"not verified against {run}: {what} ({self.images} compared; {figures})"


def verify(
    answered: Iterable[tuple[Path, Detections]],
    failures: Iterable[Failure],
    detect: Callable[[Path], Detections],
    *,
    score_threshold: float,
    tolerance: float,
) -> Verification:
    """Compares the served detections of every image with those of the run.

    Args:
        answered: files with the served detections.
        failures: files that the server did not answer; a file that `detect` can read counts as differing.
        detect: `Detector`, whose score threshold is `score_threshold`.
        score_threshold: see `compare`.
        tolerance: see `compare`.
    """
    differences, detections, differing = [], 0, []
    for file, served in answered:
        try:
            local = detect(file)
        except UserError as error:
            differing.append(f"{error}; the server reads it")
            continue
        found = compare(local, served, score_threshold=score_threshold, tolerance=tolerance)
        differences.append(found)
        detections += len(local)
        if found.reason:
            differing.append(f"{file}: {found.reason}")
    for failure in failures:
        try:
            detect(Path(failure.source))
        except UserError:
            continue  # unreadable for both
        differing.append(f"{failure.source}: read locally, not answered by the server")
    largest = np.array([(one.box, one.score) for one in differences]).reshape(-1, 2).max(0, initial=0.0)
    return Verification(len(differences), detections, differing, float(largest[0]), float(largest[1]))
