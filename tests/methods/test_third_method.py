"""Another detector is one module and one row of the table, and so is another backbone: here both are this file.

The detector has a heatmap alone and takes every object for a square of 32 px.
"""

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.benchmarks.cost import network_cost
from ttfnet_tf.boxes import STRIDE
from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.keras2 import keras
from ttfnet_tf.layers.initializers import bias_of_probability
from ttfnet_tf.methods import targets, targets_tf
from ttfnet_tf.methods.base import Method
from ttfnet_tf.methods.catalog import METHODS, MethodInfo
from ttfnet_tf.methods.decode import top_peaks
from ttfnet_tf.methods.heads import build_head, normal_kernels
from ttfnet_tf.methods.losses import heatmap_focal_sum
from ttfnet_tf.models.backbones import BACKBONES, Backbone
from ttfnet_tf.models.backbones.convolution import conv2d
from ttfnet_tf.tensorboard.run_log import RunLog
from ttfnet_tf.training import build as training_build
from ttfnet_tf.weights.names import num_classes_of

SIDE = 32.0  # px

SQUARES = MethodInfo(
    title="Squares",
    build=f"{__name__}:squares",
    heads=f"{__name__}:squares_heads",
    settings={"losses.heatmap_weight": "heatmap_weight", "decode.top_k": "top_k"},
    head_settings={"model.heatmap_head": "size"},
    losses={"heatmap_loss": "Focal loss of squares."},
    head_layers={"heatmap": "points.heatmap"},
)


