"""Detections: a map worked out by hand, a slow twin, round trips and edges."""

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.methods.decode import select
from ttfnet_tf.methods.targets import paint_targets
from ttfnet_tf.methods.ttfnet import decode_distances


def _decode(logits, box, **keywords):
    keywords = {"image_size": (4 * logits.shape[1], 4 * logits.shape[2]), **keywords}
    result = decode_distances({"heatmap": tf.constant(logits, tf.float32), "box": tf.constant(box, tf.float32)}, **keywords)
    return {key: value.numpy() for key, value in result.items()}


def test_map_by_hand():
    # class 0:  0  2  1 -9     class 1: -9 -9 -9 -9
    #          -9  1  0 -9              -9 -9 -9 -9
    #          -9 -9 -9  3              -1 -9 -9 -9
    logits = np.full((1, 3, 4, 2), -9.0)
    logits[0, 0, :3, 0], logits[0, 1, 1:3, 0], logits[0, 2, 3, 0] = [0, 2, 1], [1, 0], 3
    logits[0, 2, 0, 1] = -1
    box = np.zeros((1, 3, 4, 4))
    box[0, 2, 3], box[0, 0, 1], box[0, 2, 0] = [2, 3, 1, 2], [1, 1, 5, 6], [0, 2, 3, 0]
    found = _decode(logits, box, top_k=3)
    # Points are (12, 8), (4, 0) and (0, 8); corners stop at 0, 15 and 11.
    np.testing.assert_array_equal(found["boxes"][0], [[10, 5, 13, 10], [3, 0, 9, 6], [0, 6, 3, 8]])
    np.testing.assert_array_equal(found["classes"], [[0, 0, 1]])
    np.testing.assert_allclose(found["scores"], [1 / (1 + np.exp([-3.0, -2.0, 1.0]))], rtol=1e-6)
    assert found["classes"].dtype == np.int32


def test_boxes_stop_at_the_last_pixel():
    found = _decode(np.zeros((1, 1, 1, 1)), np.full((1, 1, 1, 4), 1e4), image_size=(7, 6))
    np.testing.assert_array_equal(found["boxes"], [[[0, 0, 5, 6]]])


def test_all_cells_of_a_plateau_are_peaks():
    found = _decode(np.full((1, 3, 3, 2), -1.5), np.zeros((1, 3, 3, 4)), top_k=18)
    np.testing.assert_allclose(found["scores"], np.full((1, 18), 1 / (1 + np.exp(1.5))), rtol=1e-6)
    cells = {(box[0], box[1], label) for box, label in zip(found["boxes"][0], found["classes"][0])}
    assert cells == {(4.0 * j, 4.0 * i, c) for i in range(3) for j in range(3) for c in range(2)}


def test_fewer_peaks_than_asked_for():
    logits = np.zeros((1, 3, 3, 1))
    logits[0, 1, 1] = 4
    found = _decode(logits, np.zeros((1, 3, 3, 4)), top_k=100)
    assert found["scores"].shape == (1, 9)
    np.testing.assert_array_equal(found["scores"][0, 1:], 0.0)
    assert found["scores"][0, 0] > 0.9


def _twin(logits, box, top_k):
    """Every cell asks its neighbours; a stable sort of all peaks."""
    height, width, num_classes = logits.shape
    peaks = []
    for i in range(height):
        for j in range(width):
            for c in range(num_classes):
                if logits[i, j, c] == logits[max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2, c].max():
                    left, top, right, bottom = box[i, j, 4 * c : 4 * c + 4] if box.shape[2] > 4 else box[i, j]
                    corners = np.array([4 * j - left, 4 * i - top, 4 * j + right, 4 * i + bottom])
                    limit = np.array([4 * width - 1, 4 * height - 1] * 2)
                    peaks.append((logits[i, j, c], c, *np.clip(corners, 0, limit)))
    return np.array(sorted(peaks, reverse=True)[:top_k])


@pytest.mark.parametrize("per_class", [False, True])
@pytest.mark.parametrize("top_k", [1, 20, 40])
def test_equals_the_slow_twin(per_class, top_k):
    rng = np.random.default_rng(4)
    logits = rng.normal(-2, 2, (2, 7, 10, 5)).astype(np.float32)
    box = rng.uniform(0, 12, (2, 7, 10, 20 if per_class else 4)).astype(np.float32)
    found = _decode(logits, box, top_k=top_k)
    for index in range(2):
        expected = _twin(logits[index], box[index], top_k)
        assert len(expected) == top_k
        np.testing.assert_allclose(found["scores"][index], 1 / (1 + np.exp(-expected[:, 0])), rtol=1e-5)
        np.testing.assert_array_equal(found["classes"][index], expected[:, 1])
        np.testing.assert_allclose(found["boxes"][index], expected[:, 2:], rtol=1e-5, atol=1e-5)


