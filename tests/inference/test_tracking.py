"""Tracking and counting on boxes known by hand; tracking needs supervision."""

import csv
import dataclasses
import json
import sys

import cv2
import numpy as np
import pytest
from tracking_scenes import NAMES, SCENES, detections_of, idf1, make_detections, true_boxes, with_ids

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.video import tracking
from ttfnet_tf.inference.video.annotate import annotate_video
from ttfnet_tf.inference.video.source import VideoSource, quiet_opencv
from ttfnet_tf.inference.video.tracking import LineCounter, TrackedDetections, Tracker, import_byte_track

SIZE, FPS, SECONDS = (240, 320), 25, 10


def _detections(boxes, scores, classes):
    return make_detections(boxes, scores, classes, SIZE)


# Counting, without the package.


def _count(line, *centres, side=10):
    """Counts of one line when a square takes this way."""
    counter, crossings = LineCounter([line]), []
    for x, y in centres:
        box = [x - side / 2, y - side / 2, x + side / 2, y + side / 2]
        crossings += counter.update(TrackedDetections(_detections([box], [0.9], [1]), (4,)))
    assert len(crossings) == sum(counter.counts[0].values())
    return tuple(counter.counts[0].values())


UP = (100, 200, 100, 0)  # from the bottom to the top: left of it is x < 100


@pytest.mark.parametrize(
    ("line", "centres", "expected"),
    [
        (UP, [(50, 100), (150, 100)], (1, 0)),
        (UP, [(150, 100), (50, 100)], (0, 1)),
        (UP[2:] + UP[:2], [(50, 100), (150, 100)], (0, 1)),  # the other way round
        (UP, [(50, 100), (96, 100), (104, 100), (97, 100), (103, 100), (150, 100)], (1, 0)),  # trembles on the line
        (UP, [(50, 100), (103, 100), (50, 100)], (0, 0)),  # turns round on it
        (UP, [(50, 100), (150, 100), (50, 100), (150, 100)], (2, 1)),
        (UP, [(50, 250), (150, 250)], (0, 0)),  # below its end
        (UP, [(50, 150), (150, 350)], (0, 0)),  # meets its extension at y = 250
        (UP, [(50, 100), (150, 290)], (1, 0)),  # at y = 195
        ((0, 0, 100, 100), [(60, 20), (20, 60)], (1, 0)),  # right is below a line that leads down to the right
        (UP, [(100, 100), (150, 100)], (0, 0)),  # it began on the line
    ],
)
def test_a_line_counts_what_crosses_it(line, centres, expected):
    assert _count(line, *centres) == expected


def test_each_track_and_line_counts_by_itself():
    counter = LineCounter([(100, 200, 100, 0), (200, 200, 200, 0)])
    for x in (50, 150, 250):
        boxes = [[x, 10, x + 5, 15], [x, 50, x + 5, 55], [300, 90, 305, 95]]
        crossings = counter.update(TrackedDetections(_detections(boxes, [0.9, 0.8, 0.7], [0, 1, 2]), (1, None, 3)))
    assert counter.counts == [{"left_to_right": 1, "right_to_left": 0}] * 2
    assert [one.to_json() for one in crossings] == [{"line": 1, "track": 1, "class_name": "circle", "direction": "left_to_right"}]


def test_of_many_tracks_the_last_are_remembered(monkeypatch):
    monkeypatch.setattr(tracking, "_REMEMBERED", 3)
    counter = LineCounter([UP])
    for number in (1, 2, 3, 1, 4, 5):  # 2 and 3 are not seen again
        counter.update(TrackedDetections(_detections([[10, 90, 20, 100]], [0.9], [0]), (number,)))
    for number in (1, 4, 5, 2, 3):
        counter.update(TrackedDetections(_detections([[150, 90, 160, 100]], [0.9], [0]), (number,)))
    assert counter.counts[0]["left_to_right"] == 3


def test_another_version_is_a_missing_package(monkeypatch):
    """ByteTrack has left supervision with 0.31."""
    monkeypatch.setitem(sys.modules, "supervision", type(sys)("supervision"))
    with pytest.raises(UserError, match=r"^--track: needs supervision 0\.30, which is not installed; pip install 'ttfnet-tf\[track\]'$"):
        import_byte_track()


# Tracking.


@pytest.fixture
def supervision():
    return pytest.importorskip("supervision", exc_type=ImportError)


def _tracker(*thresholds):
    return Tracker(dict(enumerate(thresholds or (0.3, 0.3, 0.3))))


def test_a_weak_detection_continues_a_track_and_begins_none(supervision):
    tracker = _tracker()
    seen = []
    for number, score in enumerate([0.35, 0.35, 0.15, 0.2, 0.35]):
        boxes = [[10 + number, 20, 40 + number, 50], [200, 100, 230, 130]]
        tracked = tracker.update(_detections(boxes, [score, 0.2], [0, 0]), number / FPS)
        seen.append([(round(float(one.score), 2), track) for one, track in zip(tracked.detections, tracked.ids)])
    assert seen == [[(0.35, 1)], [(0.35, 1)], [(0.15, 1)], [(0.2, 1)], [(0.35, 1)]]


