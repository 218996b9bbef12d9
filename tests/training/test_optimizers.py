"""Optimizers with rules: groups, learning rates from outside, weight decay, against formulas in NumPy and tensorflow-addons."""

import warnings

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.training import optimizers
from ttfnet_tf.training.optimizers import NAMES, RuleGroups

RATES = (0.1, 0.05, 0.05)
START = {"conv.weight": [1.0, -2.0], "conv.bias": [0.5], "bn1.bias": [0.25]}
GRADIENTS = [{name: np.array(value) * k + 0.1 for name, value in START.items()} for k in (1.0, -0.5, 2.0)]


def _run(name, scale=1.0, **settings):
    parameters = {key: tf.Variable(value, dtype=tf.float32) for key, value in START.items()}
    optimizer = RuleGroups(parameters, name, **settings)

    @tf.function(autograph=False)
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


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("lamb", "radam"))) for name in NAMES])
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


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_from_before_the_first_step_undoes_later_steps(name, tmp_path):
    """`train.minutes` times some steps and puts everything back; a loss that explodes may go back to step 0."""
    once = _Twelve(name)
    state = tf.train.Checkpoint(optimizer=once.optimizer, parameters=list(once.parameters.values()))
    path = state.write(str(tmp_path / "step-0"))
    first = once.run(0, 3)
    state.read(path).assert_existing_objects_matched().assert_consumed()
    again = once.run(0, 3)
    for key, value in first.items():
        np.testing.assert_array_equal(again[key], value)


@pytest.fixture
def addons():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about its end of life
        return pytest.importorskip("tensorflow_addons", reason="works with TensorFlow 2.15 only", exc_type=ImportError).optimizers


def _of_addons(addons, name, momentum, weight_decay, rate):
    """What `optimizers._make` returned before the package had its own classes."""
    if name == "sgdw":
        return addons.SGDW(lambda: rate * weight_decay, lambda: rate, momentum=momentum)
    if name == "adamw":
        return addons.AdamW(lambda: rate * weight_decay, lambda: rate, beta_1=momentum, epsilon=1e-8)
    others = {"lamb": addons.LAMB, "novograd": addons.NovoGrad, "radam": addons.RectifiedAdam}
    return others[name](lambda: rate, beta_1=momentum, weight_decay=weight_decay)


SHAPES = {"conv.weight": (3, 3, 4, 8), "conv.bias": (8,), "bn1.weight": (8,)}


class _Twelve:
    """Parameters of two groups and the gradients of twelve steps."""

    def __init__(self, name):
        rng = np.random.default_rng(3)
        self.parameters = {key: tf.Variable(rng.normal(size=shape), dtype=tf.float32) for key, shape in SHAPES.items()}
        self.gradients = [[rng.normal(size=shape).astype(np.float32) for shape in SHAPES.values()] for _ in range(12)]
        self.optimizer = RuleGroups(self.parameters, name, weight_decay=0.01, bias_lr_multiplier=2.0)
        self.update = tf.function(lambda gradients, lr: self.optimizer.update(gradients, lr, tf.constant(1.0)), autograph=False)

    def run(self, first=0, last=12):
        for step in range(first, last):
            self.update([tf.constant(g) for g in self.gradients[step]], tf.constant(0.02 / (1 + step)))
        return {key: parameter.numpy() for key, parameter in self.parameters.items()}


OURS = [name for name in NAMES if name != "adam"]
TOLERANCE = {"adamw": 0.0, "sgdw": 0.0, "novograd": 0.0, "lamb": 5e-7, "radam": 5e-7}


@pytest.mark.slow
@pytest.mark.parametrize("name", OURS)
def test_twelve_steps_are_those_of_tensorflow_addons(name, addons, monkeypatch):
    found = _Twelve(name).run()
    monkeypatch.setattr(optimizers, "_make", lambda *arguments: _of_addons(addons, *arguments))
    expected = _Twelve(name).run()
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=TOLERANCE[name], err_msg=key)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("lamb", "radam"))) for name in OURS])
def test_a_checkpoint_of_tensorflow_addons_is_resumed(name, addons, monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setattr(optimizers, "_make", lambda *arguments: _of_addons(addons, *arguments))
        theirs = _Twelve(name)
        theirs.run(last=5)
        path = tf.train.Checkpoint(optimizer=theirs.optimizer, model=theirs.parameters).write(str(tmp_path / "state"))
        expected = theirs.run(first=5)
    ours = _Twelve(name)
    tf.train.Checkpoint(optimizer=ours.optimizer, model=ours.parameters).read(path).assert_existing_objects_matched().expect_partial()
    found = ours.run(first=5)
    for key in expected:
        np.testing.assert_allclose(found[key], expected[key], rtol=0, atol=TOLERANCE[name], err_msg=key)


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ("lamb", "radam"))) for name in NAMES])
def test_a_run_is_resumed_before_its_first_update(name, tmp_path):
    """A new process restores before the slots exist."""
    straight = _Twelve(name)
    straight.run(last=5)
    path = tf.train.Checkpoint(optimizer=straight.optimizer, model=straight.parameters).write(str(tmp_path / "state"))
    expected = straight.run(first=5)
    resumed = _Twelve(name)
    tf.train.Checkpoint(optimizer=resumed.optimizer, model=resumed.parameters).read(path).assert_existing_objects_matched()
    found = resumed.run(first=5)
    for key in expected:
        np.testing.assert_array_equal(found[key], expected[key], err_msg=key)


def test_wrong_calls_are_refused():
    with pytest.raises(ValueError, match=r"name must be one of adam, .*, received 'sgd'"):
        RuleGroups({}, "sgd")
