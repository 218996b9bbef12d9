"""Quality-aware targets and class weights: values by formula, equality with the focal loss, gradients, both forms."""

import math

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.methods import centres, losses
from ttfnet_tf.methods.ttfnet import ttfnet_losses

FORMS = pytest.mark.parametrize("static_shapes", [False, True], ids=["gathered", "static"])
LOG2, LOG4, LOG4_3 = math.log(2), math.log(4), math.log(4 / 3)


def _cell(probability, distances, target, weight=1.0, label=0, classes=2):
    """A map of 2 x 3 cells with one centre, in row 1 and column 2: the point (8, 4)."""
    heatmap = np.zeros((1, 2, 3, classes), np.float32)
    logits, box = np.full(heatmap.shape, -1.0, np.float32), np.ones((1, 2, 3, 4), np.float32)
    box_target, box_weight = np.full((1, 2, 3, 4), -1.0, np.float32), np.zeros((1, 2, 3, 1), np.float32)
    heatmap[0, 1, 2, label] = 1
    logits[0, 1, 2, label] = math.log(probability / (1 - probability))
    box[0, 1, 2], box_target[0, 1, 2], box_weight[0, 1, 2] = distances, target, weight
    tensors = [tf.constant(array) for array in (logits, box, heatmap, box_target, box_weight)]
    return dict(zip(("heatmap", "box"), tensors)), dict(zip(("heatmap", "box_target", "box_weight"), tensors[2:]))


EXACT = [3, 2, 6, 7], [5, 2, 14, 11]  # distances around (8, 4), and the corners that they give
HALF = [3, 2, 6, 7], [5, 2, 14, 21]  # 10 x 10 of 10 x 20 px


@FORMS
@pytest.mark.parametrize(
    ("probability", "box", "quality", "expected"),
    [
        (0.5, EXACT, 1.0, 0.25 * LOG2),  # IoU 1: the focal loss
        (0.5, HALF, 1.0, 0.0),  # p is the IoU
        (0.75, HALF, 1.0, 0.0625 * (0.5 * LOG4_3 + 0.5 * LOG4)),
        (0.25, HALF, 1.0, 0.0625 * (0.5 * LOG4 + 0.5 * LOG4_3)),
        (0.5, HALF, 0.5, 0.0625 * LOG2),  # q = .75
        (0.5, ([3, 2, 6, 7], [40, 40, 50, 50]), 1.0, 0.25 * LOG2),  # IoU 0: the loss of the background
    ],
)
def test_a_centre_by_hand(probability, box, quality, expected, static_shapes):
    outputs, targets = _cell(probability, *box)
    plain, _ = losses.heatmap_focal_sum(outputs["heatmap"], targets["heatmap"])
    others = plain - (1 - probability) ** 2 * -math.log(probability)
    changed = plain + centres.centre_difference(outputs, targets, quality=quality, static_shapes=static_shapes)
    np.testing.assert_allclose(changed - others, expected, rtol=1e-5, atol=1e-7)


@FORMS
def test_a_weight_counts_in_the_centres_of_its_class_alone(static_shapes):
    for label, factor in enumerate((3.0, 0.5)):
        outputs, targets = _cell(0.5, *HALF, label=label)
        changes = {"class_weights": [3.0, 0.5], "static_shapes": static_shapes}
        found = centres.centre_difference(outputs, targets, **changes)
        np.testing.assert_allclose(found, (factor - 1) * 0.25 * LOG2, rtol=1e-5)
        both = centres.centre_difference(outputs, targets, quality=0.5, **changes)
        np.testing.assert_allclose(both, factor * 0.0625 * LOG2 - 0.25 * LOG2, rtol=1e-5)


@FORMS
@pytest.mark.parametrize("weight", [0.0, -0.5])
def test_a_centre_that_is_trained_on_no_box_keeps_its_target(weight, static_shapes):
    outputs, targets = _cell(0.3, *HALF, weight=weight)
    assert centres.centre_difference(outputs, targets, quality=1.0, static_shapes=static_shapes) == 0.0


def _maps(groups):
    rng = np.random.default_rng(groups)
    heatmap = rng.uniform(0, 0.9, (2, 4, 4, 3)).astype(np.float32)
    heatmap[0, 1, 2, 0] = heatmap[0, 1, 2, 2] = heatmap[1, 3, 3, 1] = heatmap[1, 0, 0, 0] = 1.0
    box = rng.uniform(2, 12, (2, 4, 4, groups, 4))
    row, column = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    point = 4.0 * np.stack([column, row, column, row], -1)[:, :, None]
    target = point + box * [-1, -1, 1, 1] + rng.uniform(-2, 2, box.shape)  # close to what is predicted
    box, target = (values.reshape(2, 4, 4, 4 * groups) for values in (box, target))
    outputs = {"heatmap": rng.normal(0, 2, heatmap.shape), "box": box}
    targets = {"heatmap": heatmap, "box_target": target, "box_weight": rng.uniform(-0.3, 1, (2, 4, 4, groups))}
    return tuple({key: tf.constant(value, tf.float32) for key, value in maps.items()} for maps in (outputs, targets))


