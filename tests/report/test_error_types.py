"""Kinds of errors and the gain of fixing them, computed by hand; AP50 against pycocotools."""

import numpy as np
import pytest

from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.evaluation.coco_metrics import coco_evaluation
from ttfnet_tf.report.error_types import KINDS, average_precision, error_types
from ttfnet_tf.report.evaluated_images import evaluated_images

A, B = [0, 0, 10, 10], [50, 50, 10, 10]
NEAR_A = [5, 0, 10, 10]  # overlaps A by 5 / 15
TOUCHING_A = [9, 0, 10, 10]  # by 1 / 19
FAR = [80, 80, 10, 10]


def _errors(evaluated, objects, detections):
    found = error_types(evaluated(objects, detections), 2, score_threshold=0.3)
    assert [one.kind for one in found.types] == list(KINDS)
    return found.ap50, {one.kind: (one.count, pytest.approx(one.gain)) for one in found.types if one.count}


def test_no_mistakes(evaluated):
    assert _errors(evaluated, [("cat", A), ("dog", B)], [("cat", A, 0.9), ("dog", B, 0.4)]) == (1.0, {})


def test_localisation(evaluated):
    """Fixed, it matches A, which is therefore not missed."""
    assert _errors(evaluated, [("cat", A)], [("cat", NEAR_A, 0.9)]) == (0.0, {"localisation": (1, 1.0)})


def test_classification(evaluated):
    """Fixed, it is the cat at its place. There are no dogs, so only cats count."""
    assert _errors(evaluated, [("cat", A)], [("dog", A, 0.9)]) == (0.0, {"classification": (1, 1.0)})


def test_duplicate(evaluated):
    """Precision 1, 1/2, 2/3 at recall .5, .5, 1: (51 + 50 x 2/3) / 101; without the duplicate 1."""
    ap50, found = _errors(evaluated, [("cat", A), ("cat", B)], [("cat", A, 0.9), ("cat", A, 0.8), ("cat", B, 0.7)])
    assert ap50 == pytest.approx((51 + 50 * 2 / 3) / 101)
    assert found == {"duplicate": (1, 50 / 3 / 101)}


def test_background(evaluated):
    """A wrong detection with a better score halves precision. IoU below .1 is background too."""
    assert _errors(evaluated, [("cat", A)], [("cat", FAR, 0.95), ("cat", A, 0.9)]) == (0.5, {"background": (1, 0.5)})
    assert _errors(evaluated, [("cat", A)], [("cat", TOUCHING_A, 0.95), ("cat", A, 0.9)]) == (0.5, {"background": (1, 0.5)})


def test_both(evaluated):
    """A wrong class in the wrong place: removing it doubles the precision of dogs; the cat stays missed."""
    ap50, found = _errors(evaluated, [("cat", A), ("dog", B)], [("dog", NEAR_A, 0.95), ("dog", B, 0.9)])
    assert ap50 == pytest.approx((0 + 0.5) / 2)
    # Without the missed cat only dogs are left, at 1/2.
    assert found == {"both": (1, 0.25), "missed": (1, 0.25)}


def test_missed(evaluated):
    """Precision 1 at the recalls 0, .01, ... .5; at all recalls without the missed object."""
    ap50, found = _errors(evaluated, [("cat", A), ("cat", B)], [("cat", A, 0.9)])
    assert ap50 == pytest.approx(51 / 101)
    assert found == {"missed": (1, 50 / 101)}


def test_the_best_error_matches_the_object_and_others_are_removed(evaluated):
    """Two shifted detections of A: the better one is fixed, the other removed; B stays missed."""
    ap50, found = _errors(evaluated, [("cat", A), ("cat", B)], [("cat", NEAR_A, 0.9), ("cat", [0, 5, 10, 10], 0.8)])
    assert (ap50, found) == (0.0, {"localisation": (2, 51 / 101), "missed": (1, 0.0)})


def test_an_error_about_a_found_object_is_removed(evaluated):
    ap50, found = _errors(evaluated, [("cat", A)], [("cat", NEAR_A, 0.95), ("cat", A, 0.9)])
    assert (ap50, found) == (0.5, {"localisation": (1, 0.5)})


def test_localisation_comes_before_classification(evaluated):
    """On a dog and near a cat: the order of the authors' toolbox decides."""
    _, found = _errors(evaluated, [("cat", A), ("dog", NEAR_A)], [("cat", NEAR_A, 0.9)])
    assert found == {"localisation": (1, 0.5), "missed": (1, 0.0)}  # without dogs the mean is that of cats, still 0


def test_the_threshold_only_decides_what_counts_as_confident(evaluated):
    found = error_types(evaluated([("cat", A)], [("cat", FAR, 0.9), ("cat", FAR, 0.2)]), 2, score_threshold=0.3).types
    background, missed = found[list(KINDS).index("background")], found[list(KINDS).index("missed")]
    assert (background.count, background.confident) == (2, 1)
    assert (missed.count, missed.confident) == (1, None)


def test_a_detection_in_a_crowd_is_no_error(evaluated):
    assert _errors(evaluated, [("cat", A), ("crowd cat", [40, 40, 60, 60])], [("cat", FAR, 0.95), ("cat", A, 0.9)]) == (1.0, {})


def test_nothing_to_measure(evaluated):
    assert _errors(evaluated, [], []) == (None, {})
    assert _errors(evaluated, [], [("cat", A, 0.9)]) == (None, {"background": (1, 0.0)})


def test_average_precision_by_hand():
    """Correct, wrong, correct, of 4 objects: precision 1, 1/2, 2/3 at recall 1/4, 1/4, 1/2: 26 recalls at 1, 25 at 2/3, 50 at 0."""
    found = average_precision(np.array([0.7, 0.9, 0.8]), np.array([True, True, False]), 4)
    assert found == pytest.approx((26 + 25 * 2 / 3) / 101)
    assert average_precision(np.zeros(0), np.zeros(0, bool), 3) == 0.0


def test_ap50_equals_that_of_pycocotools(write_coco):
    """On images of random boxes with crowds."""
    rng = np.random.default_rng(3)

    def box():
        return [float(v) for v in (*rng.uniform(0, 60, 2), *rng.uniform(8, 30, 2))]

    objects = [(image, int(rng.choice([3, 8])), box(), {"iscrowd": int(rng.random() < 0.15)}) for image in range(1, 13) for _ in range(6)]
    annotations, images = write_coco(dict.fromkeys(range(1, 13), (96, 96)), objects, {3: "cat", 8: "dog"})
    detections = []
    for image, category, near, _ in objects:
        for _ in range(3):
            moved = [value + float(rng.normal(0, 2)) for value in near]
            label = category if rng.random() < 0.8 else 11 - category
            detections.append({"image_id": image, "category_id": label, "bbox": moved, "score": float(rng.random())})
    split = load_coco(annotations, images, training=False)
    evaluation = coco_evaluation(split, detections)
    found = error_types(evaluated_images(evaluation), 2, score_threshold=0.3)
    assert 0.1 < found.ap50 < 0.9
    assert found.ap50 == pytest.approx(evaluation.stats[1], abs=1e-9)
    assert sum(one.count > 0 for one in found.types) >= 5
