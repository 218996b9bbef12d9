"""CenterNet: what it makes of boxes, its losses by hand, decoding as the inverse of the targets, and learning."""

import networks
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.methods.centernet import centernet, centernet_losses, decode_centres
from ttfnet_tf.models.parameters import named_parameters
from ttfnet_tf.training.optimizers import RuleGroups
from ttfnet_tf.training.state import TrainState
from ttfnet_tf.training.step import build_train_function

SIZE = (32, 48)
# Centres (21, 12) and (8, 22) in pixels: cells (5, 3) and (2, 5), offsets (.25, 0) and (0, .5).
BOXES = np.array([[12, 6, 30, 18], [4, 16, 12, 28]], np.float32)
LABELS = np.array([1, 0])
METHOD = centernet(image_size=SIZE, num_classes=2)


def _maps(size=(0.0, 0.0), offset=(0.0, 0.0)):
    """Maps [1, 8, 12, ...] that say the same everywhere."""
    return {
        "heatmap": tf.fill([1, 8, 12, 2], -20.0),
        "size": tf.tile(tf.reshape(tf.constant(size, tf.float32), [1, 1, 1, -1]), [1, 8, 12, 1]),
        "offset": tf.tile(tf.reshape(tf.constant(offset, tf.float32), [1, 1, 1, -1]), [1, 8, 12, 1]),
    }


def test_one_cell_knows_the_box():
    maps = METHOD.paint(BOXES, LABELS)
    assert np.argwhere(maps["box_weight"][..., 0]).tolist() == [[3, 5], [5, 2]]
    assert set(np.unique(maps["box_weight"])) == {0, 1}
    np.testing.assert_array_equal(maps["box_target"][3, 5], BOXES[0])
    assert np.argwhere(maps["heatmap"] == 1).tolist() == [[3, 5, 1], [5, 2, 0]]
    rendered = METHOD.render(tf.constant(BOXES[None]), tf.constant(LABELS[None]))
    for name, shape in METHOD.target_shapes.items():
        assert maps[name].shape == shape
        np.testing.assert_allclose(rendered[name][0], maps[name], atol=1e-6)


def test_losses_by_hand():
    targets = {name: value[None] for name, value in METHOD.paint(BOXES, LABELS).items()}
    # Sizes are (18, 12) / 4 and (8, 12) / 4 cells.
    losses = centernet_losses(_maps((4.0, 4.0), (0.5, 0.25)), targets, size_weight=0.1, offset_weight=2.0)
    size = abs(4 - 4.5) + abs(4 - 3) + abs(4 - 2) + abs(4 - 3)
    offset = abs(0.5 - 0.25) + abs(0.25 - 0) + abs(0.5 - 0) + abs(0.25 - 0.5)
    np.testing.assert_allclose(losses["size_loss"], 0.1 * size / (4 + 1e-4), rtol=1e-6)
    np.testing.assert_allclose(losses["offset_loss"], 2.0 * offset / (4 + 1e-4), rtol=1e-6)
    np.testing.assert_allclose(losses["loss"], sum(losses[name] for name in METHOD.loss_names), rtol=1e-6)
    # Normalisers from outside, as of a batch with twice as many boxes, halve each part.
    counts = {name: 2 * value for name, value in METHOD.normalizers(targets).items()}
    halved = centernet_losses(_maps((4.0, 4.0), (0.5, 0.25)), targets, size_weight=0.1, offset_weight=2.0, **counts)
    for name in METHOD.loss_names:
        np.testing.assert_allclose(halved[name], losses[name] / 2, rtol=1e-4)


@pytest.mark.parametrize("per_class", [False, True])
def test_losses_with_static_shapes_are_the_same(per_class):
    method = centernet(image_size=SIZE, num_classes=2, box_per_class=per_class)
    targets = {name: tf.constant(value[None]) for name, value in method.paint(BOXES, LABELS).items()}
    outputs = _maps((4.0, 3.0, 2.0, 7.0) if per_class else (4.0, 3.0), (0.5, 0.25))
    results = []
    for options in ({}, {"static_shapes": True}):
        with tf.GradientTape() as tape:
            tape.watch(outputs)
            losses = method.losses(outputs, targets, **options)
        results.append((losses, tape.gradient(losses["loss"], outputs)))
    for ours, theirs in zip(results[1], results[0]):
        for name, value in theirs.items():
            np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-9, err_msg=name)