def _slow(outputs, targets, quality, factors):
    """The same by loops in float64."""
    logits, box, heatmap, target, weight = (
        np.float64(maps[key]) for maps, keys in ((outputs, ("heatmap", "box")), (targets, targets)) for key in keys
    )
    total = 0.0
    for image, row, column, label in np.argwhere(heatmap == 1):
        group = label if weight.shape[-1] > 1 else 0
        left, top, right, bottom = box[image, row, column, 4 * group : 4 * group + 4]
        x1, y1, x2, y2 = target[image, row, column, 4 * group : 4 * group + 4]
        width = min(4 * column + right, x2) - max(4 * column - left, x1) + 1
        height = min(4 * row + bottom, y2) - max(4 * row - top, y1) + 1
        common = max(width, 0) * max(height, 0)
        iou = common / ((left + right + 1) * (top + bottom + 1) + (x2 - x1 + 1) * (y2 - y1 + 1) - common)
        q = 1 - quality * (1 - iou) if weight[image, row, column, group] > 0 else 1
        p = 1 / (1 + np.exp(-logits[image, row, column, label]))
        entropy = -(q * np.log(p) + (1 - q) * np.log(1 - p))
        total += factors[label] * (q - p) ** 2 * entropy + (1 - p) ** 2 * np.log(p)
    return total


@FORMS
@pytest.mark.parametrize("groups", [1, 3])
def test_loops_give_the_same(groups, static_shapes):
    outputs, targets = _maps(groups)
    assert abs(_slow(outputs, targets, 0.8, (1, 1, 1)) - _slow(outputs, targets, 0.4, (1, 1, 1))) > 0.01  # the IoU matters
    changes = {"quality": 0.8, "class_weights": [2.0, 1.0, 0.25]}
    found = centres.centre_difference(outputs, targets, static_shapes=static_shapes, **changes)
    np.testing.assert_allclose(found, _slow(outputs, targets, 0.8, (2.0, 1.0, 0.25)), rtol=2e-5)


@FORMS
def test_no_gradient_reaches_the_boxes_and_that_of_the_logits_is_the_slope(static_shapes):
    outputs, targets = _maps(1)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        total = centres.centre_difference(outputs, targets, quality=1.0, static_shapes=static_shapes)
    slopes = tape.gradient(total, outputs, unconnected_gradients="zero")
    assert not slopes["box"].numpy().any()
    np.testing.assert_array_equal(slopes["heatmap"].numpy() != 0, targets["heatmap"].numpy() == 1)
    for place in np.argwhere(targets["heatmap"].numpy() == 1):
        step = np.zeros(targets["heatmap"].shape)
        step[tuple(place)] = 1e-4
        ends = [_slow({**outputs, "heatmap": outputs["heatmap"].numpy() + sign * step}, targets, 1.0, (1, 1, 1)) for sign in (1, -1)]
        np.testing.assert_allclose(slopes["heatmap"].numpy()[tuple(place)], (ends[0] - ends[1]) / 2e-4, rtol=1e-3, atol=1e-6)


def test_the_static_form_can_be_compiled():
    outputs, targets = _maps(1)
    compiled = tf.function(centres.centre_difference, autograph=False, jit_compile=True)
    found = compiled(outputs, targets, quality=0.8, class_weights=(2.0, 1.0, 0.25), static_shapes=True)
    np.testing.assert_allclose(found, _slow(outputs, targets, 0.8, (2.0, 1.0, 0.25)), rtol=2e-5)


def test_the_heatmap_loss_has_them_and_the_box_loss_has_not():
    outputs, targets = _maps(1)
    plain = ttfnet_losses(outputs, targets, heatmap_weight=0.5)
    changed = ttfnet_losses(outputs, targets, heatmap_weight=0.5, quality=0.8, class_weights=[2.0, 1.0, 0.25])
    difference = 0.5 * _slow(outputs, targets, 0.8, (2.0, 1.0, 0.25)) / 4  # four centres
    np.testing.assert_allclose(changed["heatmap_loss"] - plain["heatmap_loss"], difference, rtol=1e-4)
    assert changed["box_loss"] == plain["box_loss"]
    np.testing.assert_allclose(changed["loss"] - plain["loss"], difference, rtol=1e-4)
    same = ttfnet_losses(outputs, targets, heatmap_weight=0.5, class_weights=[1.0, 1.0, 1.0])
    assert {key: float(value) for key, value in same.items()} == {key: float(value) for key, value in plain.items()}


def test_settings_reach_the_loss_and_one_weight_is_for_one_class(write_yaml):
    config = load_config(write_yaml("a.yaml", "data: {image_size: [32, 32]}\nlosses: {quality: 0.8, class_weights: [2, 1, 0.25]}"))
    outputs, targets = _maps(1)
    method = build.method_of(config, 3)
    expected = ttfnet_losses(outputs, targets, quality=0.8, class_weights=[2.0, 1.0, 0.25])
    np.testing.assert_allclose(method.losses(outputs, targets)["loss"], expected["loss"], rtol=1e-6)
    with pytest.raises(UserError, match=r"^losses\.class_weights=\[2\.0, 1\.0, 0\.25\] must have one number for each of the 4 classes, in"):
        build.method_of(config, 4)
