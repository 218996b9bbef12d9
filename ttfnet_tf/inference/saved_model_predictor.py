"""Runs an exported SavedModel by its default signature. TensorFlow is imported when a model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ttfnet_tf.errors import UserError


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
            self._model = tf.saved_model.load(str(folder))  # kept: the signature alone does not keep the variables alive
        except (OSError, ValueError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{folder}: cannot be loaded ({reason}); export the run again") from None
        self._signature = self._model.signatures["serving_default"]
        height, width = image_size
        self._sides = np.array([width, height, width, height], np.float32)
        self._category_ids = np.array(category_ids, np.float32)

    def __call__(self, images):
        """Detects on images of the input size.

        Args:
            images: uint8 [B, H, W, 3] RGB.

        Returns:
            "boxes": float32 [B, K, 4] xyxy input pixels. "scores": float32 [B, K], descending, 0 beyond the detections.
            "classes": int32 [B, K] 0-based.
        """
        import tensorflow as tf

        answer = self._signature(input_tensor=tf.convert_to_tensor(images))
        boxes = tf.gather(answer["detection_boxes"], [1, 0, 3, 2], axis=-1) * self._sides
        is_class = tf.equal(answer["detection_classes"][..., None], self._category_ids)
        return {"boxes": boxes, "scores": answer["detection_scores"], "classes": tf.argmax(is_class, axis=-1, output_type=tf.int32)}