def squares(*, image_size, num_classes, heatmap_weight, top_k):
    def paint(boxes, labels):
        return {"heatmap": targets.paint_targets(boxes, labels, image_size=image_size, num_classes=num_classes)["heatmap"]}

    def render(boxes, labels):
        return {"heatmap": targets_tf.render_targets(boxes, labels, image_size=image_size, num_classes=num_classes)["heatmap"]}

    def count(maps):
        return {"num_centres": tf.reduce_sum(tf.cast(maps["heatmap"] == 1.0, tf.float32))}

    def samples(boxes, labels, maps):
        nothing = tf.zeros([])
        images = tf.cast(tf.shape(boxes)[0], tf.float32)
        return {"images": images, "regression_samples": nothing, "ambiguous": nothing, "images_with_cells": nothing}

    def losses(outputs, maps, num_centres=None):
        total, own = heatmap_focal_sum(outputs["heatmap"], maps["heatmap"])
        loss = heatmap_weight * total / tf.maximum(own if num_centres is None else num_centres, 1.0)
        return {"loss": loss, "heatmap_loss": loss}

    def decode(outputs):
        logits, cell, label = top_peaks(outputs["heatmap"], top_k)
        width = outputs["heatmap"].shape[2]
        point = tf.cast(tf.stack([cell % width, cell // width], axis=-1), tf.float32) * STRIDE
        return {"boxes": tf.concat([point - SIDE / 2, point + SIDE / 2], -1), "scores": tf.sigmoid(logits), "classes": label}

    shapes = {"heatmap": (image_size[0] // STRIDE, image_size[1] // STRIDE, num_classes)}
    return Method(
        paint=paint,
        render=render,
        target_shapes=shapes,
        normalizers=count,
        samples=samples,
        losses=losses,
        loss_names=tuple(SQUARES.losses),
        decode=decode,
        target_settings=None,
    )


def squares_heads(x, num_classes, *, size, seed=0):
    heatmap = build_head(x, size, num_classes, SQUARES.head_layers["heatmap"], normal_kernels(0.01, seed), bias_of_probability(0.1))
    return {"heatmap": keras.layers.Activation("linear", dtype="float32", name="heatmap")(heatmap)}


def tiny(inputs, *, width, synchronized, seed):
    """Six convolutions."""
    x, maps = conv2d(inputs, 8, 3, 2, "backbone.stem", seed), []
    for stage in range(1, 5):
        x = keras.layers.ReLU(name=f"backbone.{stage}.relu")(conv2d(x, 8, 3, 2, f"backbone.{stage}", seed))
        maps.append(x)
    return maps


TINY = Backbone(
    build=f"{__name__}:tiny",
    stem=("backbone.stem",),
    stages=tuple((f"backbone.{stage}",) for stage in range(1, 5)),
    ignores=("zero_init_residual",),
)
TEXT = """
data: {image_size: [64, 64]}
model:
  {method: squares, backbone: tiny, neck: plain, neck_channels: [8, 8, 8], shortcut: [1, 0, 0], heatmap_head: {width: 8, depth: 1}}
decode: {top_k: 2}
"""


@pytest.fixture
def path(write_yaml, monkeypatch):
    monkeypatch.setitem(METHODS, "squares", SQUARES)
    monkeypatch.setitem(BACKBONES, "tiny", TINY)
    return write_yaml("squares.yaml", TEXT)


def test_it_is_trained_and_detects(path):
    config = load_config(path, ["train.precision=float32"])
    method = build.method_of(config, 2)
    strategy = tf.distribute.get_strategy()
    state = training_build.state_of(config, strategy, 2)
    assert {name: tuple(value.shape) for name, value in state.model.output.items()} == {"heatmap": (None, 16, 16, 2)}
    assert "points.heatmap.1.bias" in state.parameters
    assert not {"backbone.stem.weight", "backbone.1.weight"} & set(state.parameters)  # frozen_stages is 1
    assert "backbone.2.weight" in state.parameters
    assert training_build.side_bias_of(config, state.parameters) is None
    train = training_build.train_function_of(config, strategy, state, method)
    rng = np.random.default_rng(0)
    batch = {
        "image": rng.integers(0, 256, (2, 64, 64, 3), np.uint8),
        "boxes": np.array([[[4, 8, 20, 19]], [[20, 30, 59, 49]]], np.float32),
        "labels": np.array([[1], [0]], np.int32),
    }
    rates = tf.constant([0.01] * 5)
    history = train(iter(tf.data.Dataset.from_tensors(batch).repeat()), rates, tf.constant(0, tf.int64))
    assert history["heatmap_loss"][-1] < history["heatmap_loss"][0]
    assert np.all(history["positives"] == 1.0)
    # A box 17 px wide around the point (12, 12), which is cell (3, 3), and one around cell (9, 9).
    maps = method.paint(np.array([[4, 4, 20, 20], [28, 28, 44, 44]], np.float32), np.array([1, 0]))
    found = method.decode({"heatmap": tf.constant(20.0 * maps["heatmap"][None] - 10.0)})
    boxes = sorted(map(tuple, found["boxes"][0].numpy().tolist()))
    assert boxes == [(-4.0, -4.0, 28.0, 28.0), (20.0, 20.0, 52.0, 52.0)]


def test_its_cost_has_its_own_head(path):
    rows = [line.rsplit(maxsplit=6)[0] for line in network_cost(load_config(path), num_classes=2).splitlines()[1:]]
    assert rows == ["backbone", "neck", "shortcuts", "heatmap head", "total"]


def test_its_losses_are_explained_in_tensorboard(path, tmp_path):
    from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator

    log = RunLog(tmp_path / "run")
    log.begin(0, 0.0, settings={"model.method": "squares"}, texts={})
    log.line(1, {"loss": 2.0, "heatmap_loss": 2.0, "training_seconds": 1.0}, {})
    log.close()
    events = EventAccumulator(str(tmp_path / "run" / "train")).Reload()
    assert events.SummaryMetadata("loss/heatmap").summary_description == "Focal loss of squares."


@pytest.mark.parametrize(
    ("override", "switch"),
    [
        ("targets.beta=0.3", "model.method=squares"),
        ("losses.box_weight=1.0", "model.method=squares"),
        ("losses.offset_weight=2.0", "model.method=squares"),
        ("model.box_head.depth=3", "model.method=squares"),
        ("model.zero_init_residual=false", "model.backbone=tiny"),
    ],
)
def test_settings_that_it_does_not_read_are_refused(path, override, switch):
    with pytest.raises(UserError, match=rf"{override} has no effect with {switch}; remove it"):
        load_config(path, [override])


def test_its_weights_are_known(path):
    assert num_classes_of({"points.heatmap.1.weight": (5, 8, 1, 1), "points.heatmap.0.conv.weight": (8, 8, 3, 3)}) == 5
