"""COCO metrics against values computed by hand, and detections in COCO's result format."""

import dataclasses

import numpy as np
import pytest

from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.evaluation.coco_metrics import METRIC_NAMES, coco_evaluation, coco_metrics, coco_results, crowded_images, metrics_of

CATEGORIES = {3: "cat", 8: "dog"}  # ids with gaps, as in COCO


@pytest.fixture
def split_of(write_coco):
    def make(sizes, objects, categories=CATEGORIES):
        return load_coco(*write_coco(sizes, objects, categories), training=False)

    return make


def _found(image, category, box, score):
    return {"image_id": image, "category_id": category, "bbox": [float(v) for v in box], "score": score}


def test_a_perfect_detection_has_metrics_of_one(split_of):
    split = split_of({7: (80, 80)}, [(7, 3, [10, 10, 20, 20])])
    metrics, per_class = coco_metrics(split, [_found(7, 3, [10, 10, 20, 20], 0.9)])
    # 20 x 20 px is a small object; there is no medium and no large one.
    absent = {"APm": -1, "APl": -1, "ARm": -1, "ARl": -1}
    assert metrics == {name: absent.get(name, pytest.approx(1.0)) for name in METRIC_NAMES}
    assert per_class == {"cat": pytest.approx(1.0), "dog": -1.0}


def test_an_iou_of_77_percent_counts_at_six_of_ten_thresholds(split_of):
    split = split_of({7: (80, 80)}, [(7, 3, [10, 10, 20, 20])])
    metrics, _ = coco_metrics(split, [_found(7, 3, [10, 10, 20, 15.4], 0.9)])  # .50 .55 .60 .65 .70 .75
    assert metrics["AP"] == pytest.approx(0.6)
    assert (metrics["AP50"], metrics["AP75"]) == (pytest.approx(1.0), pytest.approx(1.0))
    assert metrics["AR1"] == pytest.approx(0.6)


def test_a_wrong_detection_with_a_better_score_halves_precision(split_of):
    split = split_of({7: (80, 80)}, [(7, 3, [10, 10, 20, 20])])
    metrics, _ = coco_metrics(split, [_found(7, 3, [50, 50, 20, 20], 0.95), _found(7, 3, [10, 10, 20, 20], 0.9)])
    assert metrics["AP"] == pytest.approx(0.5)
    assert metrics["AR1"] == pytest.approx(0.0)  # only the best-scored one counts
    assert metrics["AR10"] == pytest.approx(1.0)


def test_one_of_two_objects_is_detected(split_of):
    split = split_of({7: (80, 80)}, [(7, 3, [10, 10, 20, 20]), (7, 3, [50, 50, 20, 20])])
    metrics, _ = coco_metrics(split, [_found(7, 3, [10, 10, 20, 20], 0.9)])
    # Precision 1 at the recalls 0, .01, ... .5, else 0.
    assert metrics["AP"] == pytest.approx(51 / 101)
    assert metrics["AR100"] == pytest.approx(0.5)


