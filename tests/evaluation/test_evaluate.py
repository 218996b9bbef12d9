"""Evaluation from image files to AP and the results file, with a network whose detections are known."""

import functools
import json

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.data.pipeline import ImageNotes
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.coco_metrics import METRIC_NAMES, coco_metrics
from ttfnet_tf.evaluation.evaluate import EvaluationResult, check_classes, evaluate
from ttfnet_tf.inference.predictor import predict_function
from ttfnet_tf.methods.ttfnet import decode_distances

CATEGORIES = {3: "cat", 8: "dog"}  # ids with gaps, as in COCO


@pytest.fixture
def split_of(write_coco):
    def make(sizes, objects, categories=CATEGORIES):
        return load_coco(*write_coco(sizes, objects, categories), training=False)

    return make


def _found(image, category, box, score):
    return {"image_id": image, "category_id": category, "bbox": [float(v) for v in box], "score": score}


def _always(boxes, scores, classes):
    """Detects the same in every image."""

    def predict(images):
        rows = len(images)
        one = {"boxes": np.float32(boxes), "scores": np.float32(scores), "classes": np.int32(classes)}
        return {name: tf.constant(np.repeat(value[None], rows, axis=0)) for name, value in one.items()}

    return predict


def test_boxes_are_in_original_pixels_and_scores_above_the_threshold(split_of):
    split = split_of({7: (40, 60), 4: (128, 16), 9: (64, 32)}, [])
    result = evaluate(
        _always([[4, 8, 19, 39], [0, 0, 3, 3], [0, 0, 7, 7]], [0.75, 0.5, 0.25], [1, 0, 0]),
        split,
        image_size=(64, 32),
        batch_size=2,  # the last batch is padded
        score_threshold=0.25,
    )
    assert [one["image_id"] for one in result.detections] == [7, 7, 4, 4, 9, 9]
    assert [one["category_id"] for one in result.detections] == [8, 3] * 3
    # 40 x 60 -> 64 x 32: x / (32/60), y / (64/40); x1, y1, then x2 - x1 + 1, y2 - y1 + 1.
    expected = {
        7: [7.5, 5.0, 35.625 - 7.5 + 1, 24.375 - 5.0 + 1],
        4: [2.0, 16.0, 9.5 - 2.0 + 1, 78.0 - 16.0 + 1],
        9: [4.0, 8.0, 16.0, 32.0],
    }
    for one in result.detections[::2]:
        np.testing.assert_allclose(one["bbox"], expected[one["image_id"]], rtol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_from_image_files_to_average_precision(batch_size, tmp_path, square_finder, squares):
    from PIL import Image

    # Images of 128 x 64 and 64 x 192 pixels become the 64 x 64 input, in which cell (i, j) lies at (4 j, 4 i).
    Image.fromarray(squares((64, 64), {(4, 5): "red"}, (2, 1))).save(tmp_path / "a.png")
    Image.fromarray(squares((64, 64), {(8, 3): "green", (12, 12): "red"}, (1, 3))).save(tmp_path / "b.png")
    Image.fromarray(squares((64, 64), {})).save(tmp_path / "c.png")
    boxes = {  # (4 j - 8, 4 i - 8, 4 j + 8, 4 i + 8) / scale, as x, y, w + 1, h + 1
        "a": (1, 3, [12, 16, 17, 33]),
        "b": (2, 8, [12, 24, 49, 17]),
        "b2": (2, 3, [120, 40, 49, 17]),
    }
    content = {
        "images": [
            {"id": 1, "file_name": "a.png", "height": 128, "width": 64},
            {"id": 2, "file_name": "b.png", "height": 64, "width": 192},
            {"id": 5, "file_name": "c.png", "height": 64, "width": 64},
        ],
        "categories": [{"id": i, "name": name} for i, name in CATEGORIES.items()],
        "annotations": [{"id": n, "image_id": i, "category_id": c, "bbox": b} for n, (i, c, b) in enumerate(boxes.values(), start=1)],
    }
    (tmp_path / "truth.json").write_text(json.dumps(content))
    split = load_coco(tmp_path / "truth.json", tmp_path, training=False)
    seen = []
    decoded = functools.partial(decode_distances, image_size=(64, 64))
    predict = predict_function(square_finder, decoded, image_size=(64, 64), batch_size=batch_size)
    result = evaluate(predict, split, image_size=(64, 64), batch_size=batch_size, score_threshold=0.5, on_batch=seen.append)
    assert result.metrics["AP"] == pytest.approx(1.0)
    assert result.per_class == {"cat": pytest.approx(1.0), "dog": pytest.approx(1.0)}
    assert {tuple(np.round(one["bbox"], 4)) for one in result.detections} == {tuple(box) for _, _, box in boxes.values()}
    assert all(one["score"] == pytest.approx(1 / (1 + np.exp(-10.0))) for one in result.detections)
    assert (result.num_images, seen[-1]) == (3, 3)


def test_a_missing_image_is_named(split_of):
    split = split_of({7: (40, 60), 4: (40, 60)}, [])
    split.images[1].path.unlink()
    with pytest.raises(UserError, match=r"4\.png") as error:
        evaluate(_always([[0, 0, 1, 1]], [0.9], [0]), split, image_size=(64, 32), batch_size=2)
    assert "\n" not in str(error.value)


def test_a_skipped_image_counts_as_an_image_without_detections(split_of):
    split = split_of({7: (64, 32), 4: (64, 32)}, [(7, 3, [4, 8, 16, 32]), (4, 3, [4, 8, 16, 32])])
    split.images[1].path.write_bytes(b"broken")
    predict, notes = _always([[4, 8, 19, 39]], [0.75], [0]), ImageNotes()
    result = evaluate(predict, split, image_size=(64, 32), batch_size=2, broken_images="skip", notes=notes)
    assert [one["image_id"] for one in result.detections] == [7]
    assert result.metrics["AP"] == pytest.approx(51 / 101)  # one of two objects
    assert list(notes.broken) == [4]


def test_pycocotools_reads_the_written_files(split_of, tmp_path):
    from pycocotools.coco import COCO

    split = split_of({7: (80, 80)}, [(7, 3, [10, 10, 20, 20])])
    found = [_found(7, 3, [10, 10, 20, 20], 0.9)]
    file = EvaluationResult(found, *coco_metrics(split, found), 1).write(tmp_path / "eval" / "10")
    assert json.loads(file.read_text()) == found
    assert len(COCO(str(split.annotations)).loadRes(str(file)).anns) == 1
    assert json.loads((file.parent / "metrics.json").read_text())["metrics"]["AP50"] == pytest.approx(1.0)


def test_a_folder_that_cannot_be_created(split_of, tmp_path):
    (tmp_path / "file").write_text("")
    result = EvaluationResult([], {}, {}, 0)
    with pytest.raises(UserError, match=r"cannot be written \(.*\); name another folder"):
        result.write(tmp_path / "file" / "eval")


def test_the_table_has_a_dash_where_there_is_nothing_to_measure():
    metrics = dict.fromkeys(METRIC_NAMES, -1.0) | {"AP": 0.5}
    lines = EvaluationResult([], metrics, {"cat": 0.25, "zebra": -1.0}, 0).table().splitlines()
    assert lines[0].startswith("AP 0.500  AP50 -")
    assert lines[2:] == ["  cat    AP 0.250", "  zebra  AP -"]


@pytest.mark.parametrize(
    ("names", "ids", "expected"),
    [
        (["cat"], [3], "has 2 classes, but the model was trained on 1"),
        (["cat", "dog"], [3, 9], "category id 8 is 'dog' there and unknown to the model"),
        (["cat", "cow"], [3, 8], "category id 8 is 'dog' there and 'cow' in the model"),
    ],
)
def test_a_model_with_other_classes_is_refused(split_of, names, ids, expected):
    with pytest.raises(UserError, match=expected):
        check_classes(split_of({7: (80, 80)}, []), names, ids)


def test_a_model_with_the_same_classes_is_accepted(split_of):
    check_classes(split_of({7: (80, 80)}, []), ["cat", "dog"], [3, 8])
