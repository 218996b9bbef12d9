"""Runs an exported SavedModel by its default signature. TensorFlow is imported when a model is loaded."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.quiet_import import wants_everything, without_stderr


class SavedModelPredictor:
    """A SavedModel in place of the function of `predictor.predict_function`.

    Args:
        folder: a version folder from `export.saved_model.export_saved_model`.
        image_size: (H, W) in pixels of the input.
        category_ids: of the classes, in order.

    Raises:
        UserError: the model cannot be loaded.
    """

    def __init__(self, folder: Path, *, image_size: tuple[int, int], category_ids: Sequence[int]):
        import tensorflow as tf

        try:
            with _without_advice():
                self._model = tf.saved_model.load(str(folder))  # kept: the signature alone does not keep the variables alive
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{folder}: cannot be loaded ({reason}); export the run again") from None
        self._signature = self._model.signatures["serving_default"]
        height, width = image_size
        self._sides = np.array([width, height, width, height], np.float32)
        self._category_ids = np.array(category_ids, np.float32)
        self._is_first_call = True

    def __call__(self, images):
        """Detects on images of the input size.

        Args:
            images: uint8 [B, H, W, 3] RGB.

        Returns:
            "boxes": float32 [B, K, 4] xyxy input pixels. "scores": float32 [B, K], descending, 0 beyond the detections.
            "classes": int32 [B, K] 0-based.
        """
        import tensorflow as tf

        # In the first call TensorFlow prints that it cannot guess the cost of operations on shapes it does not know.
        quiet = without_stderr() if self._is_first_call and not wants_everything() else contextlib.nullcontext()
        with quiet:
            answer = self._signature(input_tensor=tf.convert_to_tensor(images))
        self._is_first_call = False
        boxes = tf.gather(answer["detection_boxes"], [1, 0, 3, 2], axis=-1) * self._sides
        is_class = tf.equal(answer["detection_classes"][..., None], self._category_ids)
        return {"boxes": boxes, "scores": answer["detection_scores"], "classes": tf.argmax(is_class, axis=-1, output_type=tf.int32)}


@contextlib.contextmanager
def _without_advice():
    """Hides that gradients of our operations are not in the file: nobody asks for gradients of an exported model."""
    logger = logging.getLogger("absl")
    level = logger.level
    if not wants_everything():
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
