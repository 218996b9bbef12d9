"""Runs an exported .tflite file with the interpreter of TensorFlow or of ai-edge-litert; each is imported when it is used."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.tflite_metadata import read_card

RUNTIMES = ("litert", "tensorflow")


class TFLitePredictor:
    """A .tflite file in place of the function of `predictor.predict_function`.

    Args:
        path: from `export.tflite.export_tflite`.
        runtime: `tensorflow`, or `litert` for the package ai-edge-litert, which needs no TensorFlow; None: `default_runtime()`.
        num_threads: of the interpreter; None: one for each processor.

    Attributes:
        card: see `export.model_card.model_card`.
        image_size: (H, W) in pixels of the input.
        class_names, category_ids: of the classes, in order.

    Raises:
        UserError: no such file, no model, no labels in it, or the runtime is not installed.
        ValueError: unknown runtime.
    """

    def __init__(self, path: str | Path, *, runtime: str | None = None, num_threads: int | None = None):
        runtime = runtime or default_runtime()
        if runtime not in RUNTIMES:
            raise ValueError(f"runtime must be one of {RUNTIMES}, received {runtime!r}")
        self.card = read_card(path)
        self.image_size = tuple(self.card["image_size"])
        self.class_names = tuple(one["name"] for one in self.card["classes"])
        self.category_ids = tuple(one["category_id"] for one in self.card["classes"])
        self._label = {category_id: label for label, category_id in enumerate(self.category_ids)}
        try:
            interpreter = interpreter_class(runtime)(str(path), num_threads=num_threads or os.cpu_count() or 1)
        except (OSError, ValueError, RuntimeError) as error:
            raise UserError(f"{path}: cannot be loaded ({' '.join(str(error).split())[:200]}); export the run again") from None
        self._run = interpreter.get_signature_runner("serving_default")

    def __call__(self, images) -> dict[str, np.ndarray]:
        """Detects on images of the input size, one after the other.

        Args:
            images: uint8 [B, H, W, 3] RGB.

        Returns:
            "boxes": float32 [B, K, 4] xyxy input pixels. "scores": float32 [B, K], descending, 0 beyond the detections.
            "classes": int32 [B, K] 0-based.
        """
        found = [self._run(image=image[None]) for image in np.asarray(images)]
        boxes, scores, category_ids = (
            np.concatenate([one[f"detection_{name}"] for one in found]) for name in ("boxes", "scores", "classes")
        )
        height, width = self.image_size
        return {
            "boxes": boxes[..., [1, 0, 3, 2]] * np.array([width, height, width, height], np.float32),
            "scores": scores,
            # Rows beyond the detections have the id 0, which may be no class.
            "classes": np.vectorize(lambda category_id: self._label.get(int(category_id), 0), otypes=[np.int32])(category_ids),
        }


def default_runtime() -> str:
    """`tensorflow`; from TensorFlow 2.18 on, which announces the end of its interpreter, `litert` where that is installed."""
    if find_spec("ai_edge_litert") is None:
        return "tensorflow"
    try:
        major, minor = metadata.version("tensorflow").split(".")[:2]
    except metadata.PackageNotFoundError:
        return "litert"
    return "litert" if (int(major), int(minor)) >= (2, 18) else "tensorflow"


def interpreter_class(runtime: str):
    """The interpreter of a runtime, to be called as the class `tf.lite.Interpreter` is.

    Raises:
        UserError: ai-edge-litert is not installed.
    """
    if runtime == "tensorflow":
        return _tensorflow_interpreter
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        raise UserError("runtime litert: ai-edge-litert is not installed; pip install ai-edge-litert") from None
    return Interpreter


def _tensorflow_interpreter(*args, **keywords):
    import tensorflow as tf

    with without_interpreter_warning():
        return tf.lite.Interpreter(*args, **keywords)


@contextlib.contextmanager
def without_interpreter_warning() -> Iterator[None]:
    """Hides the warning of TensorFlow 2.18 and newer that `tf.lite.Interpreter` will be removed."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated", UserWarning)
        yield
