"""SAHI: a trained detector as a detection model of `get_sliced_prediction` and its other functions.

from sahi.predict import get_sliced_prediction
from ttfnet_tf.integrations.sahi import TTFNetDetectionModel

model = TTFNetDetectionModel(model_path="runs/mine", confidence_threshold=0.3)
result = get_sliced_prediction("map.png", model, slice_height=512, slice_width=512)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detections import Detection, Detections
from ttfnet_tf.inference.exported_model import find_exported

try:
    from sahi.models.base import DetectionModel
    from sahi.prediction import ObjectPrediction
    from sahi.utils.compatibility import fix_full_shape_list, fix_shift_amount_list
except ImportError:
    raise ImportError("ttfnet_tf.integrations.sahi: needs sahi, which is not installed; pip install 'ttfnet-tf[sahi]'") from None


class TTFNetDetectionModel(DetectionModel):
    """What `Detector.load` takes, or a loaded `Detector`, with the calls of SAHI's `DetectionModel`.

    SAHI's boxes end where the next pixel begins; those of `Detections` have inclusive corners and get a pixel at the right and bottom.

    Args (SAHI's, by name):
        model_path: a run, a checkpoint or an exported model.
        model: a `Detector` instead, e.g. with thresholds for each class.
        confidence_threshold: only scores above it are returned; SAHI can change it for one call.
        image_size: side or (H, W) of the network's input in pixels, multiples of 32; default that of training or export.
        category_mapping: category id as text -> name; default those of training.
        category_remapping: category id as text -> another id.

    Raises:
        UserError: as `Detector.load`, or a device is named: TensorFlow chooses it.
    """

    def set_device(self, device: str | None = None) -> None:
        """Leaves the choice to TensorFlow: SAHI's own sets CUDA_VISIBLE_DEVICES, which would hide the GPU from it."""
        if device is not None:
            raise UserError(f"device={device!r}: TensorFlow chooses the device; do not name one")
        self.device = "TensorFlow's"

    def load_model(self) -> None:
        """Loads `model_path`."""
        from ttfnet_tf.inference.detector import Detector

        if self.model_path is None:
            raise UserError("model_path must name a run, a checkpoint or an exported model")
        size = (self.image_size,) * 2 if isinstance(self.image_size, int) else self.image_size
        exported = find_exported(self.model_path)
        least = min(self.confidence_threshold, exported.score_threshold) if exported else 0.0  # Detector refuses one below the exported
        self.set_model(Detector.load(self.model_path, image_size=size, score_threshold=least))

    def set_model(self, model: Any, **kwargs: Any) -> None:
        """Takes a loaded `Detector`; scores below its threshold cannot be asked for."""
        self.model, self._batch_size = model, 1
        self._check_threshold()
        names = {str(number): name for number, name in zip(model.category_ids, model.class_names)}
        self.category_mapping: dict[str, str] = self.category_mapping or names

    def perform_inference(self, image: np.ndarray) -> None:
        """Detects on one uint8 [H, W, 3] RGB image."""
        self.perform_batch_inference([image])

    def perform_batch_inference(self, images: Sequence[np.ndarray]) -> None:
        """Detects on several in one call; a batch that is not full, the last of an image, is filled up instead of compiled for."""
        self._check_threshold()
        self._batch_size = max(self._batch_size, len(images))
        found = self.model.batch(images, batch_size=self._batch_size if len(images) > 1 else 1)
        self._original_predictions = [one.above(self.confidence_threshold) for one in found]

    def _check_threshold(self) -> None:
        if self.confidence_threshold < self.model.score_threshold:
            raise UserError(
                f"confidence_threshold={self.confidence_threshold:g}: the model gives scores above {self.model.score_threshold:g} only"
            )

    def _create_object_prediction_list_from_original_predictions(
        self, shift_amount_list: Any = ((0, 0),), full_shape_list: Any = None
    ) -> None:
        """Turns the detections of the last call into SAHI's, with the place of each slice in its image.

        Args:
            shift_amount_list: (x, y) of each slice's corner in pixels of the image, or of the only slice.
            full_shape_list: (height, width) of each slice's image, or of the only one.
        """
        found: list[Detections] = self._original_predictions
        shifts = fix_shift_amount_list(shift_amount_list)
        shapes = fix_full_shape_list(full_shape_list) or [None] * len(found)
        self._object_prediction_list_per_image = [
            [self._prediction(one, list(shift), shape) for one in detections] for detections, shift, shape in zip(found, shifts, shapes)
        ]

    def _prediction(self, one: Detection, shift: list, shape: Sequence | None) -> ObjectPrediction:
        x1, y1, x2, y2 = one.box
        return ObjectPrediction(
            bbox=[x1, y1, x2 + 1, y2 + 1],
            category_id=one.class_id,
            category_name=self.category_mapping.get(str(one.class_id), one.class_name),
            score=one.score,
            shift_amount=shift,
            full_shape=None if shape is None else list(shape),
        )
