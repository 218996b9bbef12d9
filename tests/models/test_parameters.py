import networks
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.layers.batch_norm import batch_norm
from ttfnet_tf.models.parameters import from_official, named_buffers, named_parameters, set_trainable, to_official


@pytest.fixture(scope="module")
def model():
    return networks.build(2, width=8, neck_channels=(8, 8, 8), heatmap_head=(8, 1), box_head=(8, 1))


def test_every_variable_has_one_name(model):
    named = [*named_parameters(model).values(), *named_buffers(model).values()]
    assert len({id(v) for v in named}) == len(named)
    assert {id(v) for v in named} == {id(v) for v in model.variables}


def test_trainable_parameters_are_those_of_keras(model):
    named = named_parameters(model, trainable_only=True)
    assert {id(v) for v in named.values()} == {id(v) for v in model.trainable_variables}


@pytest.mark.slow
def test_synchronized_normalisation_has_the_same_names(model):
    other = networks.build(2, width=8, neck_channels=(8, 8, 8), heatmap_head=(8, 1), box_head=(8, 1), batch_norm="synchronized")
    assert list(named_parameters(other)) == list(named_parameters(model))
    assert list(named_buffers(other)) == list(named_buffers(model))


@pytest.mark.parametrize("synchronized", [False, True])
@pytest.mark.parametrize(("frozen_statistics", "mean"), [(True, 0.0), (False, 0.4)])
def test_frozen_normalisations(frozen_statistics, mean, synchronized):
    inputs = keras.Input([2])
    layer = batch_norm("backbone.bn", synchronized=synchronized)
    model = keras.Model(inputs, layer(inputs))
    x = tf.constant([[3.0, 3.0], [5.0, 5.0]])
    set_trainable(layer, False, frozen_statistics=frozen_statistics)
    assert named_parameters(model, trainable_only=True) == {}
    # By the running statistics 0 and 1, or by those of the batch: 4 and 1.
    np.testing.assert_allclose(model(x, training=True), x if frozen_statistics else x - 4.0, rtol=1e-4)
    np.testing.assert_allclose(layer.moving_mean, [mean, mean], rtol=1e-6)  # a tenth of the batch's mean
    set_trainable(layer, True, frozen_statistics=frozen_statistics)
    assert list(named_parameters(model, trainable_only=True)) == ["backbone.bn.weight", "backbone.bn.bias"]


def test_frozen_convolutions_do_not_depend_on_the_rule(model):
    layer = model.get_layer("bbox_head.hm.0.conv")
    for frozen_statistics in (True, False):
        set_trainable(layer, False, frozen_statistics=frozen_statistics)
        assert not layer.trainable
        assert "bbox_head.hm.0.conv.weight" not in named_parameters(model, trainable_only=True)
    set_trainable(layer, True)
    assert "bbox_head.hm.0.conv.weight" in named_parameters(model, trainable_only=True)


def test_kernels_are_transposed():
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)  # H, W, in, out
    official = to_official("backbone.conv1.weight", array)
    assert official.shape == (5, 4, 2, 3)
    assert official[4, 1, 0, 2] == array[0, 2, 1, 4]


def test_offset_channels_are_interleaved():
    # Ours: 9 dy, 9 dx, 9 masks. Official: dy0, dx0, dy1, dx1, ..., then masks.
    ours = np.array([f"dy{k}" for k in range(9)] + [f"dx{k}" for k in range(9)] + [f"mask{k}" for k in range(9)])
    official = to_official("bbox_head.deconv_layers.0.0.conv_offset_mask.bias", ours)
    assert official.tolist() == [f"{axis}{k}" for k in range(9) for axis in ("dy", "dx")] + [f"mask{k}" for k in range(9)]
    assert to_official("bbox_head.deconv_layers.0.0.bias", ours).tolist() == ours.tolist()


@pytest.mark.parametrize(
    ("name", "shape"),
    [("a.conv_offset_mask.weight", (3, 3, 2, 27)), ("a.conv_offset_mask.bias", (27,)), ("a.weight", (3, 3, 2, 4)), ("a.bias", (4,))],
)
def test_there_and_back(name, shape):
    array = np.random.default_rng(0).random(shape)
    np.testing.assert_array_equal(from_official(name, to_official(name, array)), array)


def test_values_reach_the_layer(model):
    name = "bbox_head.deconv_layers.2.0.conv_offset_mask.bias"
    official = np.zeros(27, np.float32)
    official[2 * 4 + 1] = 0.5  # dx of the middle tap
    named_parameters(model)[name].assign(from_official(name, official))
    layer = model.get_layer("bbox_head.deconv_layers.2.0")
    dy, dx, mask = tf.split(layer.offset_mask(tf.zeros([1, 1, 1, 8]))[0, 0, 0], 3)
    assert dx.numpy().tolist() == [0, 0, 0, 0, 0.5, 0, 0, 0, 0]
    assert not np.any(dy)
    assert not np.any(mask)


class _Squeeze(keras.layers.Layer):
    """A layer made of layers, as backbones from elsewhere have them."""

    def __init__(self, name):
        super().__init__(name=name)
        self.spread = keras.layers.DepthwiseConv2D(3, use_bias=False, name="spread")
        self.normal = keras.layers.BatchNormalization(name="normal")

    def call(self, inputs):
        return self.normal(self.spread(inputs))


def test_variables_of_other_layers_are_named_by_their_path():
    inputs = keras.Input([8, 8, 2])
    model = keras.Model(inputs, keras.layers.Dense(3, name="backbone.last")(_Squeeze("backbone.a")(inputs)))
    parameters, buffers = named_parameters(model), named_buffers(model)
    assert {name: tuple(v.shape) for name, v in parameters.items()} == {
        "backbone.a.spread.weight": (3, 3, 2, 1),
        "backbone.a.normal.weight": (2,),
        "backbone.a.normal.bias": (2,),
        "backbone.last.weight": (2, 3),
        "backbone.last.bias": (3,),
    }
    assert list(buffers) == ["backbone.a.normal.running_mean", "backbone.a.normal.running_var"]
    model.get_layer("backbone.a").trainable = False
    assert list(named_parameters(model, trainable_only=True)) == ["backbone.last.weight", "backbone.last.bias"]
    assert list(named_buffers(model)) == list(buffers)
