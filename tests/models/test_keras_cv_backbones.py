"""Nothing here may touch the network: opening a socket raises."""

import os
import re
import socket
import sys
import time
from importlib.util import find_spec

import networks
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.config import config_of
from ttfnet_tf.errors import UserError
from ttfnet_tf.keras2 import keras
from ttfnet_tf.layers.batch_norm import MOMENTUM
from ttfnet_tf.methods.targets_tf import render_targets
from ttfnet_tf.methods.ttfnet import ttfnet_losses
from ttfnet_tf.models.backbones import BACKBONES, build_backbone
from ttfnet_tf.models.backbones import keras_cv as module
from ttfnet_tf.models.backbones.keras_cv import load_preset
from ttfnet_tf.models.detector import freeze
from ttfnet_tf.models.parameters import named_buffers, named_parameters
from ttfnet_tf.runs.moving_average import MovingAverage
from ttfnet_tf.training.sgd import ReferenceSGD
from ttfnet_tf.weights.pretrained import load_pretrained_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("keras_cv") is None, reason="needs keras-cv"),
    pytest.mark.skipif(
        find_spec("tf_keras") is not None and os.environ.get("TF_USE_LEGACY_KERAS") != "1",
        reason="keras-cv takes Keras 2 only with TF_USE_LEGACY_KERAS=1",
    ),
]
MOBILENET = "keras_cv/mobilenet_v3_small"
SMALL = {"neck": "plain", "neck_channels": (8, 8, 8), "heatmap_head": (8, 1), "box_head": (8, 1), "image_size": (64, 96)}
# Ends of the stages as keras-cv calls them.
LEVELS = (
    "stage1.expanded_conv_project_BatchNorm",
    "stage2.expanded_conv_2_Add",
    "stage3.expanded_conv_7_Add",
    "stage4.expanded_conv_10_Add",
)


