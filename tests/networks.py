"""Networks for tests, without settings. Building and tracing them is what tests spend their time on, so there are small ones."""

from __future__ import annotations

import dataclasses
import functools

import pytest

HEADS = ("heatmap_head", "box_head", "box_per_class")


def build(num_classes: int, *, method: str = "ttfnet", **keywords):
    """`build_model` with the heads of a method; the keywords in `HEADS` are theirs. The backbone may be "tiny" or "shallow", too."""
    import pkgutil

    from ttfnet_tf.methods.catalog import METHODS
    from ttfnet_tf.models.backbones import BACKBONES
    from ttfnet_tf.models.detector import build_model

    of_heads = {key: keywords.pop(key) for key in HEADS if key in keywords}
    heads = functools.partial(pkgutil.resolve_name(METHODS[method].heads), **of_heads)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "tiny", tiny_row())
        patch.setitem(BACKBONES, "shallow", dataclasses.replace(BACKBONES["resnet18"], settings={"blocks": (1, 1, 1, 1)}))
        return build_model(num_classes, heads=heads, **keywords)


def narrow(patch: pytest.MonkeyPatch) -> None:
    """Builds all networks from settings with width 8, and a tiny backbone in the place of ResNet-18, while the patch is active."""
    from ttfnet_tf import build
    from ttfnet_tf.models.backbones import BACKBONES

    patch.setattr(build, "build_model", functools.partial(build.build_model, width=8))
    patch.setitem(BACKBONES, "resnet18", tiny_row())


def built_once(model_of, *, keep: int = 100):
    """`build.model_of` for tests that fill a network or refuse it: networks of equal settings share one, and up to `keep` stay."""
    import tensorflow as tf

    made = {}

    @functools.wraps(model_of)
    def shared(config, num_classes, **keywords):
        settings = dataclasses.replace(config.model, pretrained=None)
        key = repr((settings, num_classes, keywords, tf.distribute.has_strategy()))
        if key not in made:
            if len(made) == keep:
                made.clear()
            made[key] = model_of(config, num_classes, **keywords)
        return made[key]

    return shared


def tiny_row():
    """The row of the backbone "tiny"."""
    from ttfnet_tf.models.backbones import BACKBONES

    return dataclasses.replace(BACKBONES["resnet18"], build=f"{__name__}:tiny", settings={})


def tiny(inputs, *, width: int, synchronized: bool, seed: int, **_) -> list:
    """A ResNet that has one convolution with normalisation in the place of each stage, named as the first in that stage."""
    from ttfnet_tf.keras2 import layers
    from ttfnet_tf.layers.batch_norm import batch_norm
    from ttfnet_tf.models.backbones.convolution import conv2d

    def convolution(x, filters, name, norm):
        x = batch_norm(f"backbone.{norm}", synchronized=synchronized)(conv2d(x, filters, 3, 2, f"backbone.{name}", seed))
        return layers.ReLU(name=f"backbone.{name}.relu")(x)

    features = [convolution(inputs, width, "conv1", "bn1")]
    for stage in range(1, 5):
        name = f"layer{stage}.0"
        features.append(convolution(features[-1], width * 2 ** (stage - 1), f"{name}.conv1", f"{name}.bn1"))
    return features[1:]
