"""Every layer and every form of the model passes the same checks; a layer that is missing from the table fails."""

import functools
import importlib
import pkgutil

import networks
import numpy as np
import pytest
import tensorflow as tf

import ttfnet_tf
from ttfnet_tf.keras2 import keras
from ttfnet_tf.layers.batch_norm import SyncBatchNormalization
from ttfnet_tf.layers.conv2d import Conv2D
from ttfnet_tf.layers.deform_conv import SAMPLERS, DeformableConv2D
from ttfnet_tf.layers.initializers import normal
from ttfnet_tf.layers.recovering_relu import RecoveringReLU
from ttfnet_tf.layers.upsample import LearnedUpsample, UpsampleBilinear2x
from ttfnet_tf.models.parameters import named_parameters

LAYERS = {
    "convolution": lambda: Conv2D(5, 3, padding="same", use_bias=False, name="c"),
    "deformable": lambda: DeformableConv2D(5, 5, "gather", use_bias=False, kernel_initializer=normal(0.1, 0, "a"), name="d"),
    "deformable, defaults": lambda: DeformableConv2D(4),
    "upsample": lambda: UpsampleBilinear2x(name="u"),
    "learned upsample": lambda: LearnedUpsample(2, name="l"),
    "recovering ReLU": lambda: RecoveringReLU(name="r"),
    "synchronized": lambda: SyncBatchNormalization(momentum=0.5, epsilon=1e-2, gamma_initializer="zeros", name="s"),
}
MODELS = {
    "crop_and_resize": {},
    "gather": {"sampler": "gather"},
    "plain": {"neck": "plain"},
    "synchronized": {"batch_norm": "synchronized"},
    "resnet34, box per class": {"backbone": "resnet34", "box_per_class": True},
    "darknet53": {"backbone": "darknet53"},
    "dla34": {"backbone": "dla34"},
    "centernet": {"method": "centernet", "upsampling": "transposed", "shortcut": (0, 0, 0)},
}
INPUT = np.random.default_rng(0).standard_normal((2, 6, 7, 3)).astype(np.float32)
IMAGE = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3)).astype(np.uint8)


@functools.cache
def _model(name):
    """The small model of that form, away from its start, where zeros would hide gradients; built once, and left as it was found."""
    small = {"width": 8, "neck_channels": (16, 8, 8), "heatmap_head": (8, 2), "box_head": (8, 1), "zero_init_residual": False}
    model = networks.build(2, **{**small, **MODELS[name]})
    random = np.random.default_rng(2)
    for name, variable in named_parameters(model).items():
        scale = 0.05 if "conv_offset_mask" in name else 0.3 / np.sqrt(np.prod(variable.shape[:-1])) if variable.shape.rank == 4 else 0.2
        centre = 1.0 if name.endswith("weight") and variable.shape.rank == 1 else 0.1
        variable.assign((centre if variable.shape.rank == 1 else 0.0) + scale * random.standard_normal(variable.shape))
    return model


def test_every_layer_of_the_package_is_in_the_table():
    others = ("cli", "integrations", "tune")  # the latter two import packages that need not be there
    names = [module.name for module in pkgutil.walk_packages(ttfnet_tf.__path__, "ttfnet_tf.") if module.name.split(".")[1] not in others]
    modules = [importlib.import_module(name) for name in names]
    classes = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, keras.layers.Layer) and value.__module__ == module.__name__
    }
    assert classes == {type(build()) for build in LAYERS.values()}


@pytest.mark.parametrize("name", LAYERS)
def test_configuration_round_trip(name):
    layer = LAYERS[name]()
    layer(INPUT)
    twin = type(layer).from_config(layer.get_config())
    assert twin.get_config() == layer.get_config()
    for key in layer.get_config():
        if key not in ("dtype", "trainable") and not key.endswith("initializer"):
            assert getattr(twin, key) == getattr(layer, key), key
    twin(INPUT)
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(twin(INPUT), layer(INPUT))


