"""From settings to what only training needs: optimizer, sentinel and learning rate."""

from __future__ import annotations

from collections.abc import Mapping

import tensorflow as tf

from ttfnet_tf.config import Config, effective_lr
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.training.optim import ReferenceSGD, learning_rate
from ttfnet_tf.training.optimizers import RuleGroups
from ttfnet_tf.training.sentinel import Sentinel
from ttfnet_tf.training.step import Optimizer


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


def sentinel_of(config: Config, parameters: Mapping[str, tf.Variable]) -> Sentinel:
    """The test of every step, for gradients in the order of `parameters`."""
    bias = METHODS[config.model.method].side_bias(parameters)
    side_bias = None if bias is None else list(parameters).index(bias)
    return Sentinel(explode_factor=config.train.explode_factor, side_bias=side_bias)


def learning_rate_at(config: Config, step: int, steps_per_epoch: int) -> float:
    """Learning rate of `step`, counted from 0."""
    return learning_rate(
        step,
        base_lr=effective_lr(config),
        steps_per_epoch=steps_per_epoch,
        epochs=config.train.epochs,
        schedule=config.optim.schedule,
        drop_epochs=config.optim.drop_epochs,
        drop_factor=config.optim.drop_factor,
        warmup_steps=config.optim.warmup_steps,
        warmup_ratio=config.optim.warmup_ratio,
    )
