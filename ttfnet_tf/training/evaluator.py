"""Evaluation during training, on a float32 copy of the model: one, or one for each replica of the process.

It computes what `ttfnet evaluate` computes from a checkpoint of the same step, whatever the precision of training.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from ttfnet_tf.boxes import tiles_of
from ttfnet_tf.data import pipeline
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.evaluation.evaluate import EvaluationResult, detector_in_tiles, evaluate, evaluate_tiles
from ttfnet_tf.inference.on_replicas import CPU_BATCH, GPU_BATCHES, largest_batch, predict_on_replicas
from ttfnet_tf.inspect.overlays import detection_panel
from ttfnet_tf.keras2 import keras
from ttfnet_tf.methods.base import Method
from ttfnet_tf.models.parameters import named_parameters
from ttfnet_tf.runs.moving_average import MovingAverage


class Evaluator:
    """Evaluates the current weights on the validation images.

    Args:
        model: a network of its own, in float32, made under `strategy`.
        method: decodes its outputs.
        split: validation images, read with `training=False`.
        image_size: (H, W) of the input in pixels.
        batch_size: images of each replica in one call; does not change the result. 0 takes 8 on a CPU, and on GPUs as many as fit, up
            to 64.
        score_threshold: only scores above it count.
        broken_images: "raise" or "skip", see `evaluate`.
        workers: parallel calls of the input pipeline; 0 is one for each processor core.
        notes: collects problems of images.
        strategy: whose replicas share the images; None is one device.
        cache: "ram" or "disk" keeps resized images for the next evaluation.
        keep_ratio: whether images keep their ratio, see `boxes.fitted_size`.
        tile: side in pixels of the tiles in which images are evaluated, see `TiledDetector`; 0 is no tiles.
        overlap: of tiles.
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
        strategy: tf.distribute.Strategy | None = None,
        cache: str = "none",
        keep_ratio: bool = False,
        tile: int = 0,
        overlap: float = 0.2,
    ):
        self.model, self.method, self.split = model, method, split
        self.num_images = len(split.images)
        self.score_threshold = score_threshold
        self._reading: dict[str, Any] = {"image_size": image_size, "broken_images": broken_images, "workers": workers}
        self._reading["keep_ratio"] = keep_ratio
        self._notes, self._cache = notes, "none" if tile else cache
        self._tile, self._overlap = tile, overlap
        self._strategy = strategy or tf.distribute.get_strategy()
        self._wanted_batch = batch_size
        self._parameters = named_parameters(model, trainable_only=True)
        self._copy: Callable[[], None] | None = None  # made when it is known from what; compiled, as what follows, so that a long run
        self._panel_outputs = tf.function(self._outputs, autograph=False)  # has few tensors outside graphs, see `step`
        self._datasets: dict[tuple[int, int | None], tf.data.Dataset] = {}  # see `_dataset`
        self._predict: tuple[Callable, int] | None = None  # function and images of one call, once it is needed

    def take_weights(self, model: keras.Model, average: MovingAverage | None) -> None:
        """Copies the weights of the trained model, and over them their moving average where there is one; always of the same objects."""

        @tf.function(autograph=False)
        def copy():
            for target, source in zip(self.model.variables, model.variables):
                target.assign(source)
            if average is not None:
                average.copy_to(self._parameters)

        self._copy = self._copy or copy
        self._copy()

    def evaluate(self, on_batch: Callable[[int], None] | None = None) -> EvaluationResult:
        """The COCO figures of all validation images; `on_batch` gets the number of images done."""
        self._predict = self._predict or self._make_predict()
        predict, batch_size = self._predict
        if self._tile:
            return self._evaluate_tiles(predict, batch_size, on_batch)
        return evaluate(
            predict,
            self.split,
            dataset=self._dataset(batch_size),
            batch_size=batch_size,
            score_threshold=self.score_threshold,
            notes=self._notes,
            on_batch=on_batch,
            **self._reading,
        )

    def seconds(self) -> float:
        """About how long an evaluation takes, by one batch; what has to be compiled for it is, then."""
        self._predict = self._predict or self._make_predict()
        predict, batch_size = self._predict
        images = np.zeros([batch_size, *self._reading["image_size"], 3], np.uint8)
        times = []
        for _ in range(2):
            start = time.monotonic()
            np.asarray(predict(images)["scores"])
            times.append(time.monotonic() - start)
        return times[-1] * -(-self._num_views() // batch_size)

    def panels(self, count: int) -> dict[str, np.ndarray]:
        """Ground truth and detections of the first `count` images: name -> uint8 [2 H, 2 W, 3], see `detection_panel`."""
        if not count:
            return {}
        panels = {}
        for batch in pipeline.iterate(self._dataset(1, first=count)):
            panels[f"predictions/{int(batch['image_id'][0])}"] = self._panel(batch)
        return panels

    def _evaluate_tiles(self, predict: Callable, batch_size: int, on_batch: Callable[[int], None] | None) -> EvaluationResult:
        detector = detector_in_tiles(
            predict,
            self.split,
            image_size=self._reading["image_size"],
            keep_ratio=self._reading["keep_ratio"],
            score_threshold=self.score_threshold,
            tile=self._tile,
            overlap=self._overlap,
        )
        broken_images = self._reading["broken_images"]
        return evaluate_tiles(
            detector, self.split, batch_size=batch_size, broken_images=broken_images, notes=self._notes, on_batch=on_batch
        )

    def _num_views(self) -> int:
        """Images, or tiles of them, that the network sees in an evaluation."""
        if not self._tile:
            return self.num_images
        sizes = [(int(height), int(width)) for height, width in self.split.images.sizes.tolist()]
        return sum(len(tiles_of(size, self._tile, self._overlap)) for size in sizes)

    def _make_predict(self) -> tuple[Callable, int]:
        """The function that detects on images, and how many it takes."""
        replicas, image_size = self._strategy.num_replicas_in_sync, self._reading["image_size"]
        most = -(-max(1, self._num_views()) // replicas)  # that a replica has to do

        def make(size: int) -> Callable:
            return predict_on_replicas(self._strategy, self.model, self.method.decode, image_size=image_size, batch_size=size)

        sizes = [self._wanted_batch] if self._wanted_batch else GPU_BATCHES if tf.config.list_logical_devices("GPU") else [CPU_BATCH]
        sizes = list(dict.fromkeys(min(size, most) for size in sizes))
        function, size = largest_batch(make, sizes, image_size=image_size, replicas=replicas)
        return function, size * replicas

    def _dataset(self, batch_size: int, *, first: int | None = None) -> tf.data.Dataset:
        """All images in such batches, or the `first` batches; made once."""
        key = batch_size, first
        if key not in self._datasets:
            notes = self._notes if first is None else None  # each problem is noted once
            made = pipeline.build_eval_dataset(self.split, batch_size=batch_size, notes=notes, cache=self._cache, **self._reading)
            self._datasets[key] = made if first is None else made.take(first)
        return self._datasets[key]

    def _panel(self, batch: dict[str, tf.Tensor]) -> np.ndarray:
        """Of a batch of one image."""
        detections = {name: value.numpy()[0] for name, value in self._panel_outputs(batch["image"]).items()}
        known = batch["labels"][0].numpy() >= 0
        boxes, labels = batch["boxes"][0].numpy()[known], batch["labels"][0].numpy()[known]
        return detection_panel(
            batch["image"][0].numpy(),
            true_boxes=boxes,
            true_labels=labels,
            target_heatmap=self.method.paint(boxes, labels)["heatmap"],
            boxes=detections["boxes"],
            scores=detections["scores"],
            labels=detections["classes"],
            heatmap=detections["heatmap"],
            class_names=self.split.class_names,
        )

    def _outputs(self, image: tf.Tensor) -> dict[str, tf.Tensor]:
        """Detections and the heatmap as probabilities."""
        outputs = self.model(image, training=False)
        return {**self.method.decode(outputs), "heatmap": tf.sigmoid(outputs["heatmap"])}
