"""Evaluation during training, on a plain float32 copy of the model that no strategy holds.

It computes what `ttfnet evaluate` computes from a checkpoint of the same step, whatever the precision of training.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ttfnet_tf.data import pipeline
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.evaluation.evaluate import EvaluationResult, evaluate
from ttfnet_tf.inference.predictor import predict_function
from ttfnet_tf.inspect.overlays import detection_panel
from ttfnet_tf.keras2 import keras
from ttfnet_tf.methods.base import Method
from ttfnet_tf.models.parameters import named_parameters
from ttfnet_tf.runs.moving_average import MovingAverage

MAX_BATCH = 8  # images of one evaluation call; larger ones are not faster and take memory from training


class Evaluator:
    """Evaluates the current weights on the validation images.

    Args:
        model: a network of its own, in float32.
        method: decodes its outputs.
        split: validation images, read with `training=False`.
        image_size: (H, W) of the input in pixels.
        batch_size: images of one call, at most `MAX_BATCH` are taken; does not change the result.
        score_threshold: only scores above it count.
        broken_images: "raise" or "skip", see `evaluate`.
        workers: parallel calls of the input pipeline; 0 lets tf.data choose.
        notes: collects problems of images.
    """

    def __init__(
        self,
        model: keras.Model,
        method: Method,
        split: CocoSplit,
        *,
        image_size: tuple[int, int],
        batch_size: int,
        score_threshold: float,
        broken_images: str = "raise",
        workers: int = 0,
        notes: pipeline.ImageNotes | None = None,
    ):
        self.model, self.method, self.split = model, method, split
        self.num_images = len(split.images)
        self.score_threshold = score_threshold
        self._reading: dict[str, Any] = {"image_size": image_size, "broken_images": broken_images, "workers": workers}
        self._notes = notes
        self._batch_size = min(batch_size, MAX_BATCH, max(1, self.num_images))
        self._parameters = named_parameters(model, trainable_only=True)
        self._predict = predict_function(model, method.decode, image_size=image_size, batch_size=self._batch_size)

    def take_weights(self, model: keras.Model, average: MovingAverage | None) -> None:
        """Copies the weights of the trained model, and over them their moving average where there is one."""
        for target, source in zip(self.model.variables, model.variables):
            target.assign(source)
        if average is not None:
            average.copy_to(self._parameters)

    def evaluate(self, on_batch: Callable[[int], None] | None = None) -> EvaluationResult:
        """The COCO figures of all validation images; `on_batch` gets the number of images done."""
        return evaluate(
            self._predict,
            self.split,
            batch_size=self._batch_size,
            score_threshold=self.score_threshold,
            notes=self._notes,
            on_batch=on_batch,
            **self._reading,
        )

    def panels(self, count: int) -> dict[str, np.ndarray]:
        """Ground truth and detections of the first `count` images: name -> uint8 [2 H, 2 W, 3], see `detection_panel`."""
        if not count:
            return {}
        dataset = pipeline.build_eval_dataset(self.split, batch_size=1, **self._reading)
        panels = {}
        for batch in pipeline.iterate(dataset.take(count)):
            panels[f"predictions/{int(batch['image_id'][0])}"] = self._panel(batch)
        return panels

    def _panel(self, batch: dict[str, tf.Tensor]) -> np.ndarray:
        """Of a batch of one image."""
        outputs = self.model(batch["image"], training=False)
        detections = self.method.decode(outputs)
        known = batch["labels"][0].numpy() >= 0
        boxes, labels = batch["boxes"][0].numpy()[known], batch["labels"][0].numpy()[known]
        return detection_panel(
            batch["image"][0].numpy(),
            true_boxes=boxes,
            true_labels=labels,
            target_heatmap=self.method.paint(boxes, labels)["heatmap"],
            boxes=detections["boxes"][0].numpy(),
            scores=detections["scores"][0].numpy(),
            labels=detections["classes"][0].numpy(),
            heatmap=tf.sigmoid(outputs["heatmap"])[0].numpy(),
            class_names=self.split.class_names,
        )
