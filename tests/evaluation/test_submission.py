"""Submission files: COCO's names, and the ids of each annotation file."""

from pathlib import Path

import pytest

from ttfnet_tf.data.coco import CocoSplit, SplitPart
from ttfnet_tf.evaluation.submission import submission_name, submissions


@pytest.mark.parametrize(
    ("annotations", "algorithm", "name"),
    [
        ("coco/image_info_test-dev2017.json", "r18", "detections_test-dev2017_r18_results.json"),
        ("instances_val2017.json", "my run_1", "detections_val2017_my-run-1_results.json"),
        ("my_test set.json", "é", "detections_my-test-set_unnamed_results.json"),
        (Path("test/_annotations.coco.json"), "x", "detections_coco_x_results.json"),
    ],
)
def test_names(annotations, algorithm, name):
    assert submission_name(annotations, algorithm) == name


def found(image, category):
    return {"image_id": image, "category_id": category, "bbox": [0, 0, 1, 1], "score": 0.5}


def test_one_file_keeps_its_ids():
    split = CocoSplit([], [3], ["a"], Path("test.json"), {})
    assert submissions(split, [found(7, 3)], "x") == {"detections_test_x_results.json": [found(7, 3)]}


def test_several_files_get_their_own_ids():
    """Image 7 of the second file is 1007; its class 5 is 3 in the split, and 4 and 6 were merged to 8."""
    parts = (SplitPart(Path("a/test.json"), 0, {3: 3}), SplitPart(Path("b/test.json"), 1000, {5: 3, 6: 8, 4: 8}))
    split = CocoSplit([], [3, 8], ["a", "b"], Path("a and b"), {}, parts=parts)
    assert submissions(split, [found(7, 3), found(7, 8), found(1007, 3), found(1007, 8)], "x") == {
        "detections_test_x_results.json": [found(7, 3)],
        "detections_test-2_x_results.json": [found(7, 5), found(7, 4)],
    }
