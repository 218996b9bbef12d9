"""Optimizers of the libraries: groups by rule, learning rates from outside, weight decay, against formulas in NumPy."""

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.training.optimizers import NAMES, RuleGroups

RATES = (0.1, 0.05, 0.05)
START = {"conv.weight": [1.0, -2.0], "conv.bias": [0.5], "bn1.bias": [0.25]}
GRADIENTS = [{name: np.array(value) * k + 0.1 for name, value in START.items()} for k in (1.0, -0.5, 2.0)]


def _run(name, scale=1.0, **settings):
    parameters = {key: tf.Variable(value, dtype=tf.float32) for key, value in START.items()}
    optimizer = RuleGroups(parameters, name, **settings)

    @tf.function
    def update(gradients, lr):
        optimizer.update(gradients, lr, tf.constant(scale))

    for gradients, lr in zip(GRADIENTS, RATES):
        update([tf.constant(gradients[key], tf.float32) for key in START], tf.constant(lr))
    return {key: parameter.numpy() for key, parameter in parameters.items()}, optimizer


def _adam(name, lr_multiplier, decay, scale=1.0, decoupled=False):
    """Kingma & Ba, algorithm 1; decay added to the gradient, or taken from the parameter (Loshchilov & Hutter)."""
    p = np.array(START[name])
    m = v = np.zeros_like(p)
    for t, (gradients, lr) in enumerate(zip(GRADIENTS, RATES), start=1):
        lr = lr * lr_multiplier
        g = gradients[name] * scale + (0 if decoupled else decay * p)
        p = p - (lr * decay * p if decoupled else 0)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        p = p - lr * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    return p


@pytest.mark.parametrize(("name", "decoupled"), [("adam", False), ("adamw", True)])
def test_adam_and_its_rules(name, decoupled):
    settings = {"weight_decay": 0.1, "bias_lr_multiplier": 2.0, "bias_weight_decay": 0.01}
    found, optimizer = _run(name, scale=0.5, **settings)
    rules = {"conv.weight": (1.0, 0.1), "conv.bias": (2.0, 0.01), "bn1.bias": (1.0, 0.1)}  # a named normalisation is no bias
    assert len(optimizer.groups) == 2
    for key, (multiplier, decay) in rules.items():
        np.testing.assert_allclose(found[key], _adam(key, multiplier, decay, 0.5, decoupled), rtol=1e-5)


def test_sgdw_takes_decay_in_proportion_to_the_learning_rate():
    found, _ = _run("sgdw", weight_decay=0.1, bias_weight_decay=0.1)
    p, v = np.array(START["conv.weight"]), 0.0
    for gradients, lr in zip(GRADIENTS, RATES):
        p = p - lr * 0.1 * p
        v = 0.9 * v - lr * gradients["conv.weight"]
        p = p + v
    np.testing.assert_allclose(found["conv.weight"], p, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_each_moves_every_parameter_and_keeps_its_state_in_a_checkpoint(name, tmp_path):
    found, optimizer = _run(name)
    assert all((found[key] != np.float32(START[key])).all() for key in START)
    path = tf.train.Checkpoint(optimizer=optimizer).write(str(tmp_path / "state"))
    _, other = _run(name, scale=3.0)
    slots = [[v.numpy() for v in group.optimizer.variables()] for group in optimizer.groups]
    tf.train.Checkpoint(optimizer=other).read(path).assert_consumed()
    for group, expected in zip(other.groups, slots):
        assert len(expected) > 1
        for variable, value in zip(group.optimizer.variables(), expected):
            np.testing.assert_array_equal(variable, value)


def test_wrong_calls_are_refused():
    with pytest.raises(ValueError, match=r"name must be one of adam, .*, received 'sgd'"):
        RuleGroups({}, "sgd")
