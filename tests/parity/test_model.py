"""The whole network against the official one, map by map, so that the first red tensor names the stage."""

import contextlib
import hashlib

import golden
import golden_weights
import numpy as np
import pytest
import systems
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.layers.deform_conv import SAMPLERS
from ttfnet_tf.models.normalization import MEAN, STD
from ttfnet_tf.models.parameters import to_official

pytestmark = pytest.mark.parity

# The layers whose outputs are c2, c3, c4 and c5.
LAST_BLOCKS = {
    "r18": ("layer1.1", "layer2.1", "layer3.1", "layer4.1"),
    "r34": ("layer1.2", "layer2.3", "layer3.5", "layer4.2"),
    "d53": ("layer2.2", "layer3.8", "layer4.8", "layer5.4"),
}
CASES = [
    pytest.param(*case.values, id=case.id, marks=[pytest.mark.slow] * (case.values[0]["model"] == "d53")) for case in golden.cases("model")
]
TOLERANCE = 1e-3  # of the largest value of each map


def _layers_of(model):
    """Name of the reference's tensor -> name of the layer whose output it is."""
    names = {f"c{i}": f"backbone.{last}" for i, last in enumerate(LAST_BLOCKS[model], start=2)}
    for i, convolutions in enumerate((1, 2, 3)):
        names[f"dcn{i}"] = f"bbox_head.deconv_layers.{i}.0"
        names[f"up{i}"] = f"bbox_head.deconv_layers.{i}.3"
        names[f"shortcut{i}"] = f"bbox_head.shortcut_layers.{i}.layers.{2 * convolutions - 2}"
        names[f"sum{i}"] = f"bbox_head.sum.{i}"
    return {**names, "hm": "heatmap", "wh": "box"}


def _image(case):
    """The recorded input is normalised; the model takes pixels."""
    normalised = golden_weights.gen_input(case["case"], case["batch"], case["input_h"], case["input_w"])
    return tf.constant((normalised * np.array(STD) + np.array(MEAN)).astype(np.float32))


@pytest.fixture(scope="module")
def tensors():
    """tensors(case, sampler) -> every named map of the reference, computed by ours."""
    models, outputs = {}, {}

    def compute(case, sampler):
        name = case["model"]
        if name not in models:
            model = stack.enter_context(systems.borrowed(name))
            golden_weights.fill(model)
            maps = {tensor: model.get_layer(layer).output for tensor, layer in _layers_of(name).items()}
            deformable = [model.get_layer(f"bbox_head.deconv_layers.{i}.0") for i in range(3)]
            for layer in deformable:
                stack.callback(setattr, layer, "sampler", layer.sampler)
            maps.update({f"input{i}": layer.input for i, layer in enumerate(deformable)})
            models[name] = keras.Model(model.input, maps), deformable
        if (case["case"], sampler) not in outputs:
            maps, deformable = models[name]
            for layer in deformable:
                layer.sampler = sampler
            computed = {tensor: value.numpy() for tensor, value in maps(_image(case)).items()}
            for i, layer in enumerate(deformable):
                raw = layer.offset_mask(computed.pop(f"input{i}")).numpy()
                # `to_official` puts our 9 dy, 9 dx, 9 masks into the recorded order; it does so on the last axis of a bias.
                computed[f"offset_mask_raw{i}"] = to_official("conv_offset_mask.bias", raw.reshape(-1, 27)).reshape(raw.shape)
            outputs[case["case"], sampler] = computed
        return outputs[case["case"], sampler]

    with contextlib.ExitStack() as stack:
        yield compute


def _compare(case, name, value):
    expected = case["tensors"][name]
    assert list(value.shape) == expected["shape_nhwc"]
    sampled = value.reshape(-1)[golden_weights.sample_index(f"{case['case']}/{name}", value.size)]
    recorded = golden.load("model")[1][f"{case['case']}/{name}/val64"]
    np.testing.assert_allclose(sampled, recorded, rtol=0, atol=TOLERANCE * expected["absmax"])


@pytest.mark.parametrize(
    ("case", "name"),
    [pytest.param(case.values[0], name, id=f"{case.id}-{name}", marks=case.marks) for case in CASES for name in case.values[0]["tensors"]],
)
def test_map(case, name, tensors):
    _compare(case, name, tensors(case, SAMPLERS[0])[name])


@pytest.mark.parametrize("name", ["hm", "wh"])
@pytest.mark.parametrize("case", CASES)
def test_outputs_with_the_other_sampler(case, name, tensors):
    _compare(case, name, tensors(case, SAMPLERS[1])[name])


@pytest.mark.parametrize(
    "model", [pytest.param(name, marks=[pytest.mark.slow] * (name != "r18")) for name in golden_weights.table("state_dicts.json")]
)
def test_generated_weights_are_the_recorded_ones(model):
    recorded = golden_weights.table("state_dicts.json")[model]
    digest = hashlib.sha256()
    for entry in recorded["state_dict"]:
        digest.update(golden_weights.gen_tensor(entry["name"], entry["shape"]).tobytes())
    assert digest.hexdigest() == recorded["gen_weights_sha256"]
