"""Differences between two lists of detections, computed by hand."""

import pytest

from ttfnet_tf.benchmarks.box_differences import Differences, differences

SIZES = {1: (100, 200), 2: (64, 64)}  # height, width of the images


def _one(image, category, box, score):
    return {"image_id": image, "category_id": category, "bbox": box, "score": score}


def _compare(expected, found, **keywords):
    return differences(expected, found, **{"original_sizes": SIZES, "image_size": (50, 100), "score": 0.3, **keywords})


def test_corners_are_compared_in_pixels_of_the_input():
    # Image 1 is twice as large as the input: left 10 -> 12 is 1 px, right 50 -> 54 is 2 px, bottom 60 -> 61 is half a pixel.
    found = _compare([_one(1, 7, [10, 20, 40, 40], 0.9)], [_one(1, 7, [12, 20, 42, 41], 0.85)])
    assert found.corners == pytest.approx((2.0, 2.0))
    assert found.scores == pytest.approx((0.05, 0.05))
    assert (found.compared, found.matched) == (1, 1)


def test_largest_and_median_difference():
    boxes = [[20 * i, 10, 15, 15] for i in range(3)]
    expected = [_one(1, 7, box, 0.9 - i / 10) for i, box in enumerate(boxes)]
    moved = [_one(1, 7, [x + shift, y, w, h], 0.9 - i / 10) for i, ((x, y, w, h), shift) in enumerate(zip(boxes, (0, 1, 4)))]
    found = _compare(expected, moved)
    assert found.corners == pytest.approx((2.0, 0.5))
    assert found.matched == 3


def test_only_the_same_image_and_class_match():
    expected = [_one(1, 7, [10, 10, 20, 20], 0.9), _one(2, 7, [10, 10, 20, 20], 0.8), _one(2, 8, [10, 10, 20, 20], 0.7)]
    found = _compare(expected, [_one(2, 7, [10, 10, 20, 20], 0.8)])
    assert (found.compared, found.matched) == (3, 1)
    assert found.scores[0] == 0.0


def test_a_detection_is_paired_once_with_the_largest_overlap():
    expected = [_one(1, 7, [10, 10, 20, 20], 0.9), _one(1, 7, [12, 10, 20, 20], 0.8)]
    both = [_one(1, 7, [12, 10, 20, 20], 0.8), _one(1, 7, [10, 10, 20, 20], 0.9)]
    assert _compare(expected, both).corners == (0.0, 0.0)
    assert _compare(expected, both[:1]).matched == 1


def test_a_match_needs_an_overlap_of_one_half():
    expected = [_one(1, 7, [0, 0, 30, 10], 0.9)]
    assert _compare(expected, [_one(1, 7, [0, 3.3, 30, 10], 0.9)]).matched == 1  # 6.7 of 13.3
    assert _compare(expected, [_one(1, 7, [0, 3.4, 30, 10], 0.9)]).matched == 0  # 6.6 of 13.4


def test_weak_detections_are_not_compared_but_can_match():
    expected = [_one(1, 7, [10, 10, 20, 20], 0.3), _one(1, 7, [60, 10, 20, 20], 0.31)]
    found = _compare(expected, [_one(1, 7, [60, 10, 20, 20], 0.1)])
    assert (found.compared, found.matched) == (1, 1)
    assert found.scores[0] == pytest.approx(0.21)


def test_nothing_to_compare():
    assert _compare([], [_one(1, 7, [0, 0, 5, 5], 0.9)]) == Differences(0, 0, (0.0, 0.0), (0.0, 0.0))
