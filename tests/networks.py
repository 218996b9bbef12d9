"""Networks for tests, without settings. Building and tracing them is what tests spend their time on, so there are small ones."""

from __future__ import annotations

import dataclasses
import functools

import pytest

HEADS = ("heatmap_head", "box_head", "box_per_class")


def build(num_classes: int, *, method: str = "ttfnet", **keywords):
    """`build_model` with the heads of a method; the keywords in `HEADS` are theirs. The backbone may be "tiny" too."""
    import pkgutil

    from ttfnet_tf.methods.catalog import METHODS
    from ttfnet_tf.models.detector import build_model

    of_heads = {key: keywords.pop(key) for key in HEADS if key in keywords}
    heads = functools.partial(pkgutil.resolve_name(METHODS[method].heads), **of_heads)
    with pytest.MonkeyPatch.context() as patch:
        add_tiny(patch)
        return build_model(num_classes, heads=heads, **keywords)


def add_tiny(patch: pytest.MonkeyPatch) -> None:
    """Adds the backbone "tiny" to the table, while the patch is active."""
    from ttfnet_tf.models.backbones import BACKBONES

    tiny = dataclasses.replace(BACKBONES["resnet18"], build=f"{__name__}:tiny", settings={}, ignores=("zero_init_residual",))
    patch.setitem(BACKBONES, "tiny", tiny)


def tiny(inputs, *, width: int, synchronized: bool, seed: int) -> list:
    """A ResNet that has one convolution with normalisation in the place of each stage, named as the first in that stage."""
    from tensorflow.keras import layers

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
