"""From settings to the objects that only training needs."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import Config, dump_config, effective_lr
from ttfnet_tf.config.schema import with_value
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.pipeline import ImageNotes
from ttfnet_tf.keras2 import keras
from ttfnet_tf.methods.base import Method
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.models.parameters import named_parameters
from ttfnet_tf.runs.moving_average import MovingAverage
from ttfnet_tf.runs.run_folder import Labels, RunFolder
from ttfnet_tf.training.choose_precision import choose_precision, hint
from ttfnet_tf.training.devices import trains_on_gpus
from ttfnet_tf.training.evaluator import Evaluator
from ttfnet_tf.training.intervals import Intervals
from ttfnet_tf.training.loss_scale import LossScale
from ttfnet_tf.training.mixing import Mixing
from ttfnet_tf.training.optimizers import RuleGroups
from ttfnet_tf.training.schedule import Trapezoid, learning_rate
from ttfnet_tf.training.sentinel import Sentinel
from ttfnet_tf.training.sgd import ReferenceSGD
from ttfnet_tf.training.state import MetricWindow, Optimizer, TrainState
from ttfnet_tf.training.step import build_train_function, metric_names
from ttfnet_tf.training.step_inspection import inspect_step
from ttfnet_tf.training.step_record import StepRecorder
from ttfnet_tf.training.teacher import load_teacher
from ttfnet_tf.training.time_budget import RunTime, TimeBudget
from ttfnet_tf.training.time_plan import TimePlan


def with_precision(config: Config, strategy: tf.distribute.Strategy, begun: Config | None = None) -> tuple[Config, str | None]:
    """The settings with `train.precision: auto` decided.

    Args:
        config: settings of a run.
        strategy: of the run.
        begun: settings of the same run when it began, where it resumes: it keeps its precision.

    Returns:
        The settings, and a line about the precision or None.
    """
    if config.train.precision == "float32":
        line = hint(strategy)
        return config, line and f"note: {line}"
    if config.train.precision != "auto":
        return config, None
    if begun is None:
        precision, line = choose_precision(strategy, agree=config.train.strategy == "multi_worker")
    else:
        precision, line = begun.train.precision, f"train.precision=auto: {begun.train.precision}, as this run began"
    return with_value(config, "train.precision", precision), line


def state_of(config: Config, strategy: tf.distribute.Strategy, num_classes: int) -> TrainState:
    """What a checkpoint of the run holds, as it is before the first step; pretrained weights are not loaded here.

    `train.precision` is decided, see `with_precision`.
    """
    with strategy.scope():
        model = build.model_of(config, num_classes, precision=config.train.precision)
        parameters = named_parameters(model, trainable_only=True)
        return TrainState(
            model=model,
            parameters=parameters,
            optimizer=optimizer_of(config, parameters),
            average=MovingAverage(parameters, config.optim.ema_decay) if config.optim.ema_decay else None,
            loss_scale=LossScale() if config.train.precision == "mixed_float16" else None,
            sentinel=Sentinel(explode_factor=config.train.explode_factor),
            window=MetricWindow(metric_names(build.method_of(config, num_classes))),
        )


def optimizer_of(config: Config, parameters: Mapping[str, tf.Variable]) -> Optimizer:
    """The configured optimizer for `parameters`, by their official names."""
    settings = {
        "momentum": config.optim.momentum,
        "weight_decay": config.optim.weight_decay,
        "bias_lr_multiplier": config.optim.bias_lr_multiplier,
        "bias_weight_decay": config.optim.bias_weight_decay,
    }
    if config.optim.name == "sgd":
        return ReferenceSGD(parameters, **settings)
    return RuleGroups(parameters, config.optim.name, **settings)


def train_function_of(config: Config, strategy: tf.distribute.Strategy, state: TrainState, method: Method) -> Callable:
    """The compiled training steps, see `step.build_train_function`."""
    with strategy.scope():
        teacher = load_teacher(config, method)
    return build_train_function(
        strategy,
        state,
        method,
        normalizer=config.losses.normalizer,
        clip_norm=config.optim.clip_norm,
        restore_statistics=config.train.on_divergence == "skip",
        jit_compile=config.train.jit_compile,
        measures_wait=not config.train.deterministic,
        side_bias=side_bias_of(config, state.parameters),
        accumulate=config.optim.accumulate,
        teacher=teacher,
    )


def side_bias_of(config: Config, parameters: Mapping[str, tf.Variable]) -> int | None:
    """Position of the bias that shows dead sides of the box head, None for heads that do not end in a ReLU or are frozen."""
    bias = METHODS[config.model.method].side_bias(parameters)
    return None if bias is None else list(parameters).index(bias)


def learning_rate_of(config: Config, steps_per_epoch: int, budget: TimeBudget | None = None) -> Callable[[int], float]:
    """The learning rate of a step, counted from 0; with a budget that of its plan at the moment."""
    optim, steps = config.optim, config.train.steps
    total = steps or config.train.epochs * steps_per_epoch
    rate = functools.partial(
        learning_rate,
        base_lr=effective_lr(config),
        steps_per_epoch=steps_per_epoch,
        epochs=steps / steps_per_epoch if steps else config.train.epochs,
        schedule=optim.schedule,
        drop_epochs=optim.drop_epochs,
        drop_factor=optim.drop_factor,
        warmup_steps=optim.warmup_steps,
        warmup_ratio=optim.warmup_ratio,
        trapezoid=Trapezoid.of(total, optim.cooldown, optim.cooldown_bends),
    )
    if budget is None:
        return rate
    return lambda step: rate(step, trapezoid=budget.plan.trapezoid, warmup_steps=budget.plan.warmup_steps)


def budget_of(config: Config, run_time: RunTime | None) -> TimeBudget | None:
    """The clock of a run with `train.minutes`, None for others."""
    if not config.train.minutes:
        return None
    return TimeBudget(
        60 * config.train.minutes,
        cooldown=config.optim.cooldown,
        warmup_steps=config.optim.warmup_steps,
        run_time=run_time or RunTime(time.monotonic()),
    )


def without_clock(config: Config, plan: TimePlan) -> Config:
    """The settings of a run that takes the steps of a plan whatever the time is."""
    trapezoid = plan.trapezoid
    values = {
        "train.minutes": 0.0,
        "train.steps": trapezoid.total_steps,
        "optim.warmup_steps": plan.warmup_steps,
        "optim.cooldown": (trapezoid.total_steps - trapezoid.cooldown_step) / trapezoid.total_steps,
        "optim.cooldown_bends": [float(number) for bend in trapezoid.bends[1:] for number in bend],
    }
    if plan.warmup_steps == 0:  # so few steps; nothing reads the ratio then, and a value of its own would be refused
        values["optim.warmup_ratio"] = Config().optim.warmup_ratio
    for key, value in values.items():
        config = with_value(config, key, value)
    return config


def intervals_of(config: Config, steps_per_epoch: int) -> Intervals:
    """When the run logs, evaluates and saves."""
    train = config.train
    return Intervals(
        steps_per_epoch=steps_per_epoch,
        epochs=train.epochs,
        steps_per_call=train.steps_per_call,
        log_every=train.log_every,
        evaluate_every=train.evaluate_every,
        checkpoint_every=train.checkpoint_every,
        steps=train.steps,
    )


def mixing_of(config: Config) -> Mixing:
    """Where mosaic and mixup end, if not with an epoch."""
    is_mixed, steps = bool(config.augment.mosaic or config.augment.mixup), config.train.steps
    return Mixing(
        is_mixed and bool(steps or config.train.minutes), Trapezoid.of(steps, config.optim.cooldown).cooldown_step if steps else None
    )


def batches_of(
    config: Config, strategy: tf.distribute.Strategy, split: CocoSplit, notes: ImageNotes, mixing: Mixing
) -> Callable[[int], Iterable]:
    """A function: number of a batch of the data -> the batches from there on, distributed over the replicas.

    One replica on a CPU reads its dataset itself: a distributed one copies to its devices by an iterator of its own, whose deletion may
    wait for a minute (see `pipeline`), and no option reaches that one.
    """
    is_one_cpu = strategy.num_replicas_in_sync == 1 and not trains_on_gpus(strategy)

    def batches(start: int) -> Iterable:
        def worker_dataset(context: tf.distribute.InputContext) -> tf.data.Dataset:
            shards = context.num_input_pipelines
            dataset = build.train_dataset(
                config,
                split,
                start_step=start,
                num_shards=shards,
                shard_index=context.input_pipeline_id,
                notes=notes,
                mixes=not mixing.is_over,
            )
            if strategy.num_replicas_in_sync == shards:
                return dataset
            return dataset.rebatch(context.get_per_replica_batch_size(config.train.batch_size), drop_remainder=True)

        return worker_dataset(tf.distribute.InputContext()) if is_one_cpu else strategy.distribute_datasets_from_function(worker_dataset)

    return batches


def evaluator_of(config: Config, strategy: tf.distribute.Strategy, split: CocoSplit, notes: ImageNotes) -> Evaluator:
    """The evaluation on `split` during training, on all replicas of a process; of several workers one evaluates."""
    shared = strategy if config.train.strategy == "mirrored" and strategy.num_replicas_in_sync > 1 else tf.distribute.get_strategy()
    with shared.scope():
        model = build.model_of(config, split.num_classes)
    return Evaluator(
        model,
        build.method_of(config, split.num_classes),
        split,
        image_size=config.data.size,
        batch_size=config.train.evaluate_batch_size,
        score_threshold=config.decode.score_threshold,
        broken_images=config.data.broken_images,
        workers=config.data.workers,
        cache=config.data.cache,
        keep_ratio=config.data.keep_ratio,
        tile=config.data.tile,
        overlap=config.data.tile_overlap,
        notes=notes,
        strategy=shared,
    )


def step_recorder_of(
    config: Config, strategy: tf.distribute.Strategy, folder: RunFolder, split: CocoSplit, method: Method, mixing: Mixing
) -> StepRecorder:
    """What writes the records of bad steps."""

    def read_batch(number: int) -> dict[str, np.ndarray]:
        dataset = build.train_dataset(config, split, start_step=number, mixes=not mixing.is_over)
        return {name: values.numpy() for name, values in next(iter(dataset)).items()}

    def copy_model(source: keras.Model, copy: keras.Model | None) -> keras.Model:
        copy = copy or build.model_of(config, split.num_classes, precision=config.train.precision)
        for to, value in zip(copy.variables, source.variables):
            to.assign(strategy.experimental_local_results(value)[0])
        return copy

    return StepRecorder(
        folder=folder.path / "divergence",
        writes=folder.writes,
        config_yaml=dump_config(config),
        labels=Labels(tuple(split.class_names), tuple(split.category_ids)),
        files={image.id: image.path for image in split.images},
        replicas=strategy.num_replicas_in_sync,
        read_batch=read_batch,
        copy_model=copy_model,
        inspect=inspection_of(config, method, strategy.num_replicas_in_sync),
    )


def inspection_of(
    config: Config, method: Method, replicas: int
) -> Callable[[keras.Model, Mapping[str, np.ndarray], float], dict[str, Any]]:
    """A function: network, batch and loss scale -> result of `inspect_step`."""

    def inspect(model: keras.Model, batch: Mapping[str, np.ndarray], loss_scale: float) -> dict[str, Any]:
        return inspect_step(
            model,
            method,
            batch,
            normalizer=config.losses.normalizer,
            synchronized=config.model.batch_norm == "synchronized",
            replicas=replicas,
            accumulate=config.optim.accumulate,
            loss_scale=loss_scale,
            teacher=load_teacher(config, method),
        )

    return inspect