def test_more_than_100_detections_count_if_asked(split_of):
    """150 objects, all detected: with 100 of them precision is 1 at the recalls 0, .01, ... .66."""
    boxes = [[4 * (k % 15), 4 * (k // 15), 3, 3] for k in range(150)]
    split = split_of({7: (60, 80), 8: (60, 80)}, [*((7, 3, box) for box in boxes), (8, 8, [1, 1, 9, 9])])
    found = [*(_found(7, 3, box, 0.9 - k / 1000) for k, box in enumerate(boxes)), _found(8, 8, [1, 1, 9, 9], 0.8)]
    for most, cats, recall in ((100, 67 / 101, 100 / 150), (150, 1, 1)):
        evaluation = coco_evaluation(split, found, most)
        metrics, per_class = metrics_of(evaluation, split)
        assert per_class == {"cat": pytest.approx(cats), "dog": pytest.approx(1)}
        assert metrics["AP"] == pytest.approx((cats + 1) / 2)
        assert metrics["AP50"] == metrics["AP75"] == metrics["APs"] == pytest.approx(metrics["AP"])
        assert list(metrics) == [name.replace("AR100", f"AR{most}") for name in METRIC_NAMES]
        assert metrics[f"AR{most}"] == pytest.approx((recall + 1) / 2)
        assert metrics["AR10"] == pytest.approx((10 / 150 + 1) / 2)
        assert crowded_images(evaluation) == (most < 150)


def test_an_object_counts_once(split_of):
    split = split_of({7: (80, 80)}, [(7, 3, [10, 10, 20, 20]), (7, 3, [50, 50, 20, 20])])
    metrics, _ = coco_metrics(split, [_found(7, 3, [10, 10, 20, 20], 0.9), _found(7, 3, [10, 10, 20, 20], 0.8)])
    assert metrics["AR100"] == pytest.approx(0.5)


def test_only_the_images_of_the_split_count(split_of):
    split = split_of({7: (80, 80), 4: (80, 80)}, [(7, 3, [10, 10, 20, 20]), (4, 3, [10, 10, 20, 20])])
    split = dataclasses.replace(split, images=split.images[:1])
    assert coco_metrics(split, [_found(7, 3, [10, 10, 20, 20], 0.9)])[0]["AP"] == pytest.approx(1.0)


def test_classes_are_identified_by_category_id(split_of):
    split = split_of({7: (80, 80)}, [(7, 3, [10, 10, 20, 20]), (7, 8, [50, 50, 20, 20])])
    metrics, per_class = coco_metrics(split, [_found(7, 8, [10, 10, 20, 20], 0.9), _found(7, 8, [50, 50, 20, 20], 0.8)])
    assert per_class == {"cat": pytest.approx(0.0), "dog": pytest.approx(0.5)}
    assert metrics["AP"] == pytest.approx(0.25)


def test_classes_of_the_same_name_stay_apart(split_of):
    split = split_of({7: (80, 80)}, [(7, 3, [10, 10, 20, 20]), (7, 8, [50, 50, 20, 20])], {3: "cat", 8: "cat"})
    _, per_class = coco_metrics(split, [_found(7, 8, [50, 50, 20, 20], 0.8)])
    assert per_class == {"cat": pytest.approx(0.0), "cat (id 8)": pytest.approx(1.0)}


def test_detections_in_a_crowd_are_not_wrong(split_of):
    split = split_of({7: (80, 80)}, [(7, 3, [10, 10, 20, 20]), (7, 3, [40, 40, 40, 40], {"iscrowd": 1})])
    metrics, _ = coco_metrics(split, [_found(7, 3, [50, 50, 20, 20], 0.95), _found(7, 3, [10, 10, 20, 20], 0.9)])
    assert metrics["AP"] == pytest.approx(1.0)


def test_the_area_in_the_file_decides_the_size(split_of):
    split = split_of({7: (80, 80)}, [(7, 3, [10, 10, 20, 20], {"area": 2000.0})])  # above 32 x 32
    metrics, _ = coco_metrics(split, [_found(7, 3, [10, 10, 20, 20], 0.9)])
    assert (metrics["APs"], metrics["APm"]) == (-1, pytest.approx(1.0))


def test_no_detections(split_of):
    split = split_of({7: (80, 80)}, [(7, 3, [10, 10, 20, 20])])
    metrics, per_class = coco_metrics(split, [])
    assert (metrics["AP"], metrics["AR100"], metrics["APl"]) == (0.0, 0.0, -1)
    assert per_class == {"cat": 0.0, "dog": -1.0}


@pytest.mark.parametrize("found", [[], [_found(7, 3, [10, 10, 20, 20], 0.9)]])
def test_no_objects(split_of, found):
    metrics, per_class = coco_metrics(split_of({7: (80, 80)}, []), found)
    assert set(metrics.values()) == {-1.0}
    assert per_class == {"cat": -1.0, "dog": -1.0}


def test_pycocotools_prints_nothing(split_of, capsys):
    coco_metrics(split_of({7: (80, 80)}, [(7, 3, [10, 10, 20, 20])]), [])
    assert capsys.readouterr().out == ""


def test_results_have_original_category_ids_and_inclusive_sides():
    results = coco_results(7, np.array([[10.0, 20.0, 29.0, 20.0]]), np.array([0.5]), np.array([1]), [3, 8])
    assert results == [{"image_id": 7, "category_id": 8, "bbox": [10.0, 20.0, 20.0, 1.0], "score": 0.5}]
