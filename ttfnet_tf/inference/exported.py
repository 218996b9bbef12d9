"""Exported models as predictors: for evaluation, prediction and the Python API a SavedModel or a .tflite file is as good as a run.

TensorFlow is imported when a model is called, so that a command can look for a card first.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf.errors import UserError

CARD = "model_card.json"  # among the assets of a SavedModel


@dataclass(frozen=True)
class Exported:
    """An exported model with its card."""

    path: Path  # version folder of a SavedModel, or .tflite file
    card: dict[str, Any]  # see `card.model_card`

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(one["name"] for one in self.card["classes"])

    @property
    def category_ids(self) -> tuple[int, ...]:
        return tuple(one["category_id"] for one in self.card["classes"])

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the network's input in pixels."""
        return tuple(self.card["image_size"])

    @property
    def score_threshold(self) -> float:
        """Scores below it were cut off in the graph."""
        return self.card["score_threshold"]

    @property
    def step(self) -> int:
        return self.card["training"]["step"]

    def predict_function(self, batch_size: int) -> Callable:
        """A function as `inference.predict_function` makes it of a model.

        Args:
            batch_size: of its calls; a .tflite file takes one image after the other all the same.

        Returns:
            Function of uint8 [batch_size, H, W, 3] of the input size -> "boxes" [B, K, 4] xyxy input pixels, "scores" [B, K] falling, 0
            beyond the detections, "classes" [B, K] 0-based.

        Raises:
            UserError: the model cannot be loaded.
        """
        if self.path.is_file():
            return _tflite(self.path)
        call = _saved_model(self.path)
        return lambda images: self._in_pixels(call(images))

    def _in_pixels(self, answer):
        import tensorflow as tf

        height, width = self.image_size
        boxes = tf.gather(answer["detection_boxes"], [1, 0, 3, 2], axis=-1) * np.array([width, height, width, height], np.float32)
        ids = np.array(self.category_ids, np.float32)
        classes = tf.argmax(tf.equal(answer["detection_classes"][..., None], ids), axis=-1, output_type=tf.int32)
        return {"boxes": boxes, "scores": answer["detection_scores"], "classes": classes}


def find_exported(path: str | Path) -> Exported | None:
    """The exported model at a path; None where there is something else, such as a run.

    Args:
        path: folder of a SavedModel's version, folder of versions (the highest counts), or .tflite file.

    Raises:
        UserError: there is an exported model, but no card about it.
    """
    path = Path(path)
    if path.suffix == ".tflite":
        from ttfnet_tf.inference.tflite_metadata import read_card as read_card_of_tflite

        return Exported(path, read_card_of_tflite(path))
    for folder in (path, *_versions(path)):
        if (folder / "saved_model.pb").is_file():
            return Exported(folder, read_card(folder / "assets" / CARD))
    return None


def read_card(file: Path) -> dict[str, Any]:
    """A card from its JSON.

    Raises:
        UserError: the file is missing or is no card.
    """
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
        if {"classes", "image_size", "top_k", "score_threshold", "config", "training"} - set(card):
            raise ValueError
        return card
    except (OSError, ValueError, TypeError):
        raise UserError(f"{file}: is missing or is no model card; export the run again") from None


def _versions(path: Path) -> list[Path]:
    """Version folders, the highest first."""
    found = [folder for folder in path.iterdir() if folder.name.isdecimal()] if path.is_dir() else []
    return sorted(found, key=lambda folder: int(folder.name), reverse=True)


def _saved_model(folder: Path) -> Callable:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(folder))
    except (OSError, ValueError, tf.errors.OpError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder}: cannot be loaded ({reason}); export the run again") from None
    signature = loaded.signatures["serving_default"]

    def call(images):
        _ = loaded  # the signature alone would not keep the variables
        return signature(input_tensor=tf.convert_to_tensor(images))

    return call


def _tflite(file: Path) -> Callable:
    import tensorflow as tf

    from ttfnet_tf.inference.tflite_predictor import TFLitePredictor

    predict = TFLitePredictor(file)
    return lambda images: {name: tf.convert_to_tensor(value) for name, value in predict(images).items()}
