"""Loads the pretrained weights that `model.pretrained` names."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.config import Config
from ttfnet_tf.errors import UserError
from ttfnet_tf.keras2 import keras
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.models.backbones.keras_cv import load_preset
from ttfnet_tf.weights.class_rows import note, renamed_classes, row_pairs, with_class_rows
from ttfnet_tf.weights.exported import saved_model_folder
from ttfnet_tf.weights.load import Source, is_run, load_pretrained, official_tensors, read_source


def load_pretrained_of(config: Config, model: keras.Model, class_names: Sequence[str] = ()) -> str:
    """Loads `model.pretrained` into a network from `model_of`, and returns a report to print.

    Rows of the heads' last layers that belong to classes follow the names of the classes, if the source tells them.

    Args:
        config: settings.
        model: the network.
        class_names: of the training annotations, in the order of the heatmap's channels.

    Raises:
        UserError: the weights cannot be read or downloaded, or do not fit the network, or `model.pretrained_classes` has a name that
            is not there.
    """
    name = str(config.model.pretrained)
    of_keras_cv = config.model.backbone.startswith("keras_cv/")
    is_preset = Path(name).is_dir() or not (name.startswith("timm/") or Path(name).suffix)
    if of_keras_cv and is_preset and not is_run(name) and saved_model_folder(name) is None:
        return load_preset(model, name, backbone=config.model.backbone)
    return str(load_pretrained(model, _with_class_rows(read_source(name), config, model, class_names)))


def _with_class_rows(source: Source, config: Config, model: keras.Model, class_names: Sequence[str]) -> Source:
    """The source, with its classes where the model has them."""
    if not source.class_names:
        if config.model.pretrained_classes:
            raise UserError(f"model.pretrained_classes: {source.name} holds no names of classes; name a run or an exported SavedModel")
        return source
    if not class_names:
        return source
    renamed = renamed_classes(config.model.pretrained_classes, class_names, source.class_names)
    pairs = row_pairs(class_names, source.class_names, renamed)
    if pairs == [(number, number) for number in range(len(source.class_names))] and len(class_names) == len(source.class_names):
        return source  # the same classes in the same order
    method = METHODS[config.model.method]
    heads = [method.head_layers[head] for head in ("heatmap", *(["box"] if config.model.box_per_class else []))]
    counts = (len(class_names), len(source.class_names))
    tensors = with_class_rows(source.tensors, official_tensors(model), heads, pairs, counts)
    line = note(class_names, source.class_names, pairs)
    if not any(name.startswith(f"{heads[0]}.") and value is not source.tensors.get(name) for name, value in tensors.items()):
        line = f"0 of {len(class_names)} classes keep their rows of the heads, because model.heatmap_head.depth differs"
    return dataclasses.replace(source, tensors=tensors, notes=(*source.notes, line))
