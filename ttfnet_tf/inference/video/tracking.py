"""Tracking: the same object has the same id in all frames of a video. ByteTrack, by the package supervision.

Reference: Zhang et al., "ByteTrack: Multi-Object Tracking by Associating Every Detection Box", ECCV 2022.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.video.motion import MotionFilter
from ttfnet_tf.inference.video.source import USUAL_FPS

LEAST_SCORE = 0.1  # of a detection that may continue a track, as in the paper
_LOST_SECONDS = 1.0  # that an object may be hidden before its id is given up
_STRONG, _WEAK = 1.0, 0.2  # scores for ByteTrack, which ignores those up to .1
_REMEMBERED = 100_000  # tracks near lines, for a camera that runs for months
_TICKS = 1000  # of ByteTrack's clock in a second


@dataclass(frozen=True)
class TrackedDetections:
    """Detections of one frame with their ids.

    Attributes:
        detections: those above the threshold of their class, and weaker ones that continue a track.
        ids: of each, from 1; None for one that belongs to no track.
    """

    detections: Detections
    ids: tuple[int | None, ...]

    def to_json(self) -> list[dict]:
        """As `Detections.to_json`, with "track" in each."""
        return [{**one, "track": number} for one, number in zip(self.detections.to_json(), self.ids)]


class Tracker:
    """Gives ids to the detections of one frame after the other, each class by itself, so that an id keeps its class.

    What ByteTrack gets differs from the detections in three ways, and it predicts with `MotionFilter`:

    - Each class lies in a plane of its own: boxes of two classes never meet.
    - Boxes are three times as large, as in C-BIoU: a small and fast object meets its prediction even after it has turned round.
    - Scores are only strong or weak. ByteTrack multiplies the overlap by the score, but a score says nothing about where an object is.

    Args:
        thresholds: category id -> score that a detection needs to begin a track, and to be given without one.

    Raises:
        UserError: supervision is not installed.

    Reference: for the large boxes, Yang et al., "Hard to Track Objects with Irregular Motions and Similar Appearances? Make It Easier by
    Buffering the Matching Space", WACV 2023.
    """

    def __init__(self, thresholds: Mapping[int, float]):
        make = import_byte_track()
        with warnings.catch_warnings():  # it is said to move to another package, see docs/decisions/tracking.md
            warnings.simplefilter("ignore")
            self._tracker = make(track_activation_threshold=(_STRONG + _WEAK) / 2, lost_track_buffer=round(_TICKS * _LOST_SECONDS))
        self._motion = self._tracker.kalman_filter = self._tracker.shared_kalman = MotionFilter(1 / USUAL_FPS)
        self._thresholds = thresholds
        self._planes: dict[int, int] = {}  # category id -> number of its plane, from its first detection on
        self._spacing = 0.0  # pixels between two planes
        self._seconds: float | None = None  # of the last frame

    def update(self, detections: Detections, seconds: float) -> TrackedDetections:
        """The detections of the next frame with their ids.

        Args:
            detections: those above LEAST_SCORE, too.
            seconds: time of the frame. Frames may come at any rate, and some may be missing.
        """
        self._move_clock(seconds)
        limits = np.array([self._thresholds[class_id] for class_id in detections.class_ids.tolist()])
        is_strong = detections.scores > limits
        scores = np.where(is_strong, _STRONG, _WEAK)
        tracks = self._tracker.tracked_tracks + self._tracker.lost_tracks
        found = self._tracker.update_with_detections(_supervision_detections(self._matching_boxes(detections), scores))
        self._restore(tracks)
        ids = dict(zip(map(int, found.data.get("row", ())), map(int, found.tracker_id)))
        keep = [row for row in range(len(detections)) if row in ids or is_strong[row]]
        names = tuple(detections.class_names[row] for row in keep)
        kept = Detections(detections.boxes[keep], detections.scores[keep], detections.class_ids[keep], names, detections.size)
        return TrackedDetections(kept, tuple(ids.get(row) for row in keep))

    def _move_clock(self, seconds: float) -> None:
        """Makes ByteTrack count time in place of frames, and drops the tracks that were not seen for too long."""
        if self._seconds is None:
            self._seconds = seconds
        elif seconds > self._seconds:  # else the clock of the file is broken: as long as before
            self._motion.seconds, self._seconds = seconds - self._seconds, seconds
        tracker = self._tracker
        if tracker.frame_id:  # ByteTrack itself adds one, and drops tracks after it has matched them
            tracker.frame_id += max(round(_TICKS * self._motion.seconds), 1) - 1
        oldest = tracker.frame_id + 1 - _TICKS * _LOST_SECONDS
        for name in ("tracked_tracks", "lost_tracks"):
            setattr(tracker, name, [track for track in getattr(tracker, name) if track.frame_id >= oldest])

    def _restore(self, tracks: Sequence[Any]) -> None:
        """Takes back the tracks that ByteTrack has dropped because one lies upon another, as where two objects cross."""
        lists = {"Tracked": self._tracker.tracked_tracks, "Lost": self._tracker.lost_tracks}  # all others are removed for good
        for track in tracks:
            if not any(track in one for one in lists.values()) and track.state.name in lists:
                lists[track.state.name].append(track)

    def _matching_boxes(self, detections: Detections) -> np.ndarray:
        """The boxes [N, 4] that ByteTrack matches: edges in pixels, enlarged, and each class in its plane."""
        planes = [self._planes.setdefault(class_id, len(self._planes)) for class_id in detections.class_ids.tolist()]
        self._spacing = self._spacing or 4.0 * max(detections.size)  # a stream may change its size later
        boxes = detections.boxes + np.array([0, 0, 1, 1], np.float32)  # inclusive corners to edges, or one pixel would have no width
        sides = boxes[:, 2:] - boxes[:, :2]
        boxes = boxes + np.concatenate([-sides, sides], axis=1)
        return boxes + np.outer(self._spacing * np.array(planes, np.float32), np.array([1, 0, 1, 0], np.float32))


def import_byte_track() -> Any:
    """supervision's ByteTrack.

    Raises:
        UserError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from supervision import ByteTrack
    except ImportError:
        raise UserError("--track: needs supervision 0.30, which is not installed; pip install 'ttfnet-tf[track]'") from None
    return ByteTrack


