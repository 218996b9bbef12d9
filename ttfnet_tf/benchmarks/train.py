"""Time of a training step, as a whole and stage by stage."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.benchmarks.stages import OnStage, Stage, peak_memory_gb, time_stage
from ttfnet_tf.config import Config
from ttfnet_tf.data.pipeline import single_threaded_opencv
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.models.parameters import named_parameters
from ttfnet_tf.training import build as training_build
from ttfnet_tf.training.choose_precision import tensor_float_32
from ttfnet_tf.training.devices import build_strategy
from ttfnet_tf.training.sentinel import Sentinel
from ttfnet_tf.training.state import TrainState


@single_threaded_opencv()
def benchmark_training(config: Config, *, repeats: int, on_stage: OnStage = None) -> tuple[list[Stage], float]:
    """Times whole training steps, then their parts.

    Args:
        config: settings of a run; without `data.train`, images of 640 x 480 are drawn for it.
        repeats: timed calls of each stage.
        on_stage: called with the name of each stage before it is timed.

    Returns:
        The stages, and the peak memory in GB of training alone (taken before the parts are timed).
    """
    strategy = build_strategy("mirrored", config.train.devices)
    config, _ = training_build.with_precision(config, strategy)
    time = functools.partial(time_stage, repeats=repeats, images=config.train.batch_size, on_stage=on_stage)
    with tempfile.TemporaryDirectory() as folder, tensor_float_32(config.train.tf32):
        split = build.load_split(_with_images(config, Path(folder)), "train")
        dataset = build.train_dataset(config, split)
        method = build.method_of(config, split.num_classes)
        with strategy.scope():
            model = build.model_of(config, split.num_classes, precision=config.train.precision)
        stages = [time("training step, everything on", _training_step(config, strategy, model, method, dataset))]
        peak = peak_memory_gb()
        batches = iter(dataset)
        stages.append(time("  pipeline alone, all cores", lambda: next(batches)))
        batch = next(batches)
    stages += [time(name, call) for name, call in _parts_of_step(model, method, batch).items()]
    return stages, peak


def _training_step(config: Config, strategy: tf.distribute.Strategy, model, method, dataset) -> Callable[[], object]:
    """The step as training runs it, from the pipeline to the update."""
    with strategy.scope():
        named = named_parameters(model, trainable_only=True)
        sentinel = Sentinel(explode_factor=config.train.explode_factor)
        state = TrainState(model, named, training_build.optimizer_of(config, named), sentinel=sentinel)
    train = training_build.train_function_of(config, strategy, state, method)
    # A tiny learning rate, so that weights, and with them the work, stay the same.
    iterator = iter(strategy.experimental_distribute_dataset(dataset))

    def whole_step():
        with strategy.scope():
            return train(iterator, [1e-9], 0)["loss"]

    return whole_step


def _parts_of_step(model, method, batch) -> dict[str, Callable[[], object]]:
    """Name -> call of each part, all on the same batch."""
    parameters = list(named_parameters(model, trainable_only=True).values())
    targets = tf.function(method.render, autograph=False)
    rendered = batch if "heatmap" in batch else targets(batch["boxes"], batch["labels"])
    rendered = {key: rendered[key] for key in method.target_shapes}

    @tf.function(autograph=False)
    def forward(image):
        return model(image, training=True)

    @tf.function(autograph=False)
    def losses(outputs):
        return method.losses(outputs, rendered)["loss"]

    @tf.function(autograph=False)
    def gradients(image):
        with tf.GradientTape() as tape:
            loss = losses(model(image, training=True))
        return tape.gradient(loss, parameters)

    outputs = forward(batch["image"])
    return {
        "  targets on the device": lambda: targets(batch["boxes"], batch["labels"])["heatmap"].numpy(),
        "  forward": lambda: forward(batch["image"])["heatmap"].numpy(),
        "  losses": lambda: losses(outputs).numpy(),
        "  forward, losses, backward": lambda: gradients(batch["image"])[0].numpy(),
    }


def _with_images(config: Config, folder: Path) -> Config:
    """The settings with drawn training images where they name none."""
    if config.data.train.files:
        return config
    draw_shapes(folder, train=4 * config.train.batch_size, val=1, size=(480, 640), seed=0)
    train = dataclasses.replace(config.data.train, annotations=str(folder / "annotations/train.json"), images=str(folder / "train"))
    return dataclasses.replace(config, data=dataclasses.replace(config.data, train=train))
