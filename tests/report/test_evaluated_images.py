"""Pairs of objects and detections, by hand. A square of 10 px and its copy shifted by d px have an IoU of (10 - d) / (10 + d)."""

import numpy as np
import pytest

from ttfnet_tf.report.evaluated_images import pair_across_classes

HERE = [0, 0, 10, 10]


def _shifted(distance):
    return [distance, 0, 10, 10]


def test_detections_are_sorted_and_compared_with_all_objects(evaluated):
    (image,) = evaluated([("cat", HERE)], [("cat", _shifted(5), 0.3), ("cat", HERE, 0.9)])
    np.testing.assert_allclose(image.scores, [0.9, 0.3])
    np.testing.assert_allclose(image.iou, [[1.0], [1 / 3]])


def test_detections_match_by_descending_score(evaluated):
    (image,) = evaluated([("cat", HERE)], [("cat", HERE, 0.5), ("cat", _shifted(2), 0.9)])
    assert image.matched.tolist() == [0, -1]  # the better score matches, although its IoU is lower
    assert image.is_found(image.matched).tolist() == [True]


def test_a_detection_matches_the_object_with_the_largest_iou(evaluated):
    (image,) = evaluated([("cat", _shifted(3)), ("cat", HERE)], [("cat", _shifted(1), 0.9)])
    assert image.matched.tolist() == [1]


@pytest.mark.parametrize(("height", "expected"), [(5, 0), (4.9, -1)])
def test_an_iou_of_exactly_one_half_matches(evaluated, height, expected):
    for name in ("cat", "dog"):
        (image,) = evaluated([("cat", HERE)], [(name, [0, 0, 10, height], 0.9)])
        assert pair_across_classes(image, score_threshold=0.3)[0].tolist() == [expected]


def test_classes_match_only_across_classes(evaluated):
    (image,) = evaluated([("cat", HERE)], [("dog", HERE, 0.9)])
    assert image.matched.tolist() == [-1]
    assert pair_across_classes(image, score_threshold=0.3)[0].tolist() == [0]


def test_the_own_class_matches_first(evaluated):
    (image,) = evaluated([("cat", HERE)], [("dog", HERE, 0.9), ("cat", _shifted(2), 0.4)])
    matched, is_ignored = pair_across_classes(image, score_threshold=0.3)
    assert (matched.tolist(), is_ignored.tolist()) == ([-1, 0], [False, False])
    matched, is_ignored = pair_across_classes(image, score_threshold=0.5)
    assert (matched.tolist(), is_ignored.tolist()) == ([0, -1], [False, True])


def test_an_object_matches_once_across_classes(evaluated):
    (image,) = evaluated([("cat", HERE), ("cat", _shifted(2))], [("dog", HERE, 0.9), ("dog", HERE, 0.8), ("dog", HERE, 0.7)])
    assert pair_across_classes(image, score_threshold=0.3)[0].tolist() == [0, 1, -1]


def test_detections_in_a_crowd_are_neither_correct_nor_wrong(evaluated):
    # The IoU with a crowd is the fraction of the detection inside it.
    (image,) = evaluated([("crowd cat", [0, 0, 100, 100])], [("cat", HERE, 0.9), ("cat", [0, 0, 10, 10], 0.8), ("dog", HERE, 0.7)])
    np.testing.assert_allclose(image.iou[:, 0], 1.0)
    for matched, is_ignored in ((image.matched, image.is_ignored), pair_across_classes(image, score_threshold=0.3)):
        assert matched.tolist() == [-1, -1, -1]
        assert is_ignored.tolist() == [True, True, False]
    assert image.num_objects == 0


def test_an_object_is_preferred_to_a_crowd(evaluated):
    (image,) = evaluated([("crowd cat", [0, 0, 100, 100]), ("cat", HERE)], [("cat", _shifted(2), 0.9)])
    assert image.matched.tolist() == [1]


@pytest.mark.parametrize(("objects", "detections"), [([], []), ([], [("cat", HERE, 0.9)]), ([("cat", HERE)], [])])
def test_no_objects_or_no_detections(evaluated, objects, detections):
    (image,) = evaluated(objects, detections)
    matched, _ = pair_across_classes(image, score_threshold=0.1)
    assert image.matched.tolist() == matched.tolist() == [-1] * len(detections)
    assert image.is_found(image.matched).tolist() == [False] * len(objects)


def test_the_best_hundred_detections_of_a_class_count(evaluated):
    detections = [("cat", HERE, 0.9 - 0.001 * number) for number in range(105)]
    (image,) = evaluated([], [*detections, ("dog", HERE, 0.1)])
    assert np.bincount(image.detection_labels).tolist() == [100, 1]
    assert image.scores.min() == 0.1