def _supervision_detections(boxes: np.ndarray, scores: np.ndarray) -> Any:
    from supervision import Detections as SupervisionDetections

    rows = np.arange(len(boxes))
    return SupervisionDetections(xyxy=boxes, confidence=scores, class_id=np.zeros(len(rows), int), data={"row": rows})


@dataclass(frozen=True)
class Crossing:
    """An object that has crossed a line."""

    line: int  # index of the line
    track: int
    class_name: str
    direction: str  # one of DIRECTIONS

    def to_json(self) -> dict:
        """As a dictionary for `json_text`."""
        return {"line": self.line, "track": self.track, "class_name": self.class_name, "direction": self.direction}


DIRECTIONS = ("left_to_right", "right_to_left")  # as seen from the first point of a line to the second


class LineCounter:
    """Counts objects that cross lines.

    An object has crossed when its whole box was on one side and is on the other, and the way of its centre between the two meets the line
    between its ends. So one that trembles on the line, or turns round, does not count.

    Args:
        lines: (x1, y1, x2, y2) in pixels of the frame.

    Attributes:
        counts: for each line, how many objects went left to right and right to left.
    """

    def __init__(self, lines: Sequence[Sequence[float]]):
        self.lines = lines
        self.counts = [dict.fromkeys(DIRECTIONS, 0) for _ in lines]
        self._sides: dict[tuple[int, int], tuple[int, np.ndarray]] = {}  # (line, track) -> its last side and centre there

    def update(self, tracked: TrackedDetections) -> list[Crossing]:
        """Counts the objects that have crossed with this frame."""
        crossings = []
        for box, name, track in zip(tracked.detections.boxes, tracked.detections.class_names, tracked.ids):
            if track is None:
                continue
            for number, line in enumerate(self.lines):
                side = _side(box, line)
                if side == 0:
                    continue
                centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
                before = self._sides.pop((number, track), (side, centre))
                self._sides[number, track] = (side, centre)  # at the end, so that the first is the one not seen for longest
                if len(self._sides) > _REMEMBERED:
                    del self._sides[next(iter(self._sides))]
                if before[0] != side and _meets(before[1], centre, line):
                    direction = DIRECTIONS[0 if side > 0 else 1]
                    self.counts[number][direction] += 1
                    crossings.append(Crossing(number, track, name, direction))
        return crossings


def _side(box: np.ndarray, line: Sequence[float]) -> int:
    """-1 if a box is left of a line and its extension, 1 if it is right of them, 0 if they meet it."""
    x1, y1, x2, y2 = line
    xs, ys = np.array([box[0], box[2], box[0], box[2]]), np.array([box[1], box[1], box[3], box[3]])
    values = (x2 - x1) * (ys - y1) - (y2 - y1) * (xs - x1)  # y points down, so positive is right
    return 1 if (values > 0).all() else -1 if (values < 0).all() else 0


def _meets(start: np.ndarray, end: np.ndarray, line: Sequence[float]) -> bool:
    """Whether the way from one side of a line to the other meets it between its ends."""
    first, along = np.array(line[:2]), np.array(line[2:]) - np.array(line[:2])
    distances = [along[0] * (point[1] - first[1]) - along[1] * (point[0] - first[0]) for point in (start, end)]
    crossed = start + (end - start) * (distances[0] / (distances[0] - distances[1]))
    return bool(0 <= np.dot(crossed - first, along) <= np.dot(along, along))
