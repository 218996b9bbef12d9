import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.layers import conv2d
from ttfnet_tf.models.precision import precision_policy


def _gradients(function, x, kernel, weights):
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        out = function(x, kernel)
    return out, *tape.gradient(out, [x, kernel], weights)


@pytest.mark.parametrize(("side", "stride", "padding"), [(1, 1, "SAME"), (3, 1, "SAME"), (5, 1, "SAME"), (1, 2, "VALID"), (3, 2, "VALID")])
@pytest.mark.parametrize("sizes_known", [True, False])
def test_values_and_gradients_are_those_of_the_library(side, stride, padding, sizes_known):
    random = np.random.default_rng(0)
    x = tf.constant(random.standard_normal([2, 6, 9, 6]), tf.float32)
    kernel = tf.constant(random.standard_normal([side, side, 6, 5]), tf.float32)
    out = tf.nn.conv2d(x, kernel, stride, padding)
    weights = tf.constant(random.standard_normal(out.shape), tf.float32)
    unknown = [tf.TensorSpec([None, None, None, 6]), tf.TensorSpec(kernel.shape), tf.TensorSpec([None, None, None, 5])]
    own = tf.function(
        lambda *args: _gradients(lambda x, kernel: conv2d.convolve(x, kernel, stride, padding), *args),
        input_signature=None if sizes_known else unknown,
        autograph=False,
    )
    expected = _gradients(lambda x, kernel: tf.nn.conv2d(x, kernel, stride, padding), x, kernel, weights)
    for value, right in zip(own(x, kernel, weights), expected):
        np.testing.assert_allclose(value, right, atol=2e-5)


def test_the_product_is_taken_for_short_rows_in_bfloat16_on_amx_alone(monkeypatch):
    monkeypatch.setattr(conv2d, "_computes_on_amx", lambda: True)

    def taken(width=8, side=3, channels=512, filters=512, stride=1, padding="SAME", dtype=tf.bfloat16):
        return conv2d.has_short_rows(tf.zeros([1, 1, width, 1], dtype), tf.TensorShape([side, side, channels, filters]), stride, padding)

    assert taken()
    assert taken(width=14)
    assert not taken(width=15)
    assert not taken(dtype=tf.float32)
    assert not taken(side=1)  # TensorFlow computes it as a product by itself
    assert not taken(channels=128, filters=256)
    assert not taken(padding="VALID")

    def strided(width, side=3):
        return taken(width=width, side=side, channels=128, filters=256, stride=2, padding="VALID")

    assert strided(66)  # 32 cells after it
    assert not strided(67)
    assert strided(64, side=1)
    assert not strided(66, side=1)
    assert not taken(width=66, channels=64, filters=128, stride=2, padding="VALID")
    assert not taken(stride=2)
    assert not taken(stride=4, padding="VALID")
    monkeypatch.setattr(conv2d, "_computes_on_amx", lambda: False)
    assert not taken()


@pytest.mark.parametrize(
    ("unit", "gpus", "amx"), [("amx_bf16", [], True), ("avx512_bf16", [], False), (None, [], False), ("amx_bf16", ["GPU:0"], False)]
)
def test_the_unit_counts_where_no_gpu_computes(monkeypatch, unit, gpus, amx):
    monkeypatch.setattr(conv2d, "bfloat16_unit", lambda: unit)
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: gpus)
    conv2d._computes_on_amx.cache_clear()
    assert conv2d._computes_on_amx() is amx
    conv2d._computes_on_amx.cache_clear()


@pytest.mark.parametrize("amx", [True, False])
def test_a_layer_in_bfloat16_learns_what_it_learns_in_float32(monkeypatch, amx):
    monkeypatch.setattr(conv2d, "_computes_on_amx", lambda: amx)
    calls = []
    own = conv2d.convolve
    monkeypatch.setattr(conv2d, "convolve", lambda *args: (calls.append(1), own(*args))[1])
    random = np.random.default_rng(1)
    image = tf.constant(random.standard_normal([2, 4, 6, 256]), tf.float32)
    weights = tf.constant(random.standard_normal([2, 4, 6, 256]), tf.float32)
    gradients = []
    for precision in ("float32", "mixed_bfloat16"):
        with precision_policy(precision):
            layer = conv2d.Conv2D(256, 3, padding="same", use_bias=False, kernel_initializer=keras.initializers.RandomNormal(seed=2))
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.cast(layer(image), tf.float32) * weights)
        gradients.append(tape.gradient(loss, layer.kernel).numpy())
    assert bool(calls) == amx
    # 48 products a weight, each rounded to 8 bits; the largest gradient is 35.
    np.testing.assert_allclose(gradients[1], gradients[0], atol=0.2)