def test_no_object_no_loss_of_boxes():
    targets = {name: value[None] for name, value in METHOD.paint(BOXES[:0], LABELS[:0]).items()}
    losses = METHOD.losses(_maps((4.0, 4.0)), targets)
    assert (float(losses["size_loss"]), float(losses["offset_loss"])) == (0, 0)


@pytest.mark.parametrize("per_class", [False, True])
def test_decoding_the_targets_gives_the_boxes(per_class):
    method = centernet(image_size=SIZE, num_classes=2, box_per_class=per_class)
    maps = method.paint(BOXES, LABELS)
    outputs = {name: value.numpy() for name, value in _maps((0.0, 0.0) * (2 if per_class else 1)).items()}
    outputs["heatmap"][0] = np.log(np.clip(maps["heatmap"], 1e-6, 1 - 1e-6) / (1 - np.clip(maps["heatmap"], 1e-6, 1 - 1e-6)))
    for box, label, (row, column) in zip(BOXES, LABELS, [(3, 5), (5, 2)]):
        first = 2 * label if per_class else 0
        outputs["size"][0, row, column, first : first + 2] = (box[2:] - box[:2]) / 4
        outputs["offset"][0, row, column] = (box[:2] + box[2:]) / 8 - (column, row)
    found = decode_centres({name: tf.constant(value) for name, value in outputs.items()}, image_size=SIZE, top_k=2)
    order = np.argsort(-found["classes"][0].numpy())
    np.testing.assert_array_equal(found["classes"][0].numpy()[order], LABELS)
    np.testing.assert_allclose(found["boxes"][0].numpy()[order], BOXES, atol=1e-4)


def test_boxes_are_cut_at_the_border():
    outputs = _maps((40.0, 40.0))
    found = decode_centres(outputs, image_size=SIZE, top_k=1)
    np.testing.assert_array_equal(found["boxes"][0, 0], [0, 0, 47, 31])


@pytest.mark.slow
def test_a_small_network_learns():
    model = networks.build(
        2,
        method="centernet",
        backbone="tiny",
        neck="plain",
        upsampling="transposed",
        shortcut=(0, 0, 0),
        width=8,
        neck_channels=(16, 16, 16),
        heatmap_head=(16, 1),
        box_head=(16, 1),
        frozen_stages=-1,
        image_size=(64, 64),
    )
    assert {name: tuple(value.shape[1:]) for name, value in model.output.items()} == {
        "heatmap": (16, 16, 2),
        "size": (16, 16, 2),
        "offset": (16, 16, 2),
    }
    # The probability of every class before training is that of the start.
    start = tf.sigmoid(model(np.zeros([2, 64, 64, 3], np.uint8))["heatmap"])
    assert np.abs(start - 0.1).max() < 0.05
    named = named_parameters(model, trainable_only=True)
    assert "bbox_head.deconv_layers.2.3.weight" in named
    assert len(named) == len(model.trainable_variables)
    method = centernet(image_size=(64, 64), num_classes=2)
    train = build_train_function(tf.distribute.get_strategy(), TrainState(model, named, RuleGroups(named, "adam")), method)
    image = np.zeros([2, 64, 64, 3], np.uint8)
    image[0, 8:20, 4:21], image[1, 30:50, 20:60] = 200, 100
    boxes = np.array([[[4, 8, 20, 19]], [[20, 30, 59, 49]]], np.float32)
    batch = {"image": image, "boxes": boxes, "labels": np.array([[1], [0]], np.int32)}
    history = train(iter(tf.data.Dataset.from_tensors(batch).repeat()), tf.constant([0.003] * 60), tf.constant(0, tf.int64))
    assert {"loss", "heatmap_loss", "size_loss", "offset_loss", "gradient_norm"} <= set(history)
    assert history["loss"][-1] < 0.3 * history["loss"][0]
