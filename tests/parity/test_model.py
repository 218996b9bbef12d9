"""The whole network against the official one, map by map, so that the first red tensor names the stage."""

import golden
import golden_weights
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.deform_conv import SAMPLERS
from ttfnet_tf.model import MEAN, STD, build_model
from ttfnet_tf.parameters import to_official

pytestmark = pytest.mark.parity

NUM_CLASSES = 80
MODELS = {
    "r18": {"backbone": "resnet18", "box_head": (64, 1)},
    "r34": {"backbone": "resnet34", "box_head": (64, 2)},
}
LAST_BLOCKS = {"r18": (1, 1, 1, 1), "r34": (2, 3, 5, 2)}
TOLERANCE = 1e-3  # of the largest value of each map


def _layers_of(model):
    """Name of the reference's tensor -> name of the layer whose output it is."""
    names = {f"c{i + 2}": f"backbone.layer{i + 1}.{last}" for i, last in enumerate(LAST_BLOCKS[model])}
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
        if case["model"] not in MODELS:
            pytest.skip(f"the backbone of {case['model']} is not built yet")
        key = (case["model"], sampler)
        if key not in models:
            model = build_model(NUM_CLASSES, sampler=sampler, **MODELS[case["model"]])
            golden_weights.fill(model)
            maps = {name: model.get_layer(layer).output for name, layer in _layers_of(case["model"]).items()}
            deformable = [model.get_layer(f"bbox_head.deconv_layers.{i}.0") for i in range(3)]
            maps.update({f"input{i}": layer.input for i, layer in enumerate(deformable)})
            models[key] = tf.keras.Model(model.input, maps), deformable
        if (case["case"], sampler) not in outputs:
            maps, deformable = models[key]
            computed = {name: value.numpy() for name, value in maps(_image(case)).items()}
            for i, layer in enumerate(deformable):
                raw = layer.offset_mask(computed.pop(f"input{i}")).numpy()
                # `to_official` puts our 9 dy, 9 dx, 9 masks into the recorded order; it does so on the last axis of a bias.
                computed[f"offset_mask_raw{i}"] = to_official("conv_offset_mask.bias", raw.reshape(-1, 27)).reshape(raw.shape)
            outputs[case["case"], sampler] = computed
        return outputs[case["case"], sampler]

    return compute


def _compare(case, name, value):
    expected = case["tensors"][name]
    assert list(value.shape) == expected["shape_nhwc"]
    sampled = value.reshape(-1)[golden_weights.sample_index(f"{case['case']}/{name}", value.size)]
    recorded = golden.load("model")[1][f"{case['case']}/{name}/val64"]
    np.testing.assert_allclose(sampled, recorded, rtol=0, atol=TOLERANCE * expected["absmax"])


@pytest.mark.parametrize(
    ("case", "name"),
    [pytest.param(case.values[0], name, id=f"{case.id}-{name}") for case in golden.cases("model") for name in case.values[0]["tensors"]],
)
def test_map(case, name, tensors):
    _compare(case, name, tensors(case, SAMPLERS[0])[name])


@pytest.mark.parametrize("name", ["hm", "wh"])
@pytest.mark.parametrize("case", golden.cases("model"))
def test_outputs_with_the_other_sampler(case, name, tensors):
    _compare(case, name, tensors(case, SAMPLERS[1])[name])
