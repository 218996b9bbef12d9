"""Time of an evaluation: reading, detecting and measuring, as `ttfnet evaluate` does."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.benchmarks.stages import OnStage, Stage, peak_memory_gb, time_stage
from ttfnet_tf.config import Config
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.evaluation.coco_metrics import coco_evaluation
from ttfnet_tf.evaluation.evaluate import detect
from ttfnet_tf.inference.predictor import predict_function

_DRAWN = 64  # images of 640 x 480


def benchmark_evaluation(config: Config, *, repeats: int, on_stage: OnStage = None) -> tuple[list[Stage], float]:
    """Times passes over `data.val`, or over drawn images where that is not set, with a network of initial weights.

    Args:
        config: settings of a run; `train.batch_size` is the batch of the evaluation.
        repeats: timed calls of each stage.
        on_stage: called with the name of each stage before it is timed.

    Returns:
        The stages, and the peak memory in GB.
    """
    with tempfile.TemporaryDirectory() as folder:
        split = build.load_split(_with_images(config, Path(folder)), "val")
        size, batch_size, count = config.data.size, min(config.train.batch_size, len(split.images)), len(split.images)
        model, method = build.model_of(config, split.num_classes), build.method_of(config, split.num_classes)
        predict = predict_function(model, method.decode, image_size=size, batch_size=batch_size, weights="constants")
        batch = tf.zeros([batch_size, *size, 3], tf.uint8)
        threshold, workers = config.decode.score_threshold, config.data.workers

        def detections():
            sizes: dict[str, Any] = {"image_size": size, "batch_size": batch_size, "keep_ratio": config.data.keep_ratio}
            return detect(predict, split, score_threshold=threshold, workers=workers, **sizes)

        detected = detections()
        calls = {
            "images to detections": (detections, count),
            "  network and decoding alone": (lambda: predict(batch)["boxes"].numpy(), batch_size),
            "  COCO metrics": (lambda: coco_evaluation(split, detected), count),
        }
        stages = [time_stage(name, call, repeats=repeats, images=images, on_stage=on_stage) for name, (call, images) in calls.items()]
    return stages, peak_memory_gb()


def _with_images(config: Config, folder: Path) -> Config:
    """The settings with drawn validation images where they name none."""
    if config.data.val.files:
        return config
    draw_shapes(folder, train=1, val=_DRAWN, size=(480, 640), seed=0)
    val = dataclasses.replace(config.data.val, annotations=str(folder / "annotations/val.json"), images=str(folder / "val"))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, val=val))
