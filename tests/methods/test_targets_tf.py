"""Targets drawn by TensorFlow equal those painted by NumPy, in tf.data and in a compiled function."""

import functools
import itertools

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.inspect.cell_assignment import assign_cells
from ttfnet_tf.methods import targets_tf
from ttfnet_tf.methods.targets import paint_targets
from ttfnet_tf.methods.targets_tf import render_targets, sample_counts
from ttfnet_tf.methods.ttfnet import ttfnet_losses

SIZE, CLASSES = (104, 136), 4


def _scene(seed, images=3, boxes=14):
    """Boxes of all sizes, some beyond the border, inverted, doubled or on exact half pixels; the last rows are padding."""
    rng = np.random.default_rng(seed)
    centre = rng.uniform([-10, -10], [146, 114], (images, boxes, 2))
    side = np.exp(rng.uniform(0, 5, (images, boxes, 2)))
    corners = np.concatenate([centre - side / 2, centre + side / 2], axis=2)
    corners[:, ::3] = np.round(corners[:, ::3])
    corners[:, 3] = corners[:, 0]  # equal areas: the order given decides
    corners[:, 4] = [30, 40, 28.5, 60]  # x2 < x1
    corners[:, 5] = [50, 60, 40, 80]  # negative area: NaN under log and sqrt
    labels = rng.integers(0, CLASSES, (images, boxes))
    labels[:, -3:] = -1
    labels[-1] = -1  # an image without objects
    return corners.astype(np.float32), labels.astype(np.int32)


AREAS, WEIGHTS, KERNELS = ("gaussian", "rectangle"), ("none", "norm", "sqrt", "log", "equal"), ("aspect", "cornernet")
SETTINGS = [
    {"area": area, "weight": weight, "kernel": kernel, "box_per_class": per_class}
    for area, weight, kernel, per_class in itertools.product(AREAS, WEIGHTS, KERNELS, (False, True))
]


