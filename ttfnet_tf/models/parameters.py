"""Weights under the names and in the layouts of the official checkpoints.

Layer names are module paths already; this file adds the leaf (`weight`, `bias`, `running_mean`, `running_var`) and converts
layouts: kernels are [H, W, in, out] here and [out, in, H, W] there; offsets are 9 dy then 9 dx here, dy and dx interleaved there.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.layers.batch_norm import SyncBatchNormalization
from ttfnet_tf.layers.deform_conv import DeformableConv2D

_BATCH_NORMS = (keras.layers.BatchNormalization, SyncBatchNormalization)
_CONVOLUTIONS = (keras.layers.Conv2D, DeformableConv2D)
# Keras' name of a variable -> leaf of its official name; others keep theirs.
_LEAVES = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def named_parameters(model: keras.Model, *, trainable_only: bool = False) -> dict[str, tf.Variable]:
    """Official name -> variable that training may change.

    Args:
        model: from `build_model`.
        trainable_only: whether to skip the variables of frozen layers. `model.trainable_variables` is no substitute: it includes
            frozen normalisations that still update their statistics, see `set_trainable`.
    """
    named = {}
    for layer in model.layers:
        if not trainable_only or (layer.trainable and not getattr(layer, "parameters_frozen", False)):
            named.update(_parameters_of(layer))
    return named


def set_trainable(layer: keras.layers.Layer, trainable: bool, *, frozen_statistics: bool = True) -> None:
    """Freezes or unfreezes the parameters of a layer.

    Args:
        layer: of a model.
        trainable: False freezes the parameters.
        frozen_statistics: whether a frozen normalisation uses its running statistics in training and does not change them, as
            `layer.trainable = False` means in Keras. With False it uses the statistics of the batch and updates the running ones;
            only scale and bias are frozen.
    """
    learns_statistics = not trainable and not frozen_statistics and isinstance(layer, _BATCH_NORMS)
    layer.trainable = trainable or learns_statistics
    layer.parameters_frozen = learns_statistics


def named_buffers(model: keras.Model) -> dict[str, tf.Variable]:
    """Official name -> running statistic of a batch normalisation."""
    named = {}
    for layer in model.layers:
        if isinstance(layer, _BATCH_NORMS):
            named[f"{layer.name}.running_mean"] = layer.moving_mean
            named[f"{layer.name}.running_var"] = layer.moving_variance
        elif not isinstance(layer, _CONVOLUTIONS):
            named.update(_by_path(layer, trainable=False))
    return named


def to_official(name: str, array) -> np.ndarray:
    """An array of this package in the layout that official checkpoints have under `name`."""
    array = np.asarray(array)
    if "conv_offset_mask" in name:
        array = array[..., np.argsort(_deinterleaved(array.shape[-1]))]
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array


def from_official(name: str, array) -> np.ndarray:
    """The inverse of `to_official`."""
    array = np.asarray(array)
    if array.ndim == 4:
        array = array.transpose(2, 3, 1, 0)
    return array[..., _deinterleaved(array.shape[-1])] if "conv_offset_mask" in name else array


def tracked_name(name: str) -> str:
    """A parameter's official name as a key of a tracked mapping; dots would read as nesting in checkpoint listings."""
    return name.replace(".", "/")


def _parameters_of(layer):
    if isinstance(layer, _BATCH_NORMS):
        return {f"{layer.name}.weight": layer.gamma, f"{layer.name}.bias": layer.beta}
    if not isinstance(layer, _CONVOLUTIONS):
        return _by_path(layer, trainable=True)
    named = {f"{layer.name}.weight": layer.kernel}
    if layer.use_bias:
        named[f"{layer.name}.bias"] = layer.bias
    if isinstance(layer, DeformableConv2D):
        named[f"{layer.name}.conv_offset_mask.weight"] = layer.offset_mask.kernel
        named[f"{layer.name}.conv_offset_mask.bias"] = layer.offset_mask.bias
    return named


def _by_path(layer, trainable, path=None):
    """The variables of any other layer, of one made of layers too, by their path inside it.

    The path is made of attributes and positions: names of inner layers often count what the process has built before.
    """
    path, named, inside = path or layer.name, {}, set()
    for step, part in _parts(layer):
        named.update(_by_path(part, trainable, f"{path}.{step}"))
        inside.update(id(variable) for variable in part.weights)
    for variable in layer.weights:
        if variable.trainable == trainable and id(variable) not in inside:
            leaf = variable.name.partition(":")[0].rpartition("/")[2]
            name = f"{path}.{_LEAVES.get(leaf, leaf)}"
            if name in named:
                raise ValueError(f"{layer.name} has two variables called {name}")
            named[name] = variable
    return named


def _parts(layer):
    """(step of a path, layer) for the layers right inside a layer."""
    if isinstance(layer, keras.Sequential):
        return [(str(position), part) for position, part in enumerate(layer.layers)]
    found = []
    for attribute, value in vars(layer).items():
        values = enumerate(value) if isinstance(value, (list, tuple)) else [(None, value)]
        found += [
            (attribute if position is None else f"{attribute}.{position}", part)
            for position, part in values
            if isinstance(part, keras.layers.Layer) and not attribute.startswith("_")
        ]
    return found


def _deinterleaved(channels):
    """Positions of the official 3 K channels in the order K dy, K dx, K masks."""
    shifts = np.arange(2 * channels // 3)
    return np.concatenate([shifts[0::2], shifts[1::2], np.arange(len(shifts), channels)])
