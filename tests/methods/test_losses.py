"""Losses: values by formula, gradients against finite differences, edges, and TensorFlow Addons' GIoU as an independent opinion."""

import math
import warnings

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.methods import losses
from ttfnet_tf.methods.ttfnet import ttfnet_losses


def _logit(probability):
    return np.log(probability / (1.0 - probability))


@pytest.mark.parametrize(
    ("probability", "target", "expected"),
    [
        (0.5, 1.0, 0.25 * math.log(2)),  # a centre: (1 - p)^2 * -log p
        (0.5, 0.0, 0.25 * math.log(2)),  # background: p^2 * -log(1 - p)
        (0.5, 0.5, 0.0625 * 0.25 * math.log(2)),  # near a centre: spared by (1 - y)^4
        (0.75, 0.0, 0.5625 * math.log(4)),
        (0.75, 1.0, 0.0625 * math.log(4 / 3)),
        (1 - 1e-7, 1.0, 1e-8 * -math.log1p(-1e-4)),  # clipped at 1 - 1e-4
        (1e-7, 1.0, (1 - 1e-4) ** 2 * math.log(1e4)),  # clipped at 1e-4
        (1 - 1e-7, 0.0, (1 - 1e-4) ** 2 * math.log(1e4)),
    ],
)
def test_focal_loss_of_one_cell(probability, target, expected):
    total, centres = losses.heatmap_focal_sum(tf.fill([1, 1, 1, 1], np.float32(_logit(probability))), tf.fill([1, 1, 1, 1], target))
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    assert centres == (target == 1.0)


def test_focal_loss_is_finite_for_any_logit():
    logits = tf.constant([-1e30, -100.0, 0.0, 100.0, 1e30])[:, None, None, None]
    for target in (0.0, 1.0):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            total, _ = losses.heatmap_focal_sum(logits, tf.fill(logits.shape, target))
        assert np.isfinite(total)
        gradient = tape.gradient(total, logits).numpy().ravel()
        assert np.isfinite(gradient).all()
        assert np.flatnonzero(gradient).tolist() == [2]  # clipped probabilities have no slope


def test_focal_gradient_against_finite_differences():
    probability = np.array([0.002, 0.1, 0.5, 0.9, 0.998])
    for target in (0.0, 0.3, 1.0):

        def value(logit, target=target):  # plain float64 form
            p = 1 / (1 + np.exp(-logit))
            return -np.log(p) * (1 - p) ** 2 if target == 1.0 else -np.log(1 - p) * p**2 * (1 - target) ** 4

        logits = tf.constant(_logit(probability), tf.float32)[:, None, None, None]
        with tf.GradientTape() as tape:
            tape.watch(logits)
            total, _ = losses.heatmap_focal_sum(logits, tf.fill(logits.shape, target))
            loss = 3.0 * total
        x = logits.numpy().astype(np.float64).ravel()
        expected = (value(x + 1e-5) - value(x - 1e-5)) / 2e-5
        np.testing.assert_allclose(tape.gradient(loss, logits).numpy().ravel(), 3 * expected, rtol=1e-5, atol=1e-9)


def test_focal_loss_names_both_shapes_when_they_differ():
    with pytest.raises(ValueError, match=r"\(1, 2, 2, 3\).*\(1, 2, 2, 4\)"):
        losses.heatmap_focal_sum(tf.zeros([1, 2, 2, 3]), tf.zeros([1, 2, 2, 4]))


def _giou(predicted, target):
    return losses.giou_loss(tf.constant([predicted], tf.float32), tf.constant([target], tf.float32))[0]


