"""Evaluation during training, on a plain copy of the model that no strategy holds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import Config
from ttfnet_tf.data import pipeline
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.evaluation.evaluate import EvaluationResult, evaluate
from ttfnet_tf.inference.predictor import predict_function
from ttfnet_tf.inspect.overlays import detection_panel
from ttfnet_tf.models.parameters import named_parameters
from ttfnet_tf.runs.checkpoint import copy_average
from ttfnet_tf.runs.moving_average import MovingAverage

MAX_BATCH = 8  # images of one evaluation call; larger ones are not faster and take memory from training


class Evaluator:
    """Measures the validation split with the weights of the moment.

    Args:
        config: settings of the run.
        split: validation images, read with `training=False`.
    """

    def __init__(self, config: Config, split: CocoSplit):
        self.config, self.split = config, split
        self.image_size = config.data.size
        self.batch_size = min(config.train.batch_size, MAX_BATCH, max(1, len(split.images)))
        self.model = build.model_of(config, len(split.class_names))
        self._parameters = named_parameters(self.model, trainable_only=True)
        self._method = build.method_of(config, len(split.class_names))
        self._predict = predict_function(self.model, self._method.decode, image_size=self.image_size, batch_size=self.batch_size)

    def take_weights(self, model: tf.keras.Model, average: MovingAverage | None) -> None:
        """Copies the weights of the trained model, and their average over them where there is one."""
        for target, source in zip(self.model.variables, model.variables):
            target.assign(source)
        if average is not None:
            copy_average(average, self._parameters)

    def evaluate(self, notes: pipeline.ImageNotes | None = None, on_batch: Callable[[int], None] | None = None) -> EvaluationResult:
        """The COCO figures of the whole split; `notes` collects what its images show, `on_batch` gets the number of images done."""
        return evaluate(
            self._predict,
            self.split,
            image_size=self.image_size,
            batch_size=self.batch_size,
            score_threshold=self.config.decode.score_threshold,
            broken_images=self.config.data.broken_images,
            workers=self.config.data.workers,
            notes=notes,
            on_batch=on_batch,
        )

    def panels(self, count: int) -> dict[str, np.ndarray]:
        """Truth and prediction of the first `count` images: name -> uint8 [2 H, 2 W, 3], see `detection_panel`."""
        panels: dict[str, np.ndarray] = {}
        if not count:
            return panels
        dataset = pipeline.build_eval_dataset(
            self.split,
            image_size=self.image_size,
            batch_size=1,
            broken_images=self.config.data.broken_images,
            workers=self.config.data.workers,
        )
        for batch in pipeline.iterate(dataset.take(count)):
            outputs = self.model(batch["image"], training=False)
            found = self._method.decode(outputs)
            known = batch["labels"][0].numpy() >= 0
            boxes, labels = batch["boxes"][0].numpy()[known], batch["labels"][0].numpy()[known]
            panels[f"predictions/{int(batch['image_id'][0])}"] = detection_panel(
                batch["image"][0].numpy(),
                true_boxes=boxes,
                true_labels=labels,
                target_heatmap=self._method.paint(boxes, labels)["heatmap"],
                boxes=found["boxes"][0].numpy(),
                scores=found["scores"][0].numpy(),
                labels=found["classes"][0].numpy(),
                heatmap=tf.sigmoid(outputs["heatmap"])[0].numpy(),
                class_names=self.split.class_names,
            )
        return panels
