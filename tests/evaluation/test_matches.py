"""Matches of detections and objects, by hand."""

import numpy as np
import pytest

from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.evaluation.coco_metrics import coco_evaluation
from ttfnet_tf.evaluation.matches import match

CROWD = {"iscrowd": 1}


@pytest.fixture
def matches_of(write_coco):
    """matches_of(objects, [(image, category, box, score)]) in two images of 100 px, ids 7 and 9, and two classes, 3 and 8."""

    def make(objects, detections):
        split = load_coco(*write_coco({7: (100, 100), 9: (100, 100)}, objects, {3: "cat", 8: "dog"}), training=False)
        results = [{"image_id": i, "category_id": c, "bbox": [float(v) for v in box], "score": s} for i, c, box, s in detections]
        return match(coco_evaluation(split, results), split.class_names)

    return make


HERE, THERE, AWAY = [10, 10, 20, 20], [60, 60, 20, 20], [10, 60, 30, 30]


def test_correct_wrong_and_missed(matches_of):
    objects = [(7, 3, HERE), (7, 3, THERE), (7, 8, AWAY), (9, 8, HERE)]
    detections = [(7, 3, HERE, 0.9), (7, 3, HERE, 0.8), (7, 8, THERE, 0.7), (9, 8, HERE, 0.6)]
    matches = matches_of(objects, detections)
    cat, dog = matches.classes["cat"], matches.classes["dog"]
    assert (cat.num_objects, cat.scores.tolist(), cat.correct.tolist()) == (2, [0.9, 0.8], [True, False])  # the second is a duplicate
    assert (dog.num_objects, dog.scores.tolist(), dog.correct.tolist()) == (2, [0.7, 0.6], [False, True])
    first, second = matches.images[7], matches.images[9]
    assert [one["bbox"] for one in first.missed] == [THERE, AWAY]
    assert [one["bbox"] for one in first.found] == [HERE]
    assert [one["score"] for one in first.wrong] == [0.8, 0.7]
    assert [one["score"] for one in first.correct] == [0.9]
    assert (first.mistakes, second.mistakes) == (4, 0)
    assert matches.worst(5) == [7]


@pytest.mark.parametrize(("height", "mistakes"), [(9, 2), (11, 0)])  # of 20 px: IoU .45 and .55
def test_an_iou_below_one_half_does_not_match(matches_of, height, mistakes):
    image = matches_of([(7, 3, HERE)], [(7, 3, [10, 10, 20, height], 0.9)]).images[7]
    assert image.mistakes == mistakes


def test_low_scores_do_not_count_in_images(matches_of):
    matches = matches_of([(7, 3, HERE)], [(7, 3, HERE, 0.3), (7, 3, AWAY, 0.1)])
    image = matches.images[7]
    assert (len(image.missed), len(image.found), len(image.wrong), len(image.correct)) == (1, 0, 0, 0)
    assert matches.classes["cat"].correct.tolist() == [True, False]  # the curve uses every score


def test_a_crowd_is_neither_missed_nor_found(matches_of):
    matches = matches_of([(7, 3, AWAY, CROWD)], [(7, 3, AWAY, 0.9)])
    assert (matches.classes["cat"].num_objects, len(matches.classes["cat"].scores)) == (0, 0)
    assert matches.images[7].mistakes == 0


def test_counts_at_thresholds(matches_of):
    matches = matches_of([(7, 3, HERE), (9, 3, HERE)], [(7, 3, HERE, 0.9), (7, 3, AWAY, 0.5), (9, 3, HERE, 0.25)])
    correct, wrong = matches.classes["cat"].counts(np.array([0.0, 0.25, 0.5, 0.75, 1.0]))
    assert correct.tolist() == [2, 2, 1, 1, 0]
    assert wrong.tolist() == [1, 1, 1, 0, 0]


def test_nothing_to_match(matches_of):
    matches = matches_of([], [])
    assert {name: of_class.num_objects for name, of_class in matches.classes.items()} == {"cat": 0, "dog": 0}
    assert matches.worst(3) == []


def test_the_worst_images_come_first(matches_of):
    matches = matches_of([(7, 3, HERE), (9, 3, HERE), (9, 3, THERE)], [])
    assert matches.worst(1) == [9]
    assert matches.worst(2) == [9, 7]