@pytest.fixture(scope="module", autouse=True)
def no_network():
    def refuse(*args, **kwargs):
        raise OSError("no network in tests")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "socket", refuse)
        patch.setattr(socket, "create_connection", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


def _detector(**keywords):
    return networks.build(3, backbone=MOBILENET, **{**SMALL, **keywords})


def _features(name, **keywords):
    inputs = keras.Input([64, 96, 3])
    return keras.Model(inputs, build_backbone(name, inputs, **keywords))


def _images(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (2, 64, 96, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def built():
    model = _detector(frozen_stages=-1)
    return model, model.get_weights()


@pytest.fixture
def mobilenet(built):
    """A detector with nothing frozen, at its initial values."""
    model, values = built
    model.set_weights(values)
    return model


@pytest.fixture(scope="module")
def csp():
    return _features("keras_cv/csp_darknet_s", width=8, seed=5)


@pytest.fixture(scope="module")
def original():
    """keras-cv's own MobileNetV3-Small, with its rescaling and with values of its own in every variable."""
    import keras_cv

    backbone = keras_cv.models.MobileNetV3Backbone(
        stackwise_expansion=[1, 72 / 16, 88 / 24, 4, 6, 6, 3, 3, 6, 6, 6],
        stackwise_filters=[16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96],
        stackwise_kernel_size=[3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5],
        stackwise_stride=[2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1],
        stackwise_se_ratio=[0.25, None, None, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25, 0.25],
        stackwise_activation=["relu"] * 3 + ["hard_swish"] * 8,
        include_rescaling=True,
    )
    random = np.random.default_rng(3)
    for variable in backbone.variables:
        variable.assign_add(random.uniform(0.0, 0.3, variable.shape) if variable.shape.rank == 1 else tf.zeros(variable.shape))
    return backbone


# (name, channels of P2 to P5, parameters and running statistics as keras-cv states them)
NETWORKS = [
    ("keras_cv/resnet50", (256, 512, 1024, 2048), 23_561_152),
    ("keras_cv/csp_darknet_s", (64, 128, 256, 512), 4_223_488),
    # 939 120 in all; the convolution 96 -> 576 after P5 and its normalisation are not used.
    (MOBILENET, (16, 24, 48, 96), 939_120 - 96 * 576 - 4 * 576),
    ("keras_cv/efficientnet_v2_s", (48, 64, 160, 1280), 20_331_360),
]


@pytest.mark.parametrize(("name", "channels", "count"), NETWORKS)
def test_strides_4_to_32_and_size(name, channels, count):
    model = _features(name)
    assert [shape[1:3] for shape in model.output_shape] == [(16, 24), (8, 12), (4, 6), (2, 3)]
    assert tuple(shape[3] for shape in model.output_shape) == channels
    assert model.count_params() == count
    named = [*named_parameters(model).values(), *named_buffers(model).values()]
    assert len({id(v) for v in named}) == len(named)
    assert {id(v) for v in named} == {id(v) for v in model.variables}
    prefixes = (*BACKBONES[name].stem, *(prefix for stage in BACKBONES[name].stages for prefix in stage))
    assert all(key.startswith(prefixes) for key in named_parameters(model))
    for prefix in prefixes:
        assert any(key.startswith(prefix) for key in named_parameters(model)), prefix


def test_all_of_the_detector_is_named(mobilenet):
    parameters, buffers = named_parameters(mobilenet), named_buffers(mobilenet)
    assert {id(v) for v in parameters.values()} == {id(v) for v in mobilenet.trainable_variables}
    assert {id(v) for v in buffers.values()} == {id(v) for v in mobilenet.non_trainable_variables}
    assert "backbone.stem.Conv.weight" in parameters
    assert "backbone.stage4.squeeze_and_excite2d.8.excite_conv.bias" in parameters
    assert "backbone.stage2.expanded_conv_1_depthwise.weight" in parameters
    assert "backbone.stage4.expanded_conv_10_project_BatchNorm.running_var" in buffers
    names = [layer.name for layer in mobilenet.layers]
    assert len(set(names)) == len(names)
    assert all(layer.momentum == MOMENTUM for layer in mobilenet.layers if isinstance(layer, keras.layers.BatchNormalization))


def test_names_and_values_follow_from_the_seed_alone(csp):
    # keras-cv names layers, and draws values, by what the process has made before.
    again = _features("keras_cv/csp_darknet_s", width=8, seed=5)
    first, second = ({name: v.numpy() for name, v in named_parameters(model).items()} for model in (csp, again))
    assert list(first) == list(second)
    assert "backbone.stage1.dark2_csp.bottleneck_convs.1.0.weight" in first
    assert sum(value.ndim == 4 for value in first.values()) == 35
    assert all(np.array_equal(first[name], second[name]) for name in first)
    one, other = (f"backbone.stage3.dark4_csp.darknet_conv{i}.0.weight" for i in (1, 2))
    assert first[one].shape == first[other].shape
    assert not np.array_equal(first[one], first[other])
    module._initialize(again.get_layer("backbone.stage3.dark4_csp"), 6)
    assert not np.array_equal(first[one], named_parameters(again)[one])


def test_preset_gives_what_keras_cv_gives_on_raw_pixels(mobilenet, original, monkeypatch):
    asked = []

    def from_preset(preset, **keywords):
        asked.append((preset, keywords))
        return original

    monkeypatch.setattr(module._family(module._NETWORKS["mobilenet_v3_small"]), "from_preset", from_preset)
    line = load_preset(mobilenet, "mobilenet_v3_small_imagenet", backbone=MOBILENET)
    # 22 convolutions, 11 of single channels, 33 normalisations of 4, 9 squeezes of 2 convolutions with bias.
    assert asked == [("mobilenet_v3_small_imagenet", {"load_weights": True})]
    assert (
        line
        == "mobilenet_v3_small_imagenet: 201 tensors of keras-cv loaded into keras_cv/mobilenet_v3_small, trained on pixels from 0 to 1"
    )
    ours = keras.Model(mobilenet.input, [mobilenet.get_layer(f"backbone.{level}").get_output_at(0) for level in LEVELS])
    theirs = keras.Model(original.input, [original.get_layer(level.partition(".")[2]).output for level in LEVELS])
    for a, b in zip(ours(_images()), theirs(_images())):
        assert np.std(b) > 0.01
        np.testing.assert_allclose(a, b, atol=1e-4 * float(np.abs(b).max()))


def test_a_preset_in_a_folder_is_read_without_a_download(mobilenet, original, tmp_path, monkeypatch):
    from keras_cv.src.utils import preset_utils

    folder = tmp_path / "mobilenet.v3"  # a dot in its name makes it no file
    preset_utils.save_to_preset(original, str(folder))
    monkeypatch.setattr(preset_utils, "kagglehub", None)
    config = config_of({"model": {"backbone": MOBILENET, "pretrained": str(folder)}}, source="test")
    assert load_pretrained_of(config, mobilenet).startswith(f"{folder}: 201 tensors of keras-cv loaded into {MOBILENET}")
    ours = keras.Model(mobilenet.input, mobilenet.get_layer(f"backbone.{LEVELS[-1]}").get_output_at(0))
    theirs = keras.Model(original.input, original.get_layer(LEVELS[-1].partition(".")[2]).output)
    a, b = ours(_images()), theirs(_images())
    np.testing.assert_allclose(a, b, atol=1e-4 * float(np.abs(b).max()))


def test_a_folder_without_a_preset_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match=rf"^model.pretrained={tmp_path}: model.weights.h5 missing in this folder; "):
        load_preset(None, str(tmp_path), backbone=MOBILENET)


def test_a_folder_of_something_else_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.weights.h5").write_bytes(b"")
    with pytest.raises(UserError, match=rf"^model.pretrained={tmp_path}: keras-cv cannot read it as weights of {MOBILENET} ") as caught:
        load_preset(None, str(tmp_path), backbone=MOBILENET)
    assert "\n" not in str(caught.value)


def test_preset_of_another_form_changes_nothing(csp, monkeypatch):
    family = module._family(module._NETWORKS["csp_darknet_s"])
    other = family(stackwise_channels=[16, 32, 64, 128], stackwise_depth=[1, 3, 3, 1], include_rescaling=True)
    monkeypatch.setattr(family, "from_preset", lambda *args, **keywords: other)
    monkeypatch.setitem(module._NETWORKS, "csp_darknet_s", module._Network("CSPDarkNetBackbone", module._csp_darknet_s, ("stem_",), ("x",)))
    before = [v.numpy() for v in csp.variables]
    with pytest.raises(UserError, match=r"^model.pretrained=x: backbone.stage1.dark2_conv has the shapes .* they do not fit$"):
        load_preset(csp, "x", backbone="keras_cv/csp_darknet_s")
    assert all(np.array_equal(a, b) for a, b in zip(before, csp.variables))


@pytest.mark.parametrize(
    ("backbone", "preset", "line"),
    [
        (
            "keras_cv/resnet50",
            "resnet50_imagenett",
            "model.pretrained=resnet50_imagenett is no name of keras-cv's weights for keras_cv/resnet50; did you mean 'resnet50_imagenet'?",
        ),
        (
            "keras_cv/efficientnet_v2_s",
            "efficientnetv2_b0_imagenet",
            "model.pretrained=efficientnetv2_b0_imagenet are weights of another size than keras_cv/efficientnet_v2_s; "
            "did you mean 'efficientnetv2_s_imagenet'?",
        ),
        (
            "keras_cv/csp_darknet_s",
            "csp_darknet_l_imagenet",
            "model.pretrained=csp_darknet_l_imagenet: keras-cv has no weights for keras_cv/csp_darknet_s (of its family: "
            "csp_darknet_l_imagenet, csp_darknet_tiny_imagenet); leave model.pretrained out",
        ),
    ],
)
def test_wrong_preset_is_refused_before_any_download(backbone, preset, line):
    with pytest.raises(UserError) as caught:
        load_preset(None, preset, backbone=backbone)
    assert str(caught.value) == line


def test_presets_are_keras_cvs():
    for network in module._NETWORKS.values():
        assert set(network.presets) <= set(module._family(network).presets_with_weights)


def test_no_network_is_one_line(mobilenet, tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    with pytest.raises(
        UserError, match=r"^model.pretrained=mobilenet_v3_small_imagenet: keras-cv cannot download it \(.*network.* name a folder .*$"
    ) as caught:
        load_preset(mobilenet, "mobilenet_v3_small_imagenet", backbone=MOBILENET)
    assert "\n" not in str(caught.value)
    assert sum(waits) < 5  # seconds between attempts


def test_synchronized_normalisation_is_refused():
    with pytest.raises(ValueError, match=r"keras_cv/mobilenet_v3_small has no synchronized normalisations"):
        _detector(batch_norm="synchronized")


def test_one_step_trains_everything_and_the_averages_follow(mobilenet):
    model = mobilenet
    parameters = named_parameters(model, trainable_only=True)
    boxes = tf.constant([[[8.0, 8.0, 55.0, 50.0]], [[20.0, 4.0, 80.0, 60.0]]])
    targets = render_targets(boxes, tf.constant([[0], [2]]), image_size=(64, 96), num_classes=3)
    # Heads start nearly silent and a box of 0 has no gradient; these let everything through.
    for name, variable in parameters.items():
        if name.startswith("bbox_head.wh"):
            variable.assign_add(tf.random.stateless_uniform(variable.shape, [1, 2], 0.0, 0.1))
    with tf.GradientTape() as tape:
        losses = ttfnet_losses(model(_images(), training=True), targets)
    gradients = dict(zip(parameters, tape.gradient(losses["loss"], list(parameters.values()))))
    assert np.isfinite(losses["loss"])
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    # The normalisation after the plain convolutions of the neck takes their bias away again.
    still = [name for name, gradient in gradients.items() if not np.any(gradient) and not name.startswith("bbox_head.deconv_layers")]
    assert still == []
    before = {name: v.numpy() for name, v in parameters.items()}
    average = MovingAverage(parameters, 0.9)
    average.reset()
    ReferenceSGD(parameters).update(list(gradients.values()), tf.constant(0.01), tf.constant(1.0))
    average.update(tf.constant(0, tf.int64))
    for (name, variable), moved in zip(parameters.items(), average.averages.values()):
        assert name in still or np.any(variable != before[name]) or not np.any(gradients[name])
        np.testing.assert_allclose(moved, 0.1 * before[name] + 0.9 * variable, rtol=1e-4, atol=1e-6)  # decay (1 + 0) / (10 + 0)


def test_frozen_stages_keep_their_statistics(mobilenet):
    model = mobilenet
    freeze(model, MOBILENET, 2)
    frozen = ("backbone.stem.", "backbone.stage1.", "backbone.stage2.")
    everything, trainable = named_parameters(model), named_parameters(model, trainable_only=True)
    assert set(trainable) == {name for name in everything if not name.startswith(frozen)}
    assert {id(v) for v in trainable.values()} == {id(v) for v in model.trainable_variables}
    before = {name: v.numpy() for name, v in named_buffers(model).items()}
    model(_images(), training=True)
    moved = {name for name, v in named_buffers(model).items() if np.any(v != before[name])}
    assert moved == {name for name in before if not name.startswith(frozen)}
    freeze(model, MOBILENET, -1)
    assert set(named_parameters(model, trainable_only=True)) == set(everything)


def test_checkpoint_restores_into_a_new_model(mobilenet, tmp_path):
    prefix = tf.train.Checkpoint(model=mobilenet).write(str(tmp_path / "step-1"))
    other = _detector(frozen_stages=-1, seed=9)
    tf.train.Checkpoint(model=other).read(prefix).assert_consumed()
    ours, theirs = ({**named_parameters(model), **named_buffers(model)} for model in (mobilenet, other))
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert list(ours) == list(theirs)


def test_without_keras_cv_one_line_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_cv", None)
    line = r"model.backbone=keras_cv/...: needs keras_cv, which is not installed; pip install 'keras-cv>=0.9,<0.10'"
    with pytest.raises(UserError, match=f"^{re.escape(line)}$"):
        _features("keras_cv/csp_darknet_s", width=8)