@pytest.mark.parametrize(
    ("predicted", "target", "expected"),
    [
        ([0, 0, 9, 9], [0, 0, 9, 9], 0.0),
        # 10 x 10 and 10 x 10 pixels, 5 x 10 shared: IoU 50/150, hull 15 x 10 = 150 is all used.
        ([0, 0, 9, 9], [5, 0, 14, 9], 1 - 50 / 150),
        # shared 5 x 5: union 175, hull 15 x 15 = 225.
        ([0, 0, 9, 9], [5, 5, 14, 14], 1 - 25 / 175 + 50 / 225),
        # 2 x 2 apart by 6 pixels: hull 10 x 2, union 8.
        ([0, 0, 1, 1], [8, 0, 9, 1], 1 + 12 / 20),
        # neighbours without a shared pixel
        ([0, 0, 4, 9], [5, 0, 9, 9], 1.0),
        # one inside the other
        ([0, 0, 9, 9], [2, 2, 6, 5], 1 - 20 / 100),
        # one pixel each
        ([3, 3, 3, 3], [3, 3, 3, 3], 0.0),
    ],
)
def test_giou_by_hand(predicted, target, expected):
    np.testing.assert_allclose(_giou(predicted, target), expected, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(_giou(target, predicted), expected, rtol=1e-6, atol=1e-7)


def _random_boxes(rng, count):
    near = rng.uniform(0, 60, (count, 2))
    return np.concatenate([near, near + rng.uniform(0, 60, (count, 2))], axis=1).astype(np.float32)


def test_giou_agrees_with_tensorflow_addons():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tfa = pytest.importorskip("tensorflow_addons", reason="works with TensorFlow 2.15 only", exc_type=ImportError)
    rng = np.random.default_rng(0)
    predicted, target = _random_boxes(rng, 200), _random_boxes(rng, 200)
    as_yxyx = [boxes[:, [1, 0, 3, 2]] + np.float32([0, 0, 1, 1]) for boxes in (predicted, target)]
    expected = tfa.losses.giou_loss(as_yxyx[1], as_yxyx[0])
    np.testing.assert_allclose(losses.giou_loss(tf.constant(predicted), tf.constant(target)), expected, rtol=1e-5, atol=1e-6)


def _giou64(predicted, target):
    """Plain float64 form of one pair."""
    common = np.maximum(np.minimum(predicted[2:], target[2:]) - np.maximum(predicted[:2], target[:2]) + 1, 0)
    hull = np.maximum(predicted[2:], target[2:]) - np.minimum(predicted[:2], target[:2]) + 1
    union = np.prod(predicted[2:] - predicted[:2] + 1) + np.prod(target[2:] - target[:2] + 1) - np.prod(common)
    return 1 - np.prod(common) / union + (np.prod(hull) - union) / np.prod(hull)


def test_giou_gradient_against_finite_differences():
    rng = np.random.default_rng(1)
    predicted, target = _random_boxes(rng, 50), _random_boxes(rng, 50)
    variable = tf.constant(predicted)
    with tf.GradientTape() as tape:
        tape.watch(variable)
        loss = losses.giou_loss(variable, tf.constant(target))
    expected = np.zeros((50, 4))
    for row, box in enumerate(predicted.astype(np.float64)):
        for k in range(4):
            step = np.eye(4)[k] * 1e-5
            expected[row, k] = (_giou64(box + step, target[row]) - _giou64(box - step, target[row])) / 2e-5
    np.testing.assert_allclose(tape.gradient(loss, variable), expected, rtol=1e-4, atol=1e-7)


def test_half_the_gradient_flows_where_corners_are_equal():
    # The mean of the slopes on both sides; the boxes are 10 x 10 and share every corner.
    box = tf.constant([[0.0, 0.0, 9.0, 9.0]])
    with tf.GradientTape() as tape:
        tape.watch(box)
        loss = losses.giou_loss(box, tf.identity(box))
    # Growing by d at one side: IoU 100 / (100 + 10 d), slope .1; shrinking: (100 - 10 d) / 100, slope -.1. Both sides of x2 cancel.
    np.testing.assert_allclose(tape.gradient(loss, box), np.zeros((1, 4)), atol=1e-7)
    box, target = tf.constant([[0.0, 0.0, 9.0, 9.0]]), tf.constant([[0.0, 0.0, 9.0, 19.0]])
    with tf.GradientTape() as tape:
        tape.watch(box)
        loss = losses.giou_loss(box, target)
    # The loss is 2 - I / U - U / E with I = 100, U = E = 200 (shared, union, hull).
    # x2 is shared. Outwards U grows by 10 a pixel and E by 20: slope 100 * 10 / 200^2 + (200 * 20 - 200 * 10) / 200^2 = .075;
    # inwards I falls by 10: slope -10 / 200 = -.05. Half of each: .0125, mirrored for x1.
    # y1 is shared. Upwards U and E grow by 10: slope -100 * 10 / 200^2 = -.025; downwards I falls by 10: .05. Half of each: .0125.
    # y2 lies inside the target: I grows by 10: slope -10 / 200 = -.05.
    np.testing.assert_allclose(tape.gradient(loss, box), [[-0.0125, 0.0125, 0.0125, -0.05]], rtol=1e-5)


def test_box_loss_by_hand():
    # Cell (row 1, column 2) stands for the point (8, 4): distances 3, 2, 6, 7 give the corners 5, 2, 14, 11, which is 10 x 10 pixels.
    box = np.zeros((1, 3, 4, 4), np.float32)
    target, weight = np.full((1, 3, 4, 4), -1, np.float32), np.zeros((1, 3, 4, 1), np.float32)
    box[0, 1, 2], target[0, 1, 2], weight[0, 1, 2] = [3, 2, 6, 7], [0, 2, 9, 11], 2.5
    total, weight_sum = losses.box_giou_sum(*map(tf.constant, (box, target, weight)))
    np.testing.assert_allclose(total, 2.5 * (1 - 50 / 150), rtol=1e-6)
    np.testing.assert_allclose(weight_sum, 2.5)


@pytest.mark.parametrize("static_shapes", [False, True])
def test_cells_without_a_positive_weight_have_no_part_in_the_box_loss(static_shapes):
    rng = np.random.default_rng(2)
    box = tf.constant(rng.uniform(1, 9, (1, 2, 2, 4)), tf.float32)
    target = tf.constant([[[[0.0, 0, 9, 9], [1, 1, 5, 5]], [[0, 0, 3, 3], [-1, -1, -1, -1]]]])
    weight = tf.constant([1.0, -0.5, 0.0, 0.0], shape=[1, 2, 2, 1])
    with tf.GradientTape() as tape:
        tape.watch(box)
        total, weight_sum = losses.box_giou_sum(box, target, weight, static_shapes=static_shapes)
    gradient = tape.gradient(total, box).numpy()
    assert gradient[0, 0, 0].all()
    assert not gradient.reshape(4, 4)[1:].any()
    np.testing.assert_allclose(weight_sum, 0.5)  # but the reference divides by a sum that contains the negative weight
    np.testing.assert_allclose(total, losses.giou_loss(box[0, 0, 0] * [-1, -1, 1, 1], target[0, 0, 0]), rtol=1e-6)


def test_one_box_for_each_class_is_the_sum_of_the_classes():
    rng = np.random.default_rng(3)
    box, weight = rng.uniform(0, 30, (2, 3, 4, 3, 4)), rng.uniform(-1, 1, (2, 3, 4, 3))
    target = _random_boxes(rng, 2 * 3 * 4 * 3).reshape(2, 3, 4, 3, 4)
    box, target, weight = (tf.constant(array, tf.float32) for array in (box, target, weight))
    total, weight_sum = losses.box_giou_sum(tf.reshape(box, [2, 3, 4, 12]), tf.reshape(target, [2, 3, 4, 12]), weight)
    alone = [losses.box_giou_sum(box[..., g, :], target[..., g, :], weight[..., g : g + 1]) for g in range(3)]
    np.testing.assert_allclose(total, sum(a[0] for a in alone), rtol=1e-5)
    np.testing.assert_allclose(weight_sum, sum(a[1] for a in alone), rtol=1e-5)
    args = tf.reshape(box, [2, 3, 4, 12]), tf.reshape(target, [2, 3, 4, 12]), weight
    np.testing.assert_allclose(losses.box_giou_sum(*args, static_shapes=True), (total, weight_sum), rtol=1e-5)


def test_box_loss_names_the_shapes_when_they_do_not_fit():
    with pytest.raises(ValueError, match=r"\(1, 2, 2, 4\).*\(1, 2, 2, 8\).*\(1, 2, 2, 2\)"):
        losses.box_giou_sum(tf.zeros([1, 2, 2, 4]), tf.zeros([1, 2, 2, 8]), tf.zeros([1, 2, 2, 2]))


def _batch(seed, images):
    rng = np.random.default_rng(seed)
    heatmap = rng.uniform(0, 0.9, (images, 4, 4, 2)).astype(np.float32)
    heatmap[0, 1, 2, 0] = heatmap[0, 3, 3, 1] = heatmap[-1, 0, 0, 0] = 1.0
    outputs = {
        "heatmap": rng.normal(0, 2, heatmap.shape).astype(np.float32),
        "box": rng.uniform(0, 9, (images, 4, 4, 4)).astype(np.float32),
    }
    targets = {
        "heatmap": heatmap,
        "box_target": _random_boxes(rng, images * 16).reshape(images, 4, 4, 4),
        "box_weight": rng.uniform(-0.2, 1, (images, 4, 4, 1)).astype(np.float32),
    }
    return [{key: tf.constant(value) for key, value in maps.items()} for maps in (outputs, targets)]


def test_losses_are_divided_by_their_own_batch_unless_counts_are_given():
    outputs, targets = _batch(5, 3)
    focal, centres = losses.heatmap_focal_sum(outputs["heatmap"], targets["heatmap"])
    giou, weight_sum = losses.box_giou_sum(outputs["box"], targets["box_target"], targets["box_weight"])
    assert centres == 3
    result = ttfnet_losses(outputs, targets, heatmap_weight=0.5, box_weight=4.0)
    np.testing.assert_allclose(result["heatmap_loss"], 0.5 * focal / 3, rtol=1e-6)
    np.testing.assert_allclose(result["box_loss"], 4 * giou / (weight_sum + 1e-4), rtol=1e-6)
    np.testing.assert_allclose(result["loss"], result["heatmap_loss"] + result["box_loss"], rtol=1e-6)
    given = ttfnet_losses(outputs, targets, num_centres=tf.constant(6.0), weight_sum=tf.constant(2.0))
    np.testing.assert_allclose(given["heatmap_loss"], focal / 6, rtol=1e-6)
    np.testing.assert_allclose(given["box_loss"], 5 * giou / 2.0001, rtol=1e-6)


def test_parts_of_a_batch_with_the_normalizers_of_all_add_up_to_the_whole():
    outputs, targets = _batch(6, 4)
    whole = ttfnet_losses(outputs, targets)
    normalizers = losses.normalizers(targets)
    rows = slice(0, 1), slice(1, 4)
    parts = [ttfnet_losses(*({k: v[r] for k, v in maps.items()} for maps in (outputs, targets)), **normalizers) for r in rows]
    for key in ("loss", "heatmap_loss", "box_loss"):
        np.testing.assert_allclose(sum(part[key] for part in parts), whole[key], rtol=1e-5)


def test_batch_without_objects():
    outputs, _ = _batch(7, 2)
    targets = {"heatmap": tf.zeros([2, 4, 4, 2]), "box_target": tf.fill([2, 4, 4, 4], -1.0), "box_weight": tf.zeros([2, 4, 4, 1])}
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        result = ttfnet_losses(outputs, targets)
    expected, _ = losses.heatmap_focal_sum(outputs["heatmap"], targets["heatmap"])
    np.testing.assert_allclose(result["heatmap_loss"], expected)  # divided by 1
    assert result["box_loss"] == 0.0
    gradient = tape.gradient(result["loss"], outputs)
    assert not gradient["box"].numpy().any()
    assert np.isfinite(gradient["heatmap"]).all()