def test_many_classes_in_one_cell_survive_the_first_stage():
    logits = np.full((1, 6, 6, 4), -8.0)
    logits[0, 2, 3] = [4, 3, 2, 1]
    logits[0, 5, 0, 2] = 3.5
    found = _decode(logits, np.zeros((1, 6, 6, 4)), top_k=5)
    np.testing.assert_array_equal(found["classes"], [[0, 2, 1, 2, 3]])


def test_painted_targets_decode_to_their_boxes():
    boxes = np.array([[3, 5, 40, 30], [50, 10, 90, 93], [8, 60, 31, 82], [70, 2, 80, 9]], np.float32)
    labels = np.array([2, 0, 1, 0])
    for per_class in (False, True):
        maps = paint_targets(boxes, labels, image_size=(96, 96), num_classes=3, box_per_class=per_class)
        heatmap = np.clip(maps["heatmap"].astype(np.float64), 1e-6, 1 - 1e-6)
        columns, rows = np.meshgrid(4.0 * np.arange(24), 4.0 * np.arange(24))
        point = np.stack([columns, rows], axis=-1)[:, :, None]
        corners = maps["box_target"].reshape(24, 24, -1, 4)
        distances = np.concatenate([point - corners[..., :2], corners[..., 2:] - point], axis=-1).reshape(24, 24, -1)
        found = _decode(np.log(heatmap / (1 - heatmap))[None], distances[None], top_k=4)
        order = np.lexsort(found["boxes"][0].T)
        np.testing.assert_array_equal(found["boxes"][0][order], boxes[np.lexsort(boxes.T)])
        np.testing.assert_array_equal(found["classes"][0][order], labels[np.lexsort(boxes.T)])
        assert (found["scores"] > 0.99).all()


def test_rows_do_not_depend_on_the_batch():
    rng = np.random.default_rng(6)
    logits, box = rng.normal(0, 2, (3, 8, 8, 4)), rng.uniform(0, 9, (3, 8, 8, 4))
    together, alone = _decode(logits, box, top_k=10), _decode(logits[1:2], box[1:2], top_k=10)
    for key in together:
        np.testing.assert_array_equal(together[key][1:2], alone[key])


def test_batch_may_be_unknown_while_tracing():
    signature = {"heatmap": tf.TensorSpec([None, 6, 8, 3]), "box": tf.TensorSpec([None, 6, 8, 4])}
    function = tf.function(lambda outputs: decode_distances(outputs, image_size=(24, 32), top_k=7), autograph=False)
    shapes = function.get_concrete_function(signature).output_shapes
    assert {key: tuple(shape) for key, shape in shapes.items()} == {"boxes": (None, 7, 4), "scores": (None, 7), "classes": (None, 7)}


def test_select_keeps_scores_above_the_threshold():
    detections = {"boxes": np.arange(12.0).reshape(3, 4), "scores": np.float32([0.5, 0.25, 0.125]), "classes": np.int32([4, 5, 6])}
    kept = select(detections, 0.25)
    assert kept["classes"].tolist() == [4]
    assert kept["boxes"].tolist() == [[0, 1, 2, 3]]
    assert len(select(detections, 0.9)["scores"]) == 0


def test_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"box \(1, 2, 2, 8\) must have 4 channels, or 4 for each of the 3 classes"):
        _decode(np.zeros((1, 2, 2, 3)), np.zeros((1, 2, 2, 8)))


def test_a_score_has_the_same_bits_in_every_batch():
    """Without whole vectors a CPU computes the last scores of a batch in another way: about one in two hundred differs in its last bit."""
    decode = tf.function(
        lambda heatmap: decode_distances({"heatmap": heatmap, "box": heatmap[..., :4]}, image_size=(32, 32), top_k=20)["scores"],
        input_signature=[tf.TensorSpec([None, 8, 8, 4])],
    )
    random = np.random.default_rng(0)
    for _ in range(40):
        logits = random.normal(0.0, 3.0, (8, 8, 8, 4)).astype(np.float32)
        together = decode(logits).numpy()
        for size in (1, 3):
            parts = [decode(logits[start : start + size]).numpy() for start in range(0, 8, size)]
            np.testing.assert_array_equal(np.concatenate(parts), together)
