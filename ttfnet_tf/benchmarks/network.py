"""Where the time goes: training and detection split into stages, as medians with their spread."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import Config
from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.data.transforms import resize
from ttfnet_tf.inference.predictor import predict_function
from ttfnet_tf.models.cost import cost_of, cost_table
from ttfnet_tf.models.parameters import named_parameters
from ttfnet_tf.training import build as training_build
from ttfnet_tf.training.devices import build_strategy
from ttfnet_tf.training.step import build_train_function

OnStage = Optional[Callable[[str], object]]
WARM_UP = 2  # calls that trace, optimise the graph and fill caches


@dataclass(frozen=True)
class Stage:
    """Times of one stage in milliseconds."""

    name: str
    milliseconds: tuple[float, ...]
    images: int  # of one call

    def __str__(self) -> str:
        low, middle, high = np.percentile(self.milliseconds, [10, 50, 90])
        return f"{self.name:34} {middle:9.1f} ms  ({low:.1f} .. {high:.1f})  {1000 * self.images / middle:8.1f} images/s"


def measure(name: str, call: Callable[[], object], *, repeats: int, images: int, on_stage: OnStage = None) -> Stage:
    """Calls `call` `repeats` times after a warm-up; the 10th and 90th percentile are the spread. `on_stage` gets the name first."""
    if on_stage is not None:
        on_stage(name.strip())
    for _ in range(WARM_UP):
        call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return Stage(name, tuple(times), images)


def peak_memory_gb() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def benchmark_training(config: Config, *, repeats: int, on_stage: OnStage = None) -> tuple[list[Stage], float]:
    """Whole training steps, then their parts.

    Args:
        config: settings of a run; without `data.train` images of 640 x 480 are drawn for it.
        repeats: measured calls of each stage.
        on_stage: called with the name of each stage before it is measured.

    Returns:
        Stages, and the peak memory in GB of training alone (taken before the parts are measured).
    """
    strategy = build_strategy("mirrored", config.train.devices)
    tf.keras.mixed_precision.set_global_policy(config.train.precision)
    batch_size = config.train.batch_size
    with tempfile.TemporaryDirectory() as folder:
        split = build.load_split(_with_images(config, Path(folder)), "train")
        method = build.method_of(config, split.num_classes)
        with strategy.scope():
            model = build.model_of(config, split.num_classes)
            named = named_parameters(model, trainable_only=True)
            optimizer = training_build.optimizer_of(config, named)
            sentinel = training_build.sentinel_of(config, named)
        parameters = list(named.values())
        train = build_train_function(
            strategy,
            model,
            parameters,
            optimizer,
            method,
            normalizer=config.losses.normalizer,
            clip_norm=config.optim.clip_norm,
            sentinel=sentinel,
        )
        # Without a real learning rate the weights, and so the work, stay what they are.
        rates, step = tf.constant([1e-9]), tf.constant(0, tf.int64)
        dataset = build.train_dataset(config, split)
        iterator = iter(strategy.experimental_distribute_dataset(dataset))

        def whole_step():
            with strategy.scope():
                return train(iterator, rates, step)["loss"].numpy()

        stages = [measure("training step, everything on", whole_step, repeats=repeats, images=batch_size, on_stage=on_stage)]
        peak = peak_memory_gb()
        batches = iter(dataset)
        stages.append(measure("  pipeline alone, all cores", lambda: next(batches), repeats=repeats, images=batch_size, on_stage=on_stage))
        batch = next(batches)

    targets = tf.function(method.render)
    rendered = batch if "heatmap" in batch else targets(batch["boxes"], batch["labels"])
    rendered = {key: rendered[key] for key in method.target_shapes}

    @tf.function
    def forward(image):
        return model(image, training=True)

    @tf.function
    def losses(outputs):
        return method.losses(outputs, rendered)["loss"]

    @tf.function
    def gradients(image):
        with tf.GradientTape() as tape:
            loss = losses(model(image, training=True))
        return tape.gradient(loss, parameters)

    outputs = forward(batch["image"])
    parts = {
        "  targets on the device": lambda: targets(batch["boxes"], batch["labels"])["heatmap"].numpy(),
        "  forward": lambda: forward(batch["image"])["heatmap"].numpy(),
        "  losses": lambda: losses(outputs).numpy(),
        "  forward, losses, backward": lambda: gradients(batch["image"])[0].numpy(),
    }
    stages += [measure(name, call, repeats=repeats, images=batch_size, on_stage=on_stage) for name, call in parts.items()]
    return stages, peak


def benchmark_detection(config: Config, *, num_classes: int, repeats: int, on_stage: OnStage = None) -> tuple[list[Stage], float]:
    """One image of the configured size to boxes, and the parts of it.

    Returns:
        Stages, and the peak memory in GB.
    """
    size = tuple(config.data.image_size)
    model = build.model_of(config, num_classes)
    image = tf.constant(np.random.default_rng(0).integers(0, 256, (1, *size, 3), np.uint8))
    method = build.method_of(config, num_classes)
    predict = predict_function(model, method.decode, image_size=size, batch_size=1, weights="constants")
    forward = tf.function(lambda pixels: model(pixels, training=False))
    outputs = forward(image)
    decoded = tf.function(method.decode)
    with tempfile.TemporaryDirectory() as folder:
        split = _drawn(Path(folder), 1)
        path = split.images[0].path
        calls = {
            "one image to boxes": lambda: predict(image)["boxes"].numpy(),
            "  forward": lambda: forward(image)["heatmap"].numpy(),
            "  decode": lambda: decoded(outputs)["boxes"].numpy(),
            "  reading and resizing 640 x 480": lambda: resize(read_rgb(path), np.zeros([0, 4], np.float32), size),
        }
        stages = [measure(name, call, repeats=repeats, images=1, on_stage=on_stage) for name, call in calls.items()]
    return stages, peak_memory_gb()


def network_cost(config: Config, *, num_classes: int) -> str:
    """Parameters and multiply-adds of the configured network by part, as a table."""
    return cost_table(cost_of(build.model_of(config, num_classes), tuple(config.data.image_size)))


def _with_images(config: Config, folder: Path) -> Config:
    if config.data.train.annotations:
        return config
    import dataclasses

    draw_shapes(folder, train=4 * config.train.batch_size, val=1, size=(480, 640), seed=0)
    train = dataclasses.replace(config.data.train, annotations=str(folder / "annotations/train.json"), images=str(folder / "train"))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, train=train))


def _drawn(folder: Path, count: int):
    draw_shapes(folder, train=count, val=1, size=(480, 640), seed=0)
    return load_coco(folder / "annotations/train.json", folder / "train", training=True)
