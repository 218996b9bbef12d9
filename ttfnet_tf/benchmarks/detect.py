"""Time of detection on one image, as a whole and stage by stage."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.benchmarks.stages import OnStage, Stage, peak_memory_gb, time_stage
from ttfnet_tf.config import Config
from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.data.transforms import resize
from ttfnet_tf.inference.predictor import predict_function


def benchmark_detection(config: Config, *, num_classes: int, repeats: int, on_stage: OnStage = None) -> tuple[list[Stage], float]:
    """Times one image of the configured size, from pixels to boxes, with a network of initial weights.

    Args:
        config: settings of a run.
        num_classes: of the network.
        repeats: timed calls of each stage.
        on_stage: called with the name of each stage before it is timed.

    Returns:
        The stages, and the peak memory in GB.
    """
    size, keep_ratio = config.data.size, config.data.keep_ratio
    model = build.model_of(config, num_classes)
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8))
    method = build.method_of(config, num_classes)
    predict = predict_function(model, method.decode, image_size=size, batch_size=1, weights="constants")
    forward = tf.function(lambda pixels: model(pixels, training=False), autograph=False)
    outputs = forward(image)
    decoded = tf.function(method.decode, autograph=False)
    with tempfile.TemporaryDirectory() as folder:
        path = _drawn_image(Path(folder))
        calls = {
            "one image to boxes": lambda: predict(image)["boxes"].numpy(),
            "  forward": lambda: forward(image)["heatmap"].numpy(),
            "  decode": lambda: decoded(outputs)["boxes"].numpy(),
            "  reading and resizing 640 x 480": lambda: resize(read_rgb(path), np.zeros([0, 4], np.float32), size, keep_ratio=keep_ratio),
        }
        stages = [time_stage(name, call, repeats=repeats, images=1, on_stage=on_stage) for name, call in calls.items()]
    return stages, peak_memory_gb()


def _drawn_image(folder: Path) -> Path:
    """A file of 640 x 480 pixels."""
    draw_shapes(folder, train=1, val=1, size=(480, 640), seed=0)
    return load_coco(folder / "annotations/train.json", folder / "train", training=True).images[0].path
