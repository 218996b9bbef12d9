"""Losses and their gradients against values that the official functions gave in float64."""

import golden
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.methods import losses
from ttfnet_tf.methods.targets import paint_targets
from ttfnet_tf.methods.ttfnet import ttfnet_losses

pytestmark = pytest.mark.parity


def _assert_close(gradient, expected):
    """Relative to the largest entry, and of the whole as a vector."""
    difference = np.asarray(gradient, np.float64) - expected
    assert np.abs(difference).max() <= 1e-5 * np.abs(expected).max()
    assert np.linalg.norm(difference) <= 1e-5 * np.linalg.norm(expected)


def _focal(logits, heatmap):
    logits = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        total, num_centres = losses.heatmap_focal_sum(logits, tf.constant(heatmap))
        loss = total / tf.maximum(num_centres, 1.0)
    return loss, tape.gradient(loss, logits), num_centres


@pytest.mark.parametrize("case", golden.cases("losses", "focal"))
def test_focal(case):
    arrays = golden.arrays_of("losses", case)
    loss, gradient, num_centres = _focal(arrays["logits"], arrays["gt"])
    assert num_centres == case["num_pos"]
    np.testing.assert_allclose(loss, arrays["loss64"], rtol=1e-5)
    np.testing.assert_allclose(gradient, arrays["dlogits64"], rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("case", golden.cases("losses", "focal_prob"))
def test_focal_recorded_for_probabilities(case):
    arrays = golden.arrays_of("losses", case)
    prob = arrays["prob"].astype(np.float64)
    loss, gradient, num_centres = _focal(np.log(prob / (1 - prob)).astype(np.float32), arrays["gt"])
    assert num_centres == case["num_pos"]
    np.testing.assert_allclose(loss, arrays["loss64"], rtol=1e-5)
    np.testing.assert_allclose(gradient, arrays["dprob64"] * prob * (1 - prob), rtol=1e-5, atol=1e-12)


@pytest.mark.parametrize("case", golden.cases("losses", "giou"))
def test_giou(case):
    arrays = golden.arrays_of("losses", case)
    # One image of a single cell for each box: from the point (0, 0), the distances to left and top are the corner negated.
    corners, target, weight = (tf.constant(arrays[name])[:, None, None] for name in ("pred", "target", "weight"))
    with tf.GradientTape() as tape:
        tape.watch(corners)
        total, weight_sum = losses.box_giou_sum(corners * [-1.0, -1.0, 1.0, 1.0], target, weight[..., None])
        counted = case["avg_factor"].startswith("sum(weight>0 count)")
        loss = total / (np.count_nonzero(arrays["weight"] > 0) + 1e-6 if counted else weight_sum + 1e-4)
    np.testing.assert_allclose(loss, arrays["loss64"], rtol=1e-5)
    _assert_close(tape.gradient(loss, corners)[:, 0, 0], arrays["dpred64"])


@pytest.mark.parametrize("case", golden.cases("losses", "total"))
def test_total(case):
    arrays = golden.arrays_of("losses", case)
    keywords = golden.target_keywords(case)
    maps = [paint_targets(arrays[f"boxes{i}"], arrays[f"labels{i}"] - 1, **keywords) for i in range(case["batch"])]
    targets = {key: tf.constant(np.stack([m[key] for m in maps])) for key in maps[0]}
    logits, box = tf.constant(arrays["logits"]), tf.constant(arrays["wh_raw"])
    weights = {"heatmap_weight": case["settings"].get("hm_weight", 1.0), "box_weight": case["settings"].get("wh_weight", 5.0)}
    with tf.GradientTape() as tape:
        tape.watch([logits, box])
        result = ttfnet_losses({"heatmap": logits, "box": tf.nn.relu(box) * 16.0}, targets, **weights)
    normalizers = losses.normalizers(targets)
    assert normalizers["num_centres"] == case["num_pos"]
    np.testing.assert_allclose(normalizers["weight_sum"] + 1e-4, case["avg_factor"], rtol=1e-5)
    np.testing.assert_allclose(result["heatmap_loss"], arrays["hm_loss64"], rtol=1e-5)
    np.testing.assert_allclose(result["box_loss"], arrays["wh_loss64"], rtol=1e-5)
    np.testing.assert_allclose(result["loss"], arrays["total64"], rtol=1e-5)
    heatmap_gradient, box_gradient = tape.gradient(result["loss"], [logits, box])
    _assert_close(heatmap_gradient, arrays["dlogits64"])
    _assert_close(box_gradient, arrays["dwh_raw64"])
