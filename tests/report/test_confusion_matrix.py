import numpy as np
import pytest

from ttfnet_tf.report.confusion_matrix import confusion_matrix

A, B, C = [0, 0, 10, 10], [50, 50, 10, 10], [80, 0, 10, 10]


def test_counts_by_hand(evaluated):
    """A cat as cat, a cat as dog, a dog not detected, a cat on background; the dog below the threshold does not count."""
    objects = [("cat", A), ("cat", B), ("dog", C)]
    detections = [("cat", A, 0.9), ("dog", B, 0.8), ("cat", [0, 80, 10, 10], 0.7), ("dog", C, 0.3)]
    confusion = confusion_matrix(evaluated(objects, detections), 2, score_threshold=0.3)
    assert confusion.counts.tolist() == [
        [1, 1, 0],  # cats: as cat, as dog, not detected
        [0, 0, 1],  # the dog
        [1, 0, 0],  # background
    ]
    np.testing.assert_allclose(confusion.precision, [1 / 2, 0.0])
    np.testing.assert_allclose(confusion.recall, [1 / 2, 0.0])
    assert confusion.confusions(5) == [(0, 1, 1)]


def test_nothing_to_count(evaluated):
    confusion = confusion_matrix(evaluated([], []), 2, score_threshold=0.3)
    assert confusion.counts.sum() == 0
    assert np.isnan(confusion.precision).all()
    assert np.isnan(confusion.recall).all()
    assert confusion.confusions(5) == []


def test_crowds_do_not_count(evaluated):
    confusion = confusion_matrix(evaluated([("crowd cat", [0, 0, 60, 60])], [("cat", A, 0.9)]), 2, score_threshold=0.3)
    assert confusion.counts.sum() == 0


def test_every_object_and_detection_is_counted_once(evaluated):
    rng = np.random.default_rng(0)

    def some(count):
        return [(str(rng.choice(["cat", "dog"])), [float(v) for v in (*rng.uniform(0, 40, 2), 20, 20)]) for _ in range(count)]

    objects, detections = some(9), [(*one, float(rng.uniform(0.31, 1))) for one in some(14)]
    counts = confusion_matrix(evaluated(objects, detections), 2, score_threshold=0.3).counts
    assert counts[:2].sum(axis=1).tolist() == [sum(one[0] == name for one in objects) for name in ("cat", "dog")]
    assert counts[:, :2].sum(axis=0).tolist() == [sum(one[0] == name for one in detections) for name in ("cat", "dog")]


@pytest.mark.parametrize(("height", "expected"), [(5, 1), (4.9, 0)])
def test_a_match_needs_an_iou_of_one_half(evaluated, height, expected):
    found = confusion_matrix(evaluated([("cat", A)], [("cat", [0, 0, 10, height], 0.9)]), 2, score_threshold=0.3)
    assert found.counts[0, 0] == expected
