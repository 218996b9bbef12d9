"""One whole training step (batch statistics, targets, losses, gradients, clipping, update) against the official one."""

import re

import golden
import golden_weights
import networks
import numpy as np
import pytest
import systems
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.methods.ttfnet import ttfnet
from ttfnet_tf.models import parameters
from ttfnet_tf.models.normalization import MEAN, STD
from ttfnet_tf.models.parameters import named_parameters
from ttfnet_tf.training.sgd import ReferenceSGD, parameter_rule
from ttfnet_tf.training.state import TrainState
from ttfnet_tf.training.step import build_train_function, clip_scale

pytestmark = pytest.mark.parity

CASES = golden.cases("trainstep")
# A bias in front of a normalisation with batch statistics has the gradient 0; what both sides compute is rounding (docs/deviations.md).
NO_GRADIENT = re.compile(r"deconv_layers\.\d\.0\.bias$")
TOLERANCE = 1e-3  # of each gradient's length
TOLERANCE_OF_FLOAT64 = 1e-4  # sampling places are float32 there; measured: 2e-6


# The 53 layers of Darknet take 20 seconds: `make parity` and `make integration` have them.
PARAMETERS = [pytest.param(case.values[0], id=case.id, marks=[pytest.mark.slow] * (case.values[0]["model"] == "d53")) for case in CASES]


@pytest.fixture(scope="module", params=PARAMETERS)
def step(request):
    """The case, its arrays, and metrics, gradients, sides of rectifiers, parameters and statistics of one step of ours."""
    with systems.borrowed(request.param["model"]) as model:
        yield _one_step(request.param, model)


def _one_step(case, model):
    arrays = golden.arrays_of("trainstep", case)
    size = (case["input_h"], case["input_w"])
    batch = _batch(case, arrays, size)
    golden_weights.fill(model)
    sides = _sides(model, batch["image"]) if _float32_decides_there(arrays) else None
    golden_weights.fill(model)  # looking at the sides moves the statistics
    named = named_parameters(model, trainable_only=True)
    before = {name: variable.numpy() for name, variable in named.items()}
    optimizer = ReferenceSGD(named)
    train = build_train_function(
        tf.distribute.get_strategy(),
        TrainState(model, named, optimizer),
        ttfnet(image_size=size, num_classes=systems.NUM_CLASSES),
    )
    if case["model"] == "d53" and golden.folder("trainstep") == golden.SUBSET:  # its 53 layers take seconds to trace
        train = train.__wrapped__
    history = train(iter(tf.data.Dataset.from_tensors(batch)), tf.constant([case["lr"]]), tf.constant(0, tf.int64))
    metrics = {name: float(values[0]) for name, values in history.items()}
    # v = clip * g + weight_decay * p after the first step, so the buffers tell the gradients before clipping.
    clip = float(clip_scale(tf.constant(metrics["gradient_norm"]), 35.0))
    gradients = {
        name: (buffer.numpy().astype(np.float64) - rule[1] * before[name]) / clip
        for name, buffer, rule in zip(named, optimizer.buffers.values(), optimizer.rules)
    }
    return case, arrays, metrics, gradients, sides, parameters.named_parameters(model), parameters.named_buffers(model)


def _batch(case, arrays, size):
    image = _stored_images(case) * np.array(STD) + np.array(MEAN)
    most = max(case["n_boxes"])
    boxes = np.zeros([case["batch"], most, 4], np.float32)
    labels = np.full([case["batch"], most], -1, np.int32)
    for row, count in enumerate(case["n_boxes"]):
        boxes[row, :count] = arrays[f"boxes{row}"]
        labels[row, :count] = arrays[f"labels{row}"] - 1  # the reference counts from 1
    return {"image": image.astype(np.float32), "boxes": boxes, "labels": labels}


def _float64_network(case):
    """The same network in float64; sampling places, targets and losses stay float32.

    It takes the stored images, which are normalised already: put into 0..255 and back in float32 they would move rectifiers.
    """
    keras.mixed_precision.set_global_policy("float64")
    try:
        model = networks.build(systems.NUM_CLASSES, **systems.SYSTEMS[case["model"]])
    finally:
        keras.mixed_precision.set_global_policy("float32")
    golden_weights.fill(model)
    normalization = model.get_layer("normalization")
    normalization.scale, normalization.offset = 1.0, 0.0
    return model


def _gradients_of_float64(case, arrays, model):
    size = (case["input_h"], case["input_w"])
    named = named_parameters(model, trainable_only=True)
    batch = _batch(case, arrays, size)
    method = ttfnet(image_size=size, num_classes=systems.NUM_CLASSES)
    with tf.GradientTape() as tape:
        outputs = model(_stored_images(case), training=True)
        loss = method.losses(outputs, method.render(tf.constant(batch["boxes"]), tf.constant(batch["labels"])))["loss"]
    return {name: gradient.numpy() for name, gradient in zip(named, tape.gradient(loss, list(named.values())))}


