"""Distillation: targets and losses by hand, nothing to learn where both agree, both forms."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.methods.losses import normalizers
from ttfnet_tf.methods.teacher import teacher_losses, teacher_targets
from ttfnet_tf.methods.ttfnet import ttfnet, ttfnet_losses, ttfnet_normalizers

FORMS = pytest.mark.parametrize("static_shapes", [False, True], ids=["gathered", "static"])
LOG2, LOG4, LOG4_3 = math.log(2), math.log(4), math.log(4 / 3)
FACTORS = {"heatmap_weight": 2.0, "box_weight": 5.0}


def _logit(probability):
    return np.log(probability / (1 - np.asarray(probability, np.float64))).astype(np.float32)


def _outputs(probabilities, boxes):
    """Maps of 1 x 2 cells and 2 classes."""
    return {
        "heatmap": tf.constant(_logit(probabilities).reshape(1, 1, 2, 2)),
        "box": tf.constant(boxes, tf.float32, [1, 1, 2, len(boxes[0])]),
    }


TEACHER = _outputs([[0.75, 0.5], [0.01, 0.09]], [[3, 2, 6, 7], [1, 1, 1, 1]])  # the second cell is below .1


def test_targets_by_hand():
    found = teacher_targets(TEACHER)
    np.testing.assert_allclose(found["teacher_heatmap"][0, 0], [[0.75, 0.5], [0.01, 0.09]], rtol=1e-5)
    np.testing.assert_allclose(found["teacher_box_target"][0, 0], [[-3, -2, 6, 7], [3, -1, 5, 1]])  # of the points (0, 0) and (4, 0)
    np.testing.assert_allclose(found["teacher_box_weight"][0, 0], [[0.75], [0.0]], rtol=1e-5)
    per_class = teacher_targets({**TEACHER, "box": tf.constant([[3, 2, 6, 7, 0, 0, 9, 9], [1] * 8], tf.float32, [1, 1, 2, 8])})
    np.testing.assert_allclose(per_class["teacher_box_target"][0, 0, 0], [-3, -2, 6, 7, 0, 0, 9, 9])
    np.testing.assert_allclose(per_class["teacher_box_weight"][0, 0], [[0.75, 0.5], [0.0, 0.0]], rtol=1e-5)


@FORMS
def test_losses_by_hand(static_shapes):
    # Boxes of the first cell: 10 x 10 px and 10 x 20 px around it, IoU .5 and no hull beyond: 1 - GIoU is .5.
    student = _outputs([[0.5, 0.75], [0.01, 0.09]], [[3, 2, 6, 17], [9, 9, 9, 9]])
    found = teacher_losses(student, teacher_targets(TEACHER), num_centres=tf.constant(4.0), static_shapes=static_shapes, **FACTORS)
    first = 0.0625 * LOG2  # p .5, q .75: -(.75 log .5 + .25 log .5)
    second = 0.0625 * (0.5 * LOG4_3 + 0.5 * LOG4)  # p .75, q .5
    np.testing.assert_allclose(found["teacher_heatmap_loss"], 2 * (first + second) / 4, rtol=1e-5)
    np.testing.assert_allclose(found["teacher_box_loss"], 5 * 0.75 * 0.5 / (0.75 + 1e-4), rtol=1e-5)
    counted = {"num_centres": tf.constant(0.0), "teacher_weight_sum": tf.constant(3.0)}
    found = teacher_losses(student, teacher_targets(TEACHER), static_shapes=static_shapes, **counted, **FACTORS)
    np.testing.assert_allclose(found["teacher_heatmap_loss"], 2 * (first + second), rtol=1e-5)  # divided by 1
    np.testing.assert_allclose(found["teacher_box_loss"], 5 * 0.75 * 0.5 / 3.0001, rtol=1e-5)


@FORMS
def test_a_student_that_agrees_has_nothing_to_learn(static_shapes):
    with tf.GradientTape() as tape:
        tape.watch(TEACHER)
        targets = {name: tf.stop_gradient(values) for name, values in teacher_targets(TEACHER).items()}
        found = teacher_losses(TEACHER, targets, num_centres=tf.constant(1.0), static_shapes=static_shapes, **FACTORS)
        total = tf.add_n(list(found.values()))
    np.testing.assert_allclose(total, 0.0, atol=1e-6)
    np.testing.assert_allclose(tape.gradient(total, TEACHER)["heatmap"], np.zeros([1, 1, 2, 2]), atol=1e-6)


def test_they_are_added_to_the_other_losses():
    student = _outputs([[0.5, 0.75], [0.01, 0.09]], [[3, 2, 6, 17], [9, 9, 9, 9]])
    drawn = {
        "heatmap": tf.constant([1.0, 0, 0, 0], shape=[1, 1, 2, 2]),
        "box_target": tf.zeros([1, 1, 2, 4]),
        "box_weight": tf.ones([1, 1, 2, 1]),
    }
    plain, targets = ttfnet_losses(student, drawn), {**drawn, **teacher_targets(TEACHER)}
    assert list(plain) == ["loss", "heatmap_loss", "box_loss"]
    method = ttfnet(image_size=(32, 32), num_classes=2, teacher="x", teacher_heatmap_weight=2.0, teacher_box_weight=0.5)
    counts = method.normalizers(targets)
    np.testing.assert_allclose(counts["teacher_weight_sum"], 0.75, rtol=1e-5)
    assert {name: float(counts[name]) for name in normalizers(drawn)} == {name: float(value) for name, value in normalizers(drawn).items()}
    assert ttfnet_normalizers(drawn).keys() == normalizers(drawn).keys()
    found = method.losses(student, targets, **counts)
    assert tuple(found) == ("loss", *method.loss_names)
    assert method.loss_names == ("heatmap_loss", "box_loss", "teacher_heatmap_loss", "teacher_box_loss")
    added = teacher_losses(student, targets, heatmap_weight=2.0, box_weight=0.5, num_centres=counts["num_centres"])
    np.testing.assert_allclose(found["loss"], plain["loss"] + added["teacher_heatmap_loss"] + added["teacher_box_loss"], rtol=1e-6)
