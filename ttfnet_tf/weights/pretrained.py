"""Loads the pretrained weights that `model.pretrained` names."""

from __future__ import annotations

from pathlib import Path

from ttfnet_tf.config import Config
from ttfnet_tf.keras2 import keras
from ttfnet_tf.models.backbones.keras_cv import load_preset
from ttfnet_tf.weights.load import is_run, load_pretrained


def load_pretrained_of(config: Config, model: keras.Model) -> str:
    """Loads `model.pretrained` into a network from `model_of`, and returns a report to print.

    Raises:
        UserError: the weights cannot be read or downloaded, or do not fit the network.
    """
    source = str(config.model.pretrained)
    of_keras_cv = config.model.backbone.startswith("keras_cv/")
    if of_keras_cv and not is_run(source) and (Path(source).is_dir() or not (source.startswith("timm/") or Path(source).suffix)):
        return load_preset(model, source, backbone=config.model.backbone)
    return str(load_pretrained(model, source))
