"""The rows of the tables of methods and backbones say what is true of the modules that they name."""

import inspect
import pkgutil

import pytest

from ttfnet_tf.config import Config, list_settings, value_of
from ttfnet_tf.keras2 import keras
from ttfnet_tf.methods.catalog import METHODS, shared_settings
from ttfnet_tf.models.backbones import BACKBONES


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_what_its_row_says(name):
    info = METHODS[name]
    method = pkgutil.resolve_name(info.build)(image_size=(64, 64), num_classes=2)
    assert method.loss_names == tuple(info.losses)
    assert all(loss.endswith("_loss") for loss in info.losses)
    x = keras.Input([16, 16, 8])
    model = keras.Model(x, pkgutil.resolve_name(info.heads)(x, 2, heatmap_head=(8, 1), box_head=(8, 1), seed=0))
    for prefix in info.head_layers.values():
        assert model.get_layer(f"{prefix}.0.conv")
        assert model.get_layer(f"{prefix}.1")
    assert model.get_layer(f"{info.head_layers['heatmap']}.1").filters == 2
    assert all(model.get_layer(layer) for layer in info.float_layers)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_reads_settings_that_exist(name):
    keys = {setting.key for setting in list_settings()}
    sections = {key.rpartition(".")[0] for key in keys}
    assert METHODS[name].reads <= keys | sections
    assert METHODS[name].reads <= set(shared_settings())


def test_every_setting_of_targets_and_losses_is_some_methods():
    keys = {setting.key for setting in list_settings() if setting.key.startswith(("targets.", "losses."))}
    of_training = {"targets.backend", "losses.normalizer"}  # which every method has
    assert keys - of_training == {key for key in shared_settings() if key.startswith(("targets.", "losses."))}


def test_the_bias_of_the_sides():
    names = ["bbox_head.hm.2.bias", "bbox_head.wh.0.conv.bias", "bbox_head.wh.1.weight", "bbox_head.wh.1.bias"]
    assert METHODS["ttfnet"].side_bias(names) == "bbox_head.wh.1.bias"
    assert METHODS["ttfnet"].side_bias(names[:3]) is None
    assert METHODS["centernet"].side_bias(names) is None  # its sizes end in no ReLU


# Keywords of `build_model` that a neck reads; one with its own decoder reads the first two itself.
NECK = {"neck", "sampler", "neck_channels", "shortcut", "upsampling"}


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_takes_every_keyword_that_it_does_not_ignore(name):
    backbone = BACKBONES[name]
    taken = set(inspect.signature(pkgutil.resolve_name(backbone.build)).parameters)
    taken = taken & {"zero_init_residual", *NECK} if backbone.own_decoder else taken & {"zero_init_residual"} | NECK
    assert taken == {"zero_init_residual", *NECK} - set(backbone.ignores)
    assert all(hasattr(value_of(Config(), "model"), keyword) for keyword in backbone.ignores)