def test_each_class_has_a_threshold_of_its_own(supervision):
    tracker = _tracker(0.5, 0.2)
    boxes = [[10, 20, 40, 50], [10, 20, 40, 50]]
    for number in range(3):
        tracked = tracker.update(_detections(boxes, [0.4, 0.3], [0, 1]), number / FPS)
        assert [(one.class_id, track) for one, track in zip(tracked.detections, tracked.ids)] == [(1, 1)]


def test_an_id_keeps_its_class_and_survives_half_a_second(supervision):
    tracker, frames = _tracker(), iter(range(1000))
    box = [[10, 20, 40, 50]]

    def ids(*scores):
        return tracker.update(_detections(box * len(scores), scores, list(range(len(scores)))), next(frames) / FPS).ids

    assert [ids(0.9, 0.8) for _ in range(3)] == [(1, 2)] * 3
    assert [ids() for _ in range(FPS // 2)] == [()] * (FPS // 2)
    assert ids(0.9, 0.8) == (1, 2)
    for _ in range(2 * FPS):
        ids()
    assert set([ids(0.9, 0.8) for _ in range(3)][-1]) == {3, 4}


@pytest.mark.parametrize(("gap", "expected"), [(0.9, 1), (1.1, 2)])
@pytest.mark.parametrize("rate", [5, 25, 100])
def test_an_id_is_given_up_after_a_second_at_any_rate(supervision, rate, gap, expected):
    """Of frames without detections, and of frames that are missing."""
    for empty in (True, False):
        tracker, box = _tracker(), [[10, 20, 40, 50]]
        for frame in range(rate):
            tracker.update(_detections(box, [0.9], [0]), frame / rate)
        last = (rate - 1) / rate
        for frame in range(1, round(gap * rate)) if empty else ():
            tracker.update(_detections([], [], []), last + frame / rate)
        for frame in range(3):
            ids = tracker.update(_detections(box, [0.9], [0]), last + gap + frame / rate).ids
        assert ids == (expected,)


def test_frames_may_come_at_any_time(supervision):
    """A square of 40 pixels at 300 a second; one time of the file is wrong."""
    tracker, times = _tracker(), np.cumsum([0, *[1 / 60] * 20, 0.2, 1 / 60, 0.3, 1 / 60, 1 / 60, 0.1])
    for number, seconds in enumerate(times):
        x = 10 + 300 * seconds
        tracked = tracker.update(_detections([[x, 20, x + 39, 59]], [0.9], [0]), 0.0 if number == 10 else seconds)
        assert tracked.ids == (1,)


def test_boxes_of_one_pixel_have_ids(supervision):
    assert [_tracker().update(_detections([[5, 5, 5, 5]], [0.9], [2]), 0).ids for _ in range(2)] == [(1,), (1,)]


@pytest.mark.parametrize("distance", [0, 6, 12])
def test_two_that_cross_keep_their_ids_where_one_is_detected(supervision, distance):
    """Two squares of 30 pixels at 60 pixels a second, on ways `distance` apart; of two nearer than 20 pixels one is detected."""
    tracker, ids = _tracker(), []
    for frame in range(4 * FPS):
        x = 60 * frame / FPS
        boxes = [[x, 100, x + 29, 129], [240 - x, 100 + distance, 269 - x, 129 + distance]]
        if np.hypot(2 * x - 240, distance) < 20:
            boxes = boxes[frame % 2 :][:1]
        ids.append(tracker.update(_detections(boxes, [0.9, 0.8][: len(boxes)], [0] * len(boxes)), frame / FPS).ids)
    assert ids[0] == ids[-1] == (1, 2)
    assert sum(len(one) == 1 for one in ids) > 4


# What moves, at which rate, and a seed; docs/video.md has the figures of all scenes.
@pytest.mark.parametrize(
    ("name", "seed"),
    [
        ("25 fps, 20 to 60 pixels a second", 4),  # two cross while one of them is not detected
        ("10 fps, 60 to 120 pixels a second", 0),
        ("30 fps, 100 to 200 pixels a second", 1),
        ("640 x 480, sides of 30 to 60 pixels", 3),
        ("curved ways", 0),
    ],
)
def test_shapes_that_cross_keep_their_ids(supervision, name, seed):
    scene = dataclasses.replace(SCENES[name], seed=seed)
    truth = true_boxes(scene)
    assert idf1(truth, with_ids(scene, list(detections_of(scene, truth)))) >= 0.95


def _way(shape, frame, scene=1):
    """The box of one of twelve shapes that bounce to and fro and meet again and again."""
    draw = np.random.default_rng(100 * scene + shape)
    side = 22 + 2 * (shape % 4)

    def bounce(room):
        place = (draw.uniform(0, room) + draw.uniform(20, 45) / FPS * frame) % (2 * room)
        return min(place, 2 * room - place)

    x, y = bounce(SIZE[1] - side), bounce(SIZE[0] - side)
    return np.array([x, y, x + side - 1, y + side - 1])


class Stub:
    """In place of the network: the boxes of each frame with noise, some weak or missing, and some where there is nothing."""

    def __init__(self):
        self.draw, self.frame = np.random.default_rng(2), 0

    def __call__(self, images):
        boxes, scores, classes = [], [], []
        for shape in range(12):
            chance = self.draw.uniform()
            if chance >= 0.03:
                boxes.append(_way(shape, self.frame) + self.draw.normal(0, 1.0, 4))
                scores.append(self.draw.uniform(0.12, 0.3) if chance < 0.1 else self.draw.uniform(0.4, 0.95))
                classes.append(shape % 3)
        if self.draw.uniform() < 0.3:
            corner = self.draw.uniform(0, 200, 2)
            boxes.append([*corner, *(corner + 25)])
            scores.append(self.draw.uniform(0.1, 0.5))
            classes.append(int(self.draw.integers(3)))
        self.frame += 1
        return [_detections(boxes, scores, classes)], 0.001


def test_idf1_of_a_swap_and_of_a_miss():
    """Two objects, four frames. Ids that swap half way agree in half of the boxes; of one object that is never found the other remains."""
    pytest.importorskip("scipy")
    boxes = [np.array([0.0, 0, 9, 9]), np.array([50.0, 50, 59, 59])]
    assert idf1([boxes] * 4, [[(1, boxes[0]), (2, boxes[1])]] * 4) == 1
    assert idf1([boxes] * 4, [[(1, boxes[k // 2]), (2, boxes[1 - k // 2])] for k in range(4)]) == 0.5
    assert idf1([boxes] * 4, [[(1, boxes[0])]] * 4) == pytest.approx(2 * 4 / (8 + 4))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """Ten seconds of twelve rectangles on their ways."""
    path = tmp_path_factory.mktemp("film") / "film.avi"
    with quiet_opencv():
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), FPS, SIZE[::-1])
        for frame in range(SECONDS * FPS):
            image = np.zeros((*SIZE, 3), np.uint8)
            for shape in range(12):
                x1, y1, x2, y2 = _way(shape, frame).round().astype(int).tolist()
                cv2.rectangle(image, (x1, y1), (x2, y2), [(255, 80, 80), (80, 255, 80), (80, 80, 255)][shape % 3], -1)
            writer.write(image)
        writer.release()
    return path


def test_twelve_shapes_that_cross_keep_their_ids(supervision, film, tmp_path):
    line = (160, 240, 160, 0)
    tracker, counter = _tracker(), LineCounter([line])
    options = {"colour_of": {0: 0, 1: 1, 2: 2}, "draw": False, "table": True}
    result = annotate_video(Stub(), VideoSource(str(film)), tmp_path, **options, tracker=tracker, counter=counter)
    lines = [json.loads(line) for line in result.record.read_text().splitlines()]
    assert len(lines) == SECONDS * FPS
    truth = [[_way(shape, frame) for shape in range(12)] for frame in range(SECONDS * FPS)]
    found = [[(one["track"], np.array(one["box"])) for one in line["detections"] if one["track"]] for line in lines]
    assert idf1(truth, found) >= 0.95
    rows = list(csv.DictReader((tmp_path / "film.csv").read_text().splitlines()))
    assert [row["track"] for row in rows] == [str(one["track"] or "") for line in lines for one in line["detections"]]
    # Every shape by itself, with its true boxes.
    expected = LineCounter([line])
    for shape in range(12):
        for frame in range(SECONDS * FPS):
            expected.update(TrackedDetections(_detections([_way(shape, frame)], [1.0], [0]), (shape,)))
    total, true_total = sum(counter.counts[0].values()), sum(expected.counts[0].values())
    assert true_total >= 8
    assert abs(total - true_total) <= 2
    assert lines[-1]["counts"] == counter.counts
    assert sum(len(line["crossings"]) for line in lines) == total


def test_ids_and_the_line_are_drawn(supervision, film, tmp_path, monkeypatch):
    from ttfnet_tf.inference.video import writer

    labels = []
    monkeypatch.setattr(writer, "draw_boxes", lambda image, boxes, texts, colours: labels.extend(texts) or image)
    options = {"colour_of": {0: 0, 1: 1, 2: 2}, "max_frames": 3}
    result = annotate_video(
        Stub(), VideoSource(str(film)), tmp_path, **options, tracker=_tracker(), counter=LineCounter([(160, 240, 160, 0)])
    )
    assert any(label.startswith("#1 ") and label.split()[1] in NAMES for label in labels)
    capture = cv2.VideoCapture(str(result.video))
    frame = capture.read()[1]
    capture.release()
    assert frame[100:140, 160].mean() > 200  # the line, white


def test_rows_have_a_track_only_with_tracking(film, tmp_path):
    annotate_video(Stub(), VideoSource(str(film)), tmp_path, colour_of={0: 0, 1: 1, 2: 2}, draw=False, table=True, max_frames=2)
    assert "track" not in (tmp_path / "film.csv").read_text() + (tmp_path / "film.jsonl").read_text()
