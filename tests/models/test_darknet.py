import functools
import math

import golden_weights
import networks
import numpy as np
import pytest
import systems
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.models.backbones import BACKBONES, build_backbone
from ttfnet_tf.models.backbones.darknet import darknet
from ttfnet_tf.models.parameters import named_buffers, named_parameters, to_official

pytestmark = pytest.mark.slow

SMALL = {"backbone": "darknet53", "width": 8, "neck_channels": (8, 8, 8), "heatmap_head": (8, 1), "box_head": (8, 1)}


def _shallow(**keywords):
    """One block in each stage, where the number does not matter."""
    inputs = keras.Input([64, 96, 3])
    return keras.Model(inputs, darknet(inputs, blocks=(1, 1, 1, 1, 1), width=8, **keywords))


def _image(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def backbone():
    """For tests that change no more than the kernel of one layer."""
    inputs = keras.Input([64, 96, 3])
    return keras.Model(inputs, build_backbone("darknet53", inputs, width=8))


@pytest.fixture(scope="module")
def detectors():
    """detectors(frozen_stages) -> a small detector; only its running statistics change."""
    return functools.cache(lambda frozen_stages: networks.build(2, frozen_stages=frozen_stages, **SMALL))


def test_maps_are_those_of_the_last_four_stages(backbone):
    assert [tuple(shape[1:]) for shape in backbone.output_shape] == [(16, 24, 16), (8, 12, 32), (4, 6, 64), (2, 3, 128)]
    assert [tensor.node.layer.name for tensor in backbone.outputs] == [
        f"backbone.{name}" for name in ("layer2.2", "layer3.8", "layer4.8", "layer5.4")
    ]


def test_53_layers_with_weights(backbone):
    # 52 convolutions, and the classifier that a detector lacks.
    assert sum(isinstance(layer, keras.layers.Conv2D) for layer in backbone.layers) == 52


def test_stride_2_pads_as_pytorch(backbone):
    # A kernel of ones sees 2 i - 1 .. 2 i + 1; Keras' "same" would see 2 i .. 2 i + 2.
    convolution = backbone.get_layer("backbone.layer3.0.conv")
    convolution.kernel.assign(tf.ones_like(convolution.kernel))
    pad = backbone.get_layer("backbone.layer3.0.conv.pad")
    for column, expected in ((0, [1, 0, 0]), (1, [1, 1, 0]), (2, [0, 1, 0]), (3, [0, 1, 1])):
        x = np.zeros([1, 8, 12, 16], np.float32)
        x[0, 0, column, 0] = 1.0
        assert convolution(pad(tf.constant(x)))[0, 0, :3, 0].numpy().tolist() == expected


def test_a_block_adds_its_branch_without_another_activation(backbone):
    first = backbone.get_layer("backbone.layer1.1.body.0.conv")
    block = keras.Model(first.input, backbone.get_layer("backbone.layer1.1").output)
    x = np.random.default_rng(0).standard_normal((1, 32, 48, 8)).astype(np.float32)
    branch = tf.constant(x)
    for i in (0, 1):  # running statistics are 0 and 1
        kernel = backbone.get_layer(f"backbone.layer1.1.body.{i}.conv").kernel
        branch = tf.nn.conv2d(branch, kernel, 1, "SAME") / np.sqrt(1 + 1e-5)
        branch = tf.where(branch < 0.0, 0.1 * branch, branch)
    np.testing.assert_allclose(block(x), branch + x, atol=1e-5)
    assert np.any(branch + x < 0.0)


def test_all_scales_start_at_1():
    scales = [layer.gamma for layer in _shallow().layers if layer.name.endswith(".bn")]
    assert len(scales) == 1 + 5 * 3
    assert all(np.all(scale == 1.0) for scale in scales)


def test_initial_values_follow_from_seed_and_name():
    first, again, other = ({layer.name: layer.get_weights() for layer in _shallow(seed=seed).layers} for seed in (0, 0, 1))
    kernels = [name for name in first if name.endswith(".conv")]
    for name in kernels:
        np.testing.assert_array_equal(first[name][0], again[name][0])
        assert np.any(first[name][0] != other[name][0])
    assert len({first[name][0].tobytes() for name in kernels}) == len(kernels)  # no two layers share their values


def test_stage_1_is_the_one_with_stride_2():
    row = BACKBONES["darknet53"]
    assert row.frozen_prefixes(-1) == ()
    assert row.frozen_prefixes(0) == ("backbone.stem.",)
    assert row.frozen_prefixes(2) == ("backbone.stem.", "backbone.layer1.", "backbone.layer2.")


@pytest.mark.parametrize(
    ("frozen_stages", "frozen"),
    [(-1, ()), (0, ("stem.",)), (1, ("stem.", "layer1."))],
    ids=str,
)
def test_frozen_parameters_are_not_listed(frozen_stages, frozen, detectors):
    model = detectors(frozen_stages)
    expected = {name for name in named_parameters(model) if not name.startswith(tuple(f"backbone.{prefix}" for prefix in frozen))}
    assert set(named_parameters(model, trainable_only=True)) == expected


def test_frozen_normalisations_go_on_collecting_statistics(detectors):
    frozen, free = detectors(1), detectors(-1)
    outputs = [model(_image(), training=True) for model in (frozen, free)]
    for name, value in outputs[0].items():  # batch statistics in both
        np.testing.assert_allclose(value, outputs[1][name], atol=1e-5)
    stem = frozen.get_layer("backbone.stem.bn")
    x = keras.Model(frozen.input, stem.input)(_image()).numpy().reshape(-1, 4)
    np.testing.assert_allclose(stem.moving_mean, 0.1 * x.mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(stem.moving_variance, 0.9 + 0.1 * x.var(axis=0, ddof=1), rtol=1e-4)
    for name, buffer in named_buffers(free).items():
        np.testing.assert_allclose(named_buffers(frozen)[name], buffer, atol=1e-5, err_msg=name)


def test_names_shapes_and_freezing_are_the_official_ones():
    model = systems.system("d53")
    entries = golden_weights.table("state_dicts.json")["d53"]["state_dict"]
    entries = [entry for entry in entries if not entry["name"].endswith("num_batches_tracked")]
    variables = {**named_parameters(model), **named_buffers(model)}
    shapes = {name: list(to_official(name, np.empty(variable.shape, np.int8)).shape) for name, variable in variables.items()}
    assert shapes == {entry["name"]: entry["shape"] for entry in entries}
    assert set(named_parameters(model, trainable_only=True)) == {entry["name"] for entry in entries if entry.get("requires_grad")}


def test_initial_values_are_distributed_as_the_reference():
    statistics = golden_weights.table("init_stats.json")["ttfnet_d53_2x"]
    parameters = named_parameters(systems.system("d53"))
    assert set(parameters) == set(statistics)
    for name, (mean, std, low, high) in statistics.items():
        value = parameters[name].numpy()
        if std == 0.0:
            np.testing.assert_allclose(value, np.full_like(value, mean), rtol=1e-6, err_msg=name)
            continue
        # Two samples of n values each: five standard errors of the difference.
        assert abs(value.mean() - mean) < 5 * std * math.sqrt(2 / value.size), name
        assert abs(value.std() / std - 1) < 5 / math.sqrt(value.size), name
        # A uniform distribution ends where the reference's does, a normal one near it.
        tolerance = 0.01 if max(-low, high) < 2 * std else 0.35
        np.testing.assert_allclose([value.min(), value.max()], [low, high], rtol=tolerance, err_msg=name)