def _stored_images(case):
    return golden_weights.gen_input("train:" + case["case"], case["batch"], case["input_h"], case["input_w"])


def _sides(model, images):
    """Which inputs of the rectifiers are positive, layer by layer."""
    rectifiers = [layer for layer in model.layers if isinstance(layer, (keras.layers.ReLU, keras.layers.LeakyReLU))]
    inputs = keras.Model(model.input, [layer.input for layer in rectifiers])
    return [value.numpy() > 0 for value in inputs(images, training=True)]


def _float32_decides(case, sides, model64):
    """Whether float32 computes the same piece of the network as float64, on this processor and on the reference's.

    A rectifier has another slope on each side of 0. Among millions of values some lie within rounding of it, and one that changes
    sides changes the gradients of every layer before it. For ours the values are counted; the reference stored gradients only.
    """
    if sides is None:
        return False
    return all((ours == exact).all() for ours, exact in zip(sides, _sides(model64, _stored_images(case))))


def _float32_decides_there(arrays):
    names = [key.partition("/")[2] for key in arrays if key.startswith("grad32/") and not NO_GRADIENT.search(key)]
    return all(_relative(arrays[f"grad32/{name}"], arrays[f"grad64/{name}"]) < TOLERANCE for name in names)


def _sample(case, name, array):
    """The stored positions of an array in the reference's layout, 4-D ones as HWIO."""
    flat = np.asarray(array).reshape(-1)
    return flat[golden_weights.sample_index(f"{case['case']}/grad/{name}", flat.size, 32)]


def _reference_layout(name, array):
    official = parameters.to_official(name, np.asarray(array))
    return official.transpose(2, 3, 1, 0) if official.ndim == 4 else official


def _relative(actual, expected):
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("model", golden_weights.table("state_dicts.json"))
def test_rules_of_every_parameter(model):
    for entry in golden_weights.table("state_dicts.json")[model]["state_dict"]:
        if entry["kind"] == "param":
            rule = parameter_rule(entry["name"], weight_decay=4e-4, bias_lr_multiplier=2.0, bias_weight_decay=0.0)
            assert rule == (entry["lr_mult"], entry["weight_decay"]), entry["name"]


def test_losses_and_gradient_norm(step):
    case, arrays, metrics, *_ = step
    np.testing.assert_allclose(metrics["heatmap_loss"], arrays["hm_loss64"], rtol=1e-5)
    np.testing.assert_allclose(metrics["box_loss"], arrays["wh_loss64"], rtol=1e-5)
    np.testing.assert_allclose(metrics["gradient_norm"], case["grad_norm"], rtol=1e-3)


def test_gradients(step):
    case, arrays, _, gradients, sides, *_ = step
    recorded = {key.partition("/")[2] for key in arrays if key.startswith("grad64/")}
    assert recorded == set(gradients)
    model64 = _float64_network(case)
    assert _wrong_gradients(case, arrays, _gradients_of_float64(case, arrays, model64), TOLERANCE_OF_FLOAT64) == {}
    if _float32_decides(case, sides, model64):
        assert _wrong_gradients(case, arrays, gradients, TOLERANCE) == {}


def _wrong_gradients(case, arrays, gradients, tolerance):
    wrong = {}
    for name, gradient in gradients.items():
        gradient = _reference_layout(name, gradient)
        if NO_GRADIENT.search(name):
            if np.linalg.norm(gradient) >= 1e-6 * case["grad_norm"]:
                wrong[name] = np.linalg.norm(gradient)
            continue
        errors = (
            _relative(_sample(case, name, gradient), arrays[f"grad64/{name}"]),
            abs(np.linalg.norm(gradient) / case["grad_norms"][name] - 1),
        )
        if max(errors) > tolerance:
            wrong[name] = errors
    return wrong


def test_parameters_after_the_update(step):
    case, arrays, *_, after, _ = step
    recorded = [key.partition("/")[2] for key in arrays if key.startswith("after64/")]
    assert len(recorded) > 50
    for name in recorded:
        actual = _sample(case, name, _reference_layout(name, after[name]))
        np.testing.assert_allclose(actual, arrays[f"after64/{name}"], rtol=1e-5, atol=1e-5, err_msg=name)


def test_batch_norm_statistics(step):
    case, arrays, *_, buffers = step
    recorded = [key.partition("/")[2] for key in arrays if key.startswith("stat64/")]
    assert len(recorded) > 20
    for name in recorded:
        np.testing.assert_allclose(_sample(case, name, buffers[name]), arrays[f"stat64/{name}"], rtol=1e-4, atol=1e-4, err_msg=name)
