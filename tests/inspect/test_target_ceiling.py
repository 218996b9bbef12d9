"""The AP of the targets themselves: decoded boxes by hand, and against the decoding of a network's maps."""

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.inspect.target_ceiling import decode_targets, measure_ceiling
from ttfnet_tf.methods.targets import paint_targets
from ttfnet_tf.methods.ttfnet import decode_distances


def test_targets_give_the_boxes_back():
    boxes = np.array([[3, 7, 30, 20], [40, 5, 60, 59]], np.float32)
    found = decode_targets(boxes, np.array([5, 2]), image_size=(64, 64))
    assert found["classes"].tolist() == [5, 2]  # the peaks (3, 4) and (8, 12) in the order of cells
    np.testing.assert_array_equal(found["boxes"], boxes)
    np.testing.assert_array_equal(found["scores"], [1, 1])


def test_no_distance_is_negative():
    # The centre 18.5 lies in column 4, at 16 px: left of the box, which the network cannot say.
    found = decode_targets(np.array([[18, 8, 19, 24]], np.float32), np.array([0]), image_size=(64, 64))
    assert found["boxes"].tolist() == [[16, 8, 19, 24]]


def test_a_centre_without_a_target_is_given_its_own_box():
    box = [8, 5, 12, 7]  # see `test_a_rectangle_can_miss_its_centre_cell`; its point is (8, 4)
    found = decode_targets(np.array([box], np.float32), np.array([1]), image_size=(32, 32), area="rectangle", beta=0.01)
    assert found["boxes"].tolist() == [[8, 4, 12, 7]]


def test_fewer_detections_than_objects():
    boxes = np.array([[0, 0, 8, 8], [20, 20, 28, 28], [40, 40, 48, 48]], np.float32)
    assert len(decode_targets(boxes, np.zeros(3, np.int64), image_size=(64, 64), top_k=2)["scores"]) == 2
    assert len(decode_targets(np.zeros((0, 4)), np.zeros(0, np.int64), image_size=(64, 64))["scores"]) == 0


@pytest.mark.parametrize("box_per_class", [False, True])
def test_detects_as_the_network_would(box_per_class):
    rng = np.random.default_rng(2)
    near, extent = rng.integers(0, 110, (12, 2)), rng.integers(1, 60, (12, 2))
    boxes = np.minimum(np.concatenate([near, near + extent], axis=1), 127).astype(np.float32)
    labels = rng.integers(0, 3, 12)
    settings = {"beta": 0.7, "box_per_class": box_per_class}
    found = decode_targets(boxes, labels, image_size=(128, 128), **settings)

    maps = paint_targets(boxes, labels, image_size=(128, 128), num_classes=3, **settings)
    probability = np.clip(maps["heatmap"].astype(np.float64), 1e-5, 1 - 1e-5)
    point = 4 * np.stack(np.meshgrid(np.arange(32), np.arange(32)), axis=-1)[..., None, :]  # [h, w, 1, 2]
    target = maps["box_target"].reshape(32, 32, -1, 4)
    distances = np.maximum(np.concatenate([point - target[..., :2], target[..., 2:] - point], axis=-1), 0).reshape(32, 32, -1)
    outputs = {"heatmap": tf.constant(np.log(probability / (1 - probability))[None]), "box": tf.constant(distances[None])}
    expected = {name: value[0].numpy() for name, value in decode_distances(outputs, image_size=(128, 128), top_k=40).items()}
    expected = {name: value[expected["scores"] > 0.01] for name, value in expected.items()}

    def rows(detections):
        kept = np.column_stack([detections["classes"], np.round(detections["scores"], 3), detections["boxes"]])
        return sorted(kept.tolist())

    assert len(found["scores"]) >= 10
    np.testing.assert_allclose(rows(found), rows(expected), atol=1e-3)


def test_the_ceiling_of_separate_boxes_is_one(write_boxes, tmp_path):
    file = write_boxes([(3, 0, 0, 40, 30), (9, 70, 60, 50, 40), (3, 80, 4, 30, 30)], size=(128, 200))
    split = load_coco(file, tmp_path, training=True)
    calls = []
    figures = measure_ceiling(split, image_size=(64, 64), on_image=calls.append)
    assert figures["AP"] == pytest.approx(1)
    assert calls == [1]


def test_the_ceiling_of_two_objects_with_one_peak(write_boxes, tmp_path):
    # One detection for two objects of a class, the smaller one's box: precision 1 up to recall 0.5, so 51 of 101 recall points.
    file = write_boxes([(3, 8, 8, 48, 48), (3, 24, 24, 16, 16)])
    assert measure_ceiling(load_coco(file, tmp_path, training=True), image_size=(64, 64))["AP"] == pytest.approx(51 / 101)
