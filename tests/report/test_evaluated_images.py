"""Matching against cases told by hand. A square of 10 px that is moved by d px overlaps the one it left by (10 - d) / (10 + d)."""

import numpy as np
import pytest

from ttfnet_tf.report.evaluated_images import MAX_DETECTIONS, match, pair

HERE = [0, 0, 10, 10]


def _moved(distance):
    return [distance, 0, 10, 10]


def test_overlaps_and_order(scenes):
    (scene,) = scenes([("cat", HERE)], [("cat", _moved(5), 0.3), ("cat", HERE, 0.9)])
    np.testing.assert_allclose(scene.scores, [0.9, 0.3])
    np.testing.assert_allclose(scene.overlap, [[1.0], [1 / 3]])


def test_detections_take_objects_by_falling_score(scenes):
    (scene,) = scenes([("cat", HERE)], [("cat", HERE, 0.5), ("cat", _moved(2), 0.9)])
    matches = match(scene)
    assert matches.owner.tolist() == [0, -1]  # the better one overlaps less, and is first all the same
    assert matches.found(1).tolist() == [True]


def test_a_detection_takes_the_object_that_it_overlaps_most(scenes):
    (scene,) = scenes([("cat", _moved(3)), ("cat", HERE)], [("cat", _moved(1), 0.9)])
    assert match(scene).owner.tolist() == [1]


def test_overlap_of_exactly_the_threshold_counts(scenes):
    (scene,) = scenes([("cat", [0, 0, 10, 10])], [("cat", [0, 0, 10, 5], 0.9)])
    assert match(scene, 0.5).owner.tolist() == [0]
    assert match(scene, 0.51).owner.tolist() == [-1]


def test_only_objects_of_the_class_match(scenes):
    (scene,) = scenes([("cat", HERE)], [("dog", HERE, 0.9)])
    assert match(scene).owner.tolist() == [-1]
    assert pair(scene, score_threshold=0.3).owner.tolist() == [0]


def test_pairs_go_to_the_same_class_first(scenes):
    (scene,) = scenes([("cat", HERE)], [("dog", HERE, 0.9), ("cat", _moved(2), 0.4)])
    assert pair(scene, score_threshold=0.3).owner.tolist() == [-1, 0]
    assert pair(scene, score_threshold=0.5).owner.tolist() == [0, -1]
    assert pair(scene, score_threshold=0.5).is_ignored.tolist() == [False, True]


def test_detections_in_a_crowd_are_neither_right_nor_wrong(scenes):
    # The crowd's overlap is the share of the detection inside it.
    (scene,) = scenes([("crowd cat", [0, 0, 100, 100])], [("cat", HERE, 0.9), ("cat", [0, 0, 10, 10], 0.8), ("dog", HERE, 0.7)])
    np.testing.assert_allclose(scene.overlap[:, 0], 1.0)
    for matches in (match(scene), pair(scene, score_threshold=0.3)):
        assert matches.owner.tolist() == [-1, -1, -1]
        assert matches.is_ignored.tolist() == [True, True, False]
    assert scene.num_objects == 0


def test_an_object_is_preferred_to_a_crowd(scenes):
    (scene,) = scenes([("crowd cat", [0, 0, 100, 100]), ("cat", HERE)], [("cat", _moved(2), 0.9)])
    assert match(scene).owner.tolist() == [1]


@pytest.mark.parametrize(("objects", "detections"), [([], []), ([], [("cat", HERE, 0.9)]), ([("cat", HERE)], [])])
def test_nothing_on_one_side(scenes, objects, detections):
    (scene,) = scenes(objects, detections)
    assert match(scene).owner.tolist() == pair(scene, score_threshold=0.1).owner.tolist() == [-1] * len(detections)
    assert match(scene).found(len(objects)).tolist() == [False] * len(objects)


def test_a_hundred_detections_of_a_class_count(scenes):
    found = [("cat", HERE, 0.9 - 0.001 * number) for number in range(MAX_DETECTIONS + 5)]
    (scene,) = scenes([], [*found, ("dog", HERE, 0.1)])
    assert np.bincount(scene.found_labels).tolist() == [MAX_DETECTIONS, 1]
    assert scene.scores.min() == 0.1
