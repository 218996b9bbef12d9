import json
import math
from pathlib import Path

import golden
import networks
import numpy as np
import pytest
import systems
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.models.normalization import MEAN, STD
from ttfnet_tf.models.parameters import named_buffers, named_parameters, to_official

SMALL = {"width": 8, "neck_channels": (32, 16, 8), "heatmap_head": (16, 2), "box_head": (8, 1)}


def _small(num_classes=3, **keywords):
    return networks.build(num_classes, **{**SMALL, **keywords})


def _image(seed=0, dtype=np.uint8, size=(64, 96)):
    return np.random.default_rng(seed).integers(0, 256, (2, *size, 3)).astype(dtype)


def _recorded(file):
    """A table of the reference, from the complete golden data or from the part of it in the repository."""
    for folder in (golden.folder("model"), golden.SUBSET):
        if (Path(folder) / file).is_file():
            return json.loads((Path(folder) / file).read_text())
    raise FileNotFoundError(file)


@pytest.fixture(scope="module")
def resnet18():
    return systems.system("r18")


@pytest.fixture(scope="module")
def small():
    """For tests that change nothing in it."""
    return _small()


@pytest.mark.parametrize(
    ("name", "total", "trainable"),
    [("r18", 14_208_933, 14_051_429), pytest.param("r34", 24_354_021, 24_122_533, marks=pytest.mark.slow)],
)
def test_number_of_parameters_is_the_official_one(name, total, trainable):
    model = systems.system(name)
    assert sum(v.shape.num_elements() for v in named_parameters(model).values()) == total
    assert sum(v.shape.num_elements() for v in model.trainable_variables) == trainable


def test_names_shapes_and_freezing_are_the_official_ones(resnet18):
    entries = [e for e in _recorded("state_dicts.json")["r18"]["state_dict"] if not e["name"].endswith("num_batches_tracked")]
    ours = {name: list(to_official(name, v.numpy()).shape) for name, v in {**named_parameters(resnet18), **named_buffers(resnet18)}.items()}
    assert ours == {e["name"]: e["shape"] for e in entries}
    trainable = set(named_parameters(resnet18, trainable_only=True))
    assert trainable == {e["name"] for e in entries if e.get("requires_grad")}


def test_initial_values_are_distributed_as_the_reference(resnet18):
    statistics = _recorded("init_stats.json")["ttfnet_r18_2x"]
    parameters = named_parameters(resnet18)
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


def test_outputs_have_stride_4(small):
    outputs = small(_image())
    assert {name: (value.shape.as_list(), value.dtype) for name, value in outputs.items()} == {
        "heatmap": ([2, 16, 24, 3], tf.float32),
        "box": ([2, 16, 24, 4], tf.float32),
    }
    assert np.all(outputs["box"] >= 0.0)


def test_before_training_every_class_has_probability_a_hundredth(small):
    heatmap = small(_image())["heatmap"]
    np.testing.assert_allclose(tf.sigmoid(heatmap), 0.01, rtol=0.1)


def test_uint8_and_float_images_give_equal_outputs(small):
    for name, value in small(_image()).items():
        np.testing.assert_array_equal(value, small(_image(dtype=np.float32))[name])


def test_normalisation_is_inside(small):
    normalised = small.get_layer("normalization")(_image())
    np.testing.assert_allclose(normalised, (_image() - np.array(MEAN)) / np.array(STD), atol=1e-5)


def test_boxes_are_16_times_the_rectified_head():
    model = _small()
    head = keras.Model(model.input, [model.get_layer("bbox_head.wh.1").output, model.output["box"]])
    model.get_layer("bbox_head.wh.1").bias.assign([1.5, -1.0, 0.25, 0.0])
    raw, box = head(_image())
    np.testing.assert_allclose(box, 16.0 * np.maximum(raw, 0.0), rtol=1e-6)
    assert np.all(box[..., 1] == 0.0)


@pytest.mark.slow
def test_initial_values_follow_from_seed_and_name(small):
    first, again, other = (named_parameters(model) for model in (small, _small(), _small(seed=4)))
    deeper = named_parameters(_small(box_head=(8, 2), shortcut=(0, 1, 0)))
    for name, variable in first.items():
        np.testing.assert_array_equal(variable, again[name])
        if variable.shape.rank == 4 and "conv_offset_mask" not in name:
            assert np.any(variable.numpy() != other[name].numpy()), name
        if name in deeper and not name.startswith("bbox_head.wh.1"):
            np.testing.assert_array_equal(variable, deeper[name], err_msg=name)
    kernels = [v.numpy().tobytes() for v in first.values() if v.shape == (3, 3, 8, 8)]
    assert len(set(kernels)) == len(kernels)  # no two layers share their values


@pytest.mark.parametrize(
    ("frozen_stages", "frozen"),
    [
        pytest.param(-1, (), marks=pytest.mark.slow),
        pytest.param(0, ("conv1", "bn1"), marks=pytest.mark.slow),
        pytest.param(1, ("conv1", "bn1", "layer1."), marks=pytest.mark.slow),
        (4, ("",)),
    ],
    ids=str,
)
def test_frozen_stages(frozen_stages, frozen):
    model = _small(frozen_stages=frozen_stages)
    for name in named_parameters(model):
        is_frozen = name.startswith(tuple(f"backbone.{prefix}" for prefix in frozen))
        assert (name not in named_parameters(model, trainable_only=True)) == is_frozen, name
    before = {name: v.numpy() for name, v in named_buffers(model).items()}
    model(_image(), training=True)
    for name, buffer in named_buffers(model).items():
        is_frozen = name.startswith(tuple(f"backbone.{prefix}" for prefix in frozen))
        assert np.array_equal(buffer, before[name]) == is_frozen, name


def test_box_per_class_has_four_channels_for_each_class():
    assert _small(num_classes=5, box_per_class=True).output_shape["box"][-1] == 20


def test_shortcuts_can_be_left_out():
    model = _small(shortcut=(0, 2, 0))
    names = [layer.name for layer in model.layers if layer.name.startswith("bbox_head.shortcut_layers")]
    assert names == [f"bbox_head.shortcut_layers.1.layers.{i}" for i in range(3)]


def test_plain_neck_has_ordinary_convolutions_of_the_same_shape(small):
    plain, deformable = named_parameters(_small(neck="plain")), named_parameters(small)
    assert {name: v.shape for name, v in plain.items()} == {
        name: v.shape for name, v in deformable.items() if "conv_offset_mask" not in name
    }
    np.testing.assert_array_equal(plain["bbox_head.deconv_layers.1.0.weight"], deformable["bbox_head.deconv_layers.1.0.weight"])


def test_fixed_and_open_sizes_give_equal_outputs(small):
    for name, value in _small(image_size=(64, 96))(_image()).items():
        np.testing.assert_allclose(value, small(_image())[name], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_gives_float32_outputs(precision, small):
    keras.mixed_precision.set_global_policy(precision)
    try:
        model = _small(batch_norm="synchronized" if precision == "mixed_bfloat16" else "local")
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert all(v.dtype == tf.float32 for v in model.variables)
    outputs, exact = model(_image()), small(_image())
    for name, value in outputs.items():
        assert value.dtype == tf.float32
        np.testing.assert_allclose(value, exact[name], atol=0.1)


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match=r"neck must be one of .* received 'fpn'"):
        _small(neck="fpn")
    with pytest.raises(ValueError, match=r"batch_norm must be one of .* received 'group'"):
        _small(batch_norm="group")
    with pytest.raises(ValueError, match="multiples of 32"):
        _small(image_size=(64, 100))
