"""The pretrained weights that a configuration names."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from ttfnet_tf.config import Config
from ttfnet_tf.models.backbones.keras_cv import load_preset
from ttfnet_tf.weights.load import load_pretrained


def load_pretrained_of(config: Config, model: tf.keras.Model) -> str:
    """Loads what `model.pretrained` names into a network from `model_of`; returns a report for people.

    Raises:
        UserError: it cannot be had, or does not fit.
    """
    source = str(config.model.pretrained)
    of_keras_cv = config.model.backbone.startswith("keras_cv/")
    if of_keras_cv and not (source.startswith("timm/") or Path(source).suffix):
        return load_preset(model, source, backbone=config.model.backbone)
    return str(load_pretrained(model, source))