def _assert_equal(maps, boxes, labels, settings):
    for index in range(len(boxes)):
        expected = paint_targets(boxes[index], labels[index], image_size=SIZE, num_classes=CLASSES, **settings)
        np.testing.assert_array_equal(maps["box_target"][index], expected["box_target"])
        np.testing.assert_array_equal(maps["heatmap"][index] == 1.0, expected["heatmap"] == 1.0)
        np.testing.assert_allclose(maps["heatmap"][index], expected["heatmap"], rtol=1e-6, atol=1e-7)
        np.testing.assert_allclose(maps["box_weight"][index], expected["box_weight"], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_equals_numpy(settings):
    settings = {"beta": 0.9 if settings["area"] == "rectangle" else 0.3, **settings}
    boxes, labels = _scene(0, images=9)
    maps = render_targets(tf.constant(boxes), tf.constant(labels), image_size=SIZE, num_classes=CLASSES, **settings)
    _assert_equal({key: value.numpy() for key, value in maps.items()}, boxes, labels, settings)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("beta", [0.01, 0.1, 0.7, 1.0])
@pytest.mark.parametrize("area", AREAS)
def test_equals_numpy_at_any_size(area, beta, kernel):
    settings = {"alpha": 0.4, "beta": beta, "area": area, "kernel": kernel, "box_per_class": True}
    boxes, labels = _scene(20, images=6)
    maps = render_targets(tf.constant(boxes), tf.constant(labels), image_size=SIZE, num_classes=CLASSES, **settings)
    _assert_equal({key: value.numpy() for key, value in maps.items()}, boxes, labels, settings)


@pytest.mark.parametrize("beta", [0.01, 0.9])
def test_class_aware_rectangles_train(beta):
    boxes = tf.constant([[[8, 8, 56, 56], [12, 20, 44, 40]]], tf.float32)
    settings = {"image_size": (64, 64), "num_classes": 3, "area": "rectangle", "box_per_class": True}
    targets = render_targets(boxes, tf.constant([[2, 0]]), beta=beta, **settings)
    distances = tf.fill([1, 16, 16, 12], 5.0)
    with tf.GradientTape() as tape:
        tape.watch(distances)
        loss = ttfnet_losses({"heatmap": tf.zeros([1, 16, 16, 3]), "box": distances}, targets)["box_loss"]
    gradient = tf.reshape(tape.gradient(loss, distances), [1, 16, 16, 3, 4]).numpy()
    assert 0 < float(loss) < 5 * 2  # box_weight times a mean of 1 - GIoU
    # Exactly the cells of a class that own its box learn, though those of the two classes overlap.
    np.testing.assert_array_equal(gradient.any(-1), targets["box_weight"].numpy() > 0)
    assert [n > 0 for n in np.count_nonzero(gradient.any(-1), axis=(0, 1, 2))] == [True, False, True]


@pytest.mark.parametrize("kernel", KERNELS)
def test_inside_tf_data_shapes_are_static(kernel):
    boxes, labels = _scene(7)
    settings = {"box_per_class": True, "kernel": kernel}
    draw = functools.partial(render_targets, image_size=SIZE, num_classes=CLASSES, **settings)
    dataset = tf.data.Dataset.from_tensor_slices((boxes, labels)).batch(3, drop_remainder=True).map(draw)
    shapes = {key: tuple(spec.shape) for key, spec in dataset.element_spec.items()}
    assert shapes == {"heatmap": (3, 26, 34, 4), "box_target": (3, 26, 34, 16), "box_weight": (3, 26, 34, 4)}
    _assert_equal(next(dataset.as_numpy_iterator()), boxes, labels, settings)


def test_all_padding_is_empty():
    maps = render_targets(tf.fill([2, 3, 4], 20.0), tf.fill([2, 3], -1), image_size=(32, 32), num_classes=2)
    assert not maps["heatmap"].numpy().any()
    assert not maps["box_weight"].numpy().any()
    assert (maps["box_target"].numpy() == -1).all()


def test_graph_does_not_grow_with_the_number_of_boxes():
    def nodes(boxes):
        draw = tf.function(functools.partial(render_targets, image_size=SIZE, num_classes=CLASSES), autograph=False)
        signature = tf.TensorSpec([2, boxes, 4]), tf.TensorSpec([2, boxes], tf.int32)
        return len(draw.get_concrete_function(*signature).graph.as_graph_def().node)

    assert nodes(30) == nodes(3)
    assert nodes(1000) == nodes(100)  # in tiles


def test_wrong_arguments():
    with pytest.raises(ValueError, match="received 'circle'"):
        render_targets(tf.zeros([1, 1, 4]), tf.zeros([1, 1], tf.int32), image_size=SIZE, num_classes=2, area="circle")
    with pytest.raises(ValueError, match="received 'round'"):
        render_targets(tf.zeros([1, 1, 4]), tf.zeros([1, 1], tf.int32), image_size=SIZE, num_classes=2, kernel="round")
    with pytest.raises(ValueError, match=r"\(1, 4\) and \(1,\)"):
        render_targets(tf.zeros([1, 4]), tf.zeros([1], tf.int32), image_size=SIZE, num_classes=2)


@pytest.mark.parametrize(("area", "kernel", "per_class"), list(itertools.product(AREAS, KERNELS, (False, True))))
def test_counts_of_samples_equal_those_of_numpy(area, kernel, per_class):
    settings = {"image_size": SIZE, "beta": 0.7, "area": area, "kernel": kernel, "box_per_class": per_class}
    boxes, labels = _scene(3, images=5)
    limit = np.array([SIZE[1] - 1, SIZE[0] - 1] * 2, np.float32)
    boxes = np.clip(
        np.concatenate([np.minimum(boxes[..., :2], boxes[..., 2:]), np.maximum(boxes[..., :2], boxes[..., 2:])], axis=2), 0, limit
    )
    maps = render_targets(tf.constant(boxes), tf.constant(labels), num_classes=CLASSES, **settings)
    counts = sample_counts(tf.constant(boxes), tf.constant(labels), maps, num_classes=CLASSES, weight="log", **settings)
    assigned = [assign_cells(one[known >= 0], known[known >= 0], **settings) for one, known in zip(boxes, labels)]
    painted = [paint_targets(one, known, num_classes=CLASSES, **settings) for one, known in zip(boxes, labels)]
    assert {name: float(value) for name, value in counts.items()} == {
        "images": 5,
        "regression_samples": sum(int((maps["box_weight"] > 0).sum()) for maps in painted),
        "ambiguous": pytest.approx(sum(one.ambiguous / one.covered for one in assigned if one.covered)),
        "images_with_cells": sum(one.covered > 0 for one in assigned),  # the last image has no object
    }
    assert 0 < sum(one.ambiguous for one in assigned) < sum(one.covered for one in assigned)


# Many boxes: drawn in tiles.


@pytest.mark.parametrize(
    ("per_class", "is_compiled"),
    [(False, False), *(pytest.param(*row, marks=pytest.mark.slow) for row in ((True, True), (True, False), (False, True)))],
)
def test_tiles_give_the_same_bytes(monkeypatch, per_class, is_compiled):
    """200 boxes drawn tile by tile, and all at once; with padding between the boxes and behind them."""
    boxes, labels = _scene(5, boxes=200)
    labels[0, 3:90] = -1
    settings = {"image_size": SIZE, "num_classes": CLASSES, "box_per_class": per_class}

    def draw(boxes, labels):
        maps = render_targets(boxes, labels, **settings)
        return {**maps, **sample_counts(boxes, labels, maps, **settings)}

    found = tf.function(draw, jit_compile=is_compiled)(tf.constant(boxes), tf.constant(labels))
    monkeypatch.setattr(targets_tf, "TILE", 1000)
    expected = tf.function(draw, jit_compile=is_compiled)(tf.constant(boxes), tf.constant(labels))
    for name, value in expected.items():
        assert found[name].shape == value.shape
        assert found[name].numpy().tobytes() == value.numpy().tobytes(), name


def test_maps_of_a_thousand_boxes_are_never_in_memory_together(monkeypatch):
    """Drawn at a time are the maps of a tile; tiles of padding alone are not drawn."""
    boxes, labels = _scene(6, boxes=1000)
    labels[:, 300:] = -1
    sizes, segment_max = [], tf.math.unsorted_segment_max
    monkeypatch.setattr(tf.math, "unsorted_segment_max", lambda data, *rest: sizes.append(data.shape[0]) or segment_max(data, *rest))
    maps = render_targets(tf.constant(boxes), tf.constant(labels), image_size=SIZE, num_classes=CLASSES)
    assert set(sizes) == {3 * targets_tf.TILE}
    monkeypatch.undo()
    _assert_equal({key: value.numpy() for key, value in maps.items()}, boxes, labels, {})
    few = tf.constant(boxes[:, :300]), tf.constant(labels[:, :300])
    for name, value in render_targets(*few, image_size=SIZE, num_classes=CLASSES).items():
        np.testing.assert_array_equal(value, maps[name])


def test_tiles_behind_the_last_box_are_not_drawn(monkeypatch):
    """20 boxes of 1,000 rows: one tile for the heatmap, and one for the owner of each cell."""
    boxes, labels = np.zeros((2, 1000, 4), np.float32), np.full((2, 1000), -1, np.int32)
    boxes[:, 500:520] = [10, 10, 50, 40]
    labels[:, 500:520] = 1
    calls, segment_max = [], tf.math.unsorted_segment_max
    monkeypatch.setattr(tf.math, "unsorted_segment_max", lambda *arguments: calls.append(1) or segment_max(*arguments))
    render_targets(tf.constant(boxes), tf.constant(labels), image_size=SIZE, num_classes=CLASSES)
    assert len(calls) == 2
