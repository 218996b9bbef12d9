"""The network inside a SavedModel that this package has exported, to train on from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import config_of
from ttfnet_tf.errors import UserError
from ttfnet_tf.json_text import read_json
from ttfnet_tf.keras2 import keras

_KEY = "weights/{}/.ATTRIBUTES/VARIABLE_VALUE"  # of a variable of `saved_model._save`


def saved_model_folder(path: str | Path) -> Path | None:
    """The version folder of a SavedModel at a path, or in its highest version; None where there is none."""
    path = Path(path)
    versions = [folder for folder in path.iterdir() if folder.name.isdecimal()] if path.is_dir() else []
    for folder in (path, *sorted(versions, key=lambda folder: int(folder.name), reverse=True)):
        if (folder / "saved_model.pb").is_file():
            return folder
    return None


def network_of_saved_model(folder: Path) -> tuple[keras.Model, tuple[str, ...]]:
    """The network in float32 with the weights of a SavedModel, and the names of its classes.

    Raises:
        UserError: it is not one of this package, or is damaged.
    """
    card_file = folder / "assets" / "model_card.json"
    try:
        card = read_json(card_file)
        names = tuple(one["name"] for one in card["classes"])
        settings = dict(card["config"])
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{card_file}: is missing or is no model card; name a run, or a SavedModel of ttfnet export") from None
    model = build.model_of(config_of(settings, source=str(card_file)), len(names))
    try:
        reader = tf.train.load_checkpoint(str(folder / "variables" / "variables"))
        values = [reader.get_tensor(_KEY.format(number)).astype(np.float32) for number in range(len(model.variables))]
        for variable, value in zip(model.variables, values):
            if tuple(variable.shape) != value.shape:
                raise ValueError(f"{variable.name} has the shape {list(value.shape)}, the network in its card has {list(variable.shape)}")
        model.set_weights(values)
    except (tf.errors.OpError, OSError, RuntimeError, ValueError) as error:
        raise UserError(f"{folder}: is damaged or was not exported by this version ({str(error).splitlines()[0]})") from None
    return model, names
