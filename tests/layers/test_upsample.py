import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.layers.upsample import UpsampleBilinear2x


def _slow(x):
    """Rows, then columns, read at p (n - 1) / (2 n - 1)."""
    for axis in (1, 2):
        length = x.shape[axis]
        places = np.arange(2 * length) * (length - 1) / (2 * length - 1)
        x = np.apply_along_axis(lambda values, places=places: np.interp(places, np.arange(len(values)), values), axis, x)
    return x


def test_two_cells_by_hand():
    out = UpsampleBilinear2x()(tf.constant([0.0, 3.0], shape=[1, 1, 2, 1]))
    np.testing.assert_allclose(out[0, :, :, 0], [[0, 1, 2, 3], [0, 1, 2, 3]], atol=1e-6)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 4), (7, 3)])
def test_equals_interpolation_along_each_axis(size):
    x = np.random.default_rng(0).standard_normal((2, *size, 3)).astype(np.float32)
    np.testing.assert_allclose(UpsampleBilinear2x()(x), _slow(x), atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 4), (7, 3)])
def test_gradient_is_the_adjoint(size):
    # The map is linear, so <upsample(x), g> = <x, gradient(g)> for every x and g.
    random = np.random.default_rng(0)
    x = tf.constant(random.standard_normal((2, *size, 3)), tf.float32)
    grad = random.standard_normal((2, 2 * size[0], 2 * size[1], 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = UpsampleBilinear2x()(x)
    gradient = tape.gradient(out, x, grad)
    for _ in range(5):
        probe = random.standard_normal(x.shape)
        np.testing.assert_allclose((_slow(probe) * grad).sum(), (probe * gradient.numpy()).sum(), rtol=1e-4, atol=1e-4)


def test_shapes_known_and_unknown():
    layer = UpsampleBilinear2x()
    assert layer(keras.Input([4, 6, 3])).shape.as_list() == [None, 8, 12, 3]
    assert layer(keras.Input([None, 6, 3])).shape.as_list() == [None, None, 12, 3]
    assert layer.compute_output_shape([None, None, 6, 3]).as_list() == [None, None, 12, 3]


def test_type_of_the_input_is_kept():
    layer = UpsampleBilinear2x(dtype="mixed_float16")
    x = tf.ones([1, 2, 2, 1], tf.float16)
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = layer(x)
    assert out.dtype == tf.float16
    assert tape.gradient(out, x).dtype == tf.float16
