import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.layers.batch_norm import SyncBatchNormalization, batch_norm

BOTH = pytest.mark.parametrize("synchronized", [False, True], ids=["local", "synchronized"])


@BOTH
def test_one_channel_by_hand(synchronized):
    # Batch 1, 2, 3, 6: mean 3, sum of squares 14, so variance 3.5 with n and 14/3 with n - 1. PyTorch normalises with the first
    # and remembers the second, with a weight of 0.1.
    layer = batch_norm("bn", synchronized=synchronized)
    out = layer(tf.constant([1.0, 2.0, 3.0, 6.0], shape=[1, 2, 2, 1]), training=True)
    np.testing.assert_allclose(tf.reshape(out, [-1]), np.array([-2, -1, 0, 3]) / np.sqrt(3.5 + 1e-5), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(layer.moving_mean, [0.3], rtol=1e-5)
    np.testing.assert_allclose(layer.moving_variance, [0.9 + 0.1 * 14 / 3], rtol=1e-5)


@BOTH
def test_inference_uses_the_running_statistics(synchronized):
    layer = batch_norm("bn", synchronized=synchronized)
    layer.build([None, 2, 2, 1])
    layer.moving_mean.assign([1.0])
    layer.moving_variance.assign([4.0])
    layer.gamma.assign([3.0])
    layer.beta.assign([0.5])
    out = layer(tf.fill([1, 2, 2, 1], 5.0), training=False)
    np.testing.assert_allclose(out, np.full([1, 2, 2, 1], (5 - 1) / np.sqrt(4 + 1e-5) * 3 + 0.5), rtol=1e-6)
    assert layer.moving_mean == [1.0]


@BOTH
def test_a_frozen_layer_keeps_its_statistics_in_training(synchronized):
    layer = batch_norm("bn", synchronized=synchronized)
    layer.build([None, 2, 2, 1])
    layer.trainable = False
    out = layer(tf.fill([1, 2, 2, 1], 5.0), training=True)
    np.testing.assert_allclose(out, np.full([1, 2, 2, 1], 5 / np.sqrt(1 + 1e-5)), rtol=1e-6)
    assert layer.moving_mean == [0.0]


def test_scale_starts_at_its_initial_value():
    for synchronized in (False, True):
        layer = batch_norm("bn", synchronized=synchronized, gamma_initializer="zeros")
        layer.build([None, 2, 2, 3])
        assert np.all(layer.gamma == 0.0)


def test_without_replicas_both_kinds_are_equal():
    random = np.random.default_rng(0)
    x = tf.constant(40.0 + 3.0 * random.standard_normal((4, 5, 6, 7)), tf.float32)  # far from 0, where squares lose digits
    weights = random.standard_normal(x.shape).astype(np.float32)
    results = []
    for synchronized in (False, True):
        layer = batch_norm("bn", synchronized=synchronized)
        layer.build(x.shape)
        layer.gamma.assign(random.uniform(0.5, 1.5, 7) if not results else results[0]["gamma"])
        for _ in range(2):  # the second time the running statistics are not at their start
            with tf.GradientTape() as tape:
                tape.watch(x)
                out = layer(x, training=True)
        gradients = tape.gradient(out, [x, layer.gamma, layer.beta], weights)
        names = ("out", "gamma", "mean", "variance", "dx", "dgamma", "dbeta")
        values = (out, layer.gamma, layer.moving_mean, layer.moving_variance, *gradients)
        results.append(dict(zip(names, (value.numpy() for value in values))))
    for name, expected in results[0].items():
        np.testing.assert_allclose(results[1][name], expected, rtol=1e-3, atol=1e-3, err_msg=name)


def test_call_without_training_flag_infers():
    layer = SyncBatchNormalization()
    np.testing.assert_allclose(layer(tf.ones([2, 1])), np.full([2, 1], 1 / np.sqrt(1 + 1e-5)), rtol=1e-6)


TWO_REPLICAS = """
import numpy as np, tensorflow as tf
from ttfnet_tf.layers.batch_norm import SyncBatchNormalization
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
x = np.random.default_rng(0).standard_normal((4, 3, 2, 5)).astype(np.float32)
weights = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)

def run(layer, x, weights):
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = layer(x, training=True)
    return out, tape.gradient(out, x, weights)

alone = SyncBatchNormalization()
expected = run(alone, tf.constant(x), tf.constant(weights))
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
with strategy.scope():
    layer = SyncBatchNormalization()
    layer.build([None, 3, 2, 5])
def rows(array):
    return strategy.experimental_distribute_values_from_function(
        lambda c: tf.constant(array[2 * c.replica_id_in_sync_group:][:2]))
step = tf.function(lambda x, weights: strategy.run(run, (layer, x, weights)), autograph=False)
for actual, whole in zip(step(rows(x), rows(weights)), expected):
    np.testing.assert_allclose(np.concatenate(strategy.experimental_local_results(actual)), whole, atol=1e-5)
np.testing.assert_allclose(layer.moving_mean, alone.moving_mean, atol=1e-6)
np.testing.assert_allclose(layer.moving_variance, alone.moving_variance, atol=1e-6)
"""


@pytest.mark.slow
def test_two_replicas_normalise_as_one(root):
    # A process of its own: logical devices must be set before TensorFlow starts.
    done = subprocess.run([sys.executable, "-c", TWO_REPLICAS], cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
