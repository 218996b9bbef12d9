"""Exported models and their cards: evaluation, prediction and the Python API take a SavedModel, a .tflite or an .onnx file
like a run.

TensorFlow is imported when a model is loaded, so that a command can look for a card first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.card import checked_card
from ttfnet_tf.json_text import read_json
from ttfnet_tf.locations import is_url
from ttfnet_tf.runs.remote_run import fetched

CARD = "model_card.json"  # among the assets of a SavedModel


@dataclass(frozen=True)
class ExportedModel:
    """An exported model with its card."""

    path: Path  # version folder of a SavedModel, .tflite or .onnx file
    card: dict[str, Any]  # see `export.model_card.model_card`

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in order."""
        return tuple(one["name"] for one in self.card["classes"])

    @property
    def category_ids(self) -> tuple[int, ...]:
        """Category ids of the classes, in order."""
        return tuple(one["category_id"] for one in self.card["classes"])

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) in pixels of the network's input."""
        return tuple(self.card["image_size"])

    @property
    def resize(self) -> str:
        """How images get that size, see `config.schema.DataConfig.resize`."""
        return self.card.get("resize", "stretch")

    @property
    def keep_ratio(self) -> bool:
        """Whether the resize keeps the ratio of images."""
        return self.resize == "letterbox"

    @property
    def score_threshold(self) -> float:
        """The graph itself drops scores below it."""
        return self.card["score_threshold"]

    @property
    def step(self) -> int:
        """Training step of the weights."""
        return self.card["training"]["step"]

    def check_image_size(self, size: Any) -> None:
        """Raises UserError unless `size` is the one that the graph was built with, which is fixed."""
        if list(size) != list(self.image_size):
            raise UserError(
                f"{self.path}: was exported with data.image_size={list(self.image_size)}, which cannot be changed; "
                f"export the run again with data.image_size={list(size)}"
            )

    def predict_function(self, batch_size: int, *, runtime: str | None = None) -> Callable:
        """Loads the model as a function like that of `predictor.predict_function`.

        Args:
            batch_size: images of one call; a .tflite file takes them one after the other.
            runtime: of an .onnx file, one of `onnx_predictor.RUNTIMES`; None: the first that is installed.

        Returns:
            Function of uint8 [batch_size, H, W, 3] of the input size -> "boxes" [B, K, 4] xyxy input pixels, "scores" [B, K]
            descending, 0 beyond the detections, "classes" [B, K] 0-based; all tensors.

        Raises:
            UserError: the model cannot be loaded, or no runtime for it is installed.
        """
        if self.path.suffix == ".onnx":
            from ttfnet_tf.inference.onnx_predictor import OnnxPredictor

            return _with_tensors(OnnxPredictor(self.path, runtime=runtime))
        if self.path.is_file():
            from ttfnet_tf.inference.tflite_predictor import TFLitePredictor

            return _with_tensors(TFLitePredictor(self.path))
        from ttfnet_tf.inference.saved_model_predictor import SavedModelPredictor

        return SavedModelPredictor(self.path, image_size=self.image_size, category_ids=self.category_ids)


def find_exported(path: str | Path) -> ExportedModel | None:
    """The exported model at a path; None where there is something else, such as a run.

    Args:
        path: version folder of a SavedModel, folder of versions (the highest counts), .tflite or .onnx file.

    Raises:
        UserError: there is an exported model, but its card is missing; an .onnx file cannot be read.
    """
    path = fetched(str(path)) if is_url(path) else Path(path)
    if path.suffix == ".tflite":
        from ttfnet_tf.inference.tflite_metadata import read_card as read_card_of_tflite

        return ExportedModel(path, read_card_of_tflite(path))
    if path.suffix == ".onnx":
        from ttfnet_tf.inference.onnx_metadata import read_card as read_card_of_onnx

        return ExportedModel(path, read_card_of_onnx(path))
    for folder in (path, *_versions(path)):
        if (folder / "saved_model.pb").is_file():
            return ExportedModel(folder, read_card(folder / "assets" / CARD))
    return None


def read_card(file: Path) -> dict[str, Any]:
    """A model card from its JSON file.

    Raises:
        UserError: the file is missing or is no card.
    """
    try:
        return checked_card(read_json(file))
    except (OSError, ValueError):
        raise UserError(f"{file}: is missing or is no model card; export the run again") from None


def _versions(path: Path) -> list[Path]:
    """Version folders, the highest first."""
    found = [folder for folder in path.iterdir() if folder.name.isdecimal()] if path.is_dir() else []
    return sorted(found, key=lambda folder: int(folder.name), reverse=True)


def _with_tensors(predict: Callable) -> Callable:
    """The function with tensors in place of arrays."""
    import tensorflow as tf

    return lambda images: {name: tf.convert_to_tensor(value) for name, value in predict(images).items()}
