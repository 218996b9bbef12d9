import networks
import numpy as np
import pytest
import systems
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.layers.deform_conv import SAMPLERS
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.models.cost import Cost, cost_of, cost_table
from ttfnet_tf.models.detector import freeze

HEADS = METHODS["ttfnet"].head_layers
# Printed by the reference for 512 x 512 pixels: millions of parameters, trainable ones, 10^9 multiply-adds, those of the backbone.
PUBLISHED = {"r18": (14.209, 14.051, 18.63, 9.47), "r34": (24.354, 24.123, 28.90, 19.14), "d53": (45.732, 45.692, 49.04, 37.14)}


@pytest.fixture(scope="module")
def small():
    """Tests change its sampler and what is frozen."""
    return networks.build(3, width=8, neck_channels=(16, 8, 8), shortcut=(1, 0, 2), heatmap_head=(8, 1), box_head=(4, 2))


@pytest.fixture(scope="module")
def costs():
    """costs("r18") -> cost of each part of the full network at 512 x 512."""
    cache = {}

    def compute(name):
        if name not in cache:
            cache[name] = cost_of(systems.system(name), (512, 512), HEADS)
        return cache[name]

    return compute


def _single(*layers, size=(8, 12)):
    """The whole cost of an image that goes through some layers."""
    x = inputs = keras.Input([None, None, 3])
    for layer in layers:
        x = layer(x)
    return sum(cost_of(keras.Model(inputs, x), size, {}).values(), Cost(0, 0, 0))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["r18", "r34", "d53"])
def test_published_systems_have_the_published_cost(name, costs):
    total = sum(costs(name).values(), Cost(0, 0, 0))
    parameters, trainable, multiply_adds, backbone = PUBLISHED[name]
    assert round(total.parameters / 1e6, 3) == parameters
    assert round(total.trainable / 1e6, 3) == trainable
    assert round(total.multiply_adds / 1e9, 2) == multiply_adds
    assert round(costs(name)["backbone"].multiply_adds / 1e9, 2) == backbone


def test_parts_of_the_smallest_system(costs):
    parts = {part: round(cost.multiply_adds / 1e9, 2) for part, cost in costs("r18").items()}
    assert parts == {"backbone": 9.47, "neck": 1.13, "shortcuts": 3.62, "heatmap head": 3.79, "box head": 0.61}


def test_convolution_by_hand():
    # 4 x 6 output cells, each 3 x 3 x 3 products for each of 5 channels; a bias costs parameters only.
    assert _single(keras.layers.Conv2D(5, 3, 2, "same")) == Cost(27 * 5 + 5, 27 * 5 + 5, 24 * 27 * 5)


def test_layers_of_other_kinds_by_hand():
    depthwise = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False)
    assert _single(depthwise) == Cost(54, 54, 96 * 54)  # 8 x 12 cells, 9 products for each of 6 channels
    # Every input cell is multiplied by the whole kernel, whatever the stride.
    assert _single(keras.layers.Conv2DTranspose(5, 4, 2, "same", use_bias=False)) == Cost(240, 240, 96 * 240)
    pooled = keras.layers.GlobalAveragePooling2D()
    assert _single(pooled, keras.layers.Dense(7)) == Cost(28, 28, 21)
    assert _single(keras.layers.BatchNormalization(), keras.layers.ReLU()) == Cost(6, 6, 0)


@pytest.mark.slow
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_small_network_by_hand(sampler, small):
    for i in range(3):
        small.get_layer(f"bbox_head.deconv_layers.{i}.0").sampler = sampler
    costs = cost_of(small, (64, 96), HEADS)
    # c5 is 2 x 3 x 64, and the maps after each step are 4 x 6 x 16, 8 x 12 x 8, 16 x 24 x 8. Offsets and masks are 27 channels.
    expected = {
        "neck": 9 * (6 * 64 * (16 + 27) + 24 * 16 * (8 + 27) + 96 * 8 * (8 + 27)),
        "shortcuts": 9 * (24 * (32 * 16 + 16 * 16) + 384 * 8 * 8),  # two from c4, none from c3, one from c2
        "heatmap head": 384 * (9 * 8 * 8 + 8 * 3),
        "box head": 384 * (9 * 8 * 4 + 9 * 4 * 4 + 4 * 4),
    }
    assert {part: cost.multiply_adds for part, cost in costs.items() if part != "backbone"} == expected
    assert costs["box head"].parameters == (9 * 8 * 4 + 4) + (9 * 4 * 4 + 4) + (4 * 4 + 4)


@pytest.mark.slow
def test_frozen_parameters_are_counted_apart(small):
    costs = {}
    for stages in (0, -1):
        freeze(small, "resnet18", stages)
        costs[stages] = cost_of(small, (32, 32), HEADS)["backbone"]
    assert costs[-1].trainable == costs[-1].parameters == costs[0].parameters
    assert costs[0].parameters - costs[0].trainable == 7 * 7 * 3 * 8 + 2 * 8
    assert costs[0].multiply_adds == costs[-1].multiply_adds


def test_open_shapes_are_refused():
    inputs = keras.Input([None, None, 3])
    some = keras.layers.Lambda(lambda x: tf.boolean_mask(x, x[:, 0, 0, 0] > 0.0))(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1, name="last")(some))
    with pytest.raises(ValueError, match=r"multiply-adds of .*last/Conv2D cannot be counted: its shapes are open at \(8, 8\)"):
        cost_of(model, (8, 8), {})


def test_table():
    table = cost_table({"backbone": Cost(11_000_000, 10_900_000, 9_470_000_000), "neck": Cost(1_500, 1_500, 5_000_000)})
    assert [line.split() for line in table.splitlines()] == [
        ["part", "parameters", "trainable", "multiply-adds"],
        ["backbone", "11.000", "M", "10.900", "M", "9.47", "G"],
        ["neck", "0.002", "M", "0.002", "M", "0.01", "G"],
        ["total", "11.002", "M", "10.902", "M", "9.47", "G"],
    ]
    assert len(set(map(len, table.splitlines()))) == 1
    assert np.all([not line.endswith(" ") for line in table.splitlines()])