@pytest.mark.parametrize("name", LAYERS)
def test_output_shape_is_computed(name):
    layer = LAYERS[name]()
    assert tuple(layer.compute_output_shape(tf.TensorShape(INPUT.shape))) == tuple(layer(INPUT).shape)


@pytest.mark.parametrize("name", LAYERS)
def test_half_precision_in_half_precision_out(name):
    policy = keras.mixed_precision.Policy("mixed_float16")
    layer = type(LAYERS[name]()).from_config({**LAYERS[name]().get_config(), "dtype": "mixed_float16"})
    assert layer.dtype_policy.name == policy.name
    x = tf.constant(INPUT, tf.float16)
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = layer(x, training=True) if isinstance(layer, SyncBatchNormalization) else layer(x)
    assert out.dtype == tape.gradient(out, x).dtype == tf.float16
    assert all(variable.dtype == tf.float32 for variable in layer.variables)


@pytest.fixture(scope="module")
def gradients():
    """Of a smooth sum of both outputs in inference mode, by the name of the model's form."""
    cache = {}

    def compute(name):
        if name not in cache:
            model = _model(name)
            variables = named_parameters(model, trainable_only=True)
            with tf.GradientTape() as tape:
                outputs = model(IMAGE, training=False)
                loss = sum(tf.reduce_mean(tf.square(value)) for value in outputs.values())
            cache[name] = outputs, dict(zip(variables, tape.gradient(loss, list(variables.values()))))
        return cache[name]

    return compute


# Gradients of other backbones are also checked in models/test_dla.py and parity/test_trainstep.py.
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "crop_and_resize")) for name in MODELS])
def test_gradients_reach_every_trainable_parameter(name, gradients):
    for parameter, gradient in gradients(name)[1].items():
        assert gradient is not None, parameter
        assert np.all(np.isfinite(gradient)), parameter
        assert np.any(gradient != 0.0), parameter


def test_both_samplers_give_equal_outputs_and_gradients(gradients):
    (outputs, expected), (other, actual) = (gradients(sampler) for sampler in SAMPLERS)
    for name, value in outputs.items():
        np.testing.assert_allclose(other[name], value, atol=1e-4 * np.abs(value).max())
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=0, atol=1e-4 * np.abs(value).max(), err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["crop_and_resize", "synchronized"])
def test_saved_model_round_trip(name, tmp_path):
    model, module = _model(name), tf.Module()
    module.held = model.variables  # not the model: saving a Keras object traces every layer twice more
    signature = [tf.TensorSpec([None, None, None, 3], tf.uint8, name="image")]
    module.detect = tf.function(lambda image: model(image, training=False), input_signature=signature, autograph=False)
    tf.saved_model.save(module, str(tmp_path), options=tf.saved_model.SaveOptions(experimental_custom_gradients=False))
    loaded = tf.saved_model.load(str(tmp_path))
    outputs = loaded.detect(IMAGE)
    for key, value in model(IMAGE).items():
        np.testing.assert_allclose(outputs[key], value, atol=1e-4)


def test_weights_round_trip(tmp_path):
    # Both forms have the same variables, and the same values in them: the second is again as it was when everything has been read.
    model, other = (_model(sampler) for sampler in SAMPLERS)
    values = other.get_weights()
    try:
        other.set_weights([value + 1.0 for value in values])
        tf.train.Checkpoint(model=model).write(str(tmp_path / "weights"))
        tf.train.Checkpoint(model=other).read(str(tmp_path / "weights")).assert_consumed()
        for a, b in zip(model.get_weights(), other.get_weights()):
            np.testing.assert_array_equal(a, b)
    finally:
        other.set_weights(values)


def test_a_row_does_not_depend_on_its_batch():
    model = _model("crop_and_resize")
    both, first = model(IMAGE), model(IMAGE[:1])
    for key, value in first.items():
        np.testing.assert_allclose(both[key][:1], value, atol=1e-5)
