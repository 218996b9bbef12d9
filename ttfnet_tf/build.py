"""From settings to objects: the one place that knows both."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from ttfnet_tf.backbones.keras_cv import load_preset
from ttfnet_tf.centernet import TARGETS as CENTERNET_TARGETS
from ttfnet_tf.centernet import centernet
from ttfnet_tf.config import Config, SplitConfig, effective_lr
from ttfnet_tf.data.augment import Augmentation
from ttfnet_tf.data.coco import CocoSplit, load_coco
from ttfnet_tf.data.pipeline import PictureNotes, build_train_dataset
from ttfnet_tf.errors import UserError
from ttfnet_tf.methods import Method, ttfnet
from ttfnet_tf.model import build_model
from ttfnet_tf.optim import ReferenceSGD, learning_rate
from ttfnet_tf.optimizers import RuleGroups
from ttfnet_tf.sentinel import Sentinel
from ttfnet_tf.step import Optimizer
from ttfnet_tf.weights.load import load_pretrained


def model_of(config: Config, num_classes: int) -> tf.keras.Model:
    """The network, initialised by `train.seed`; pretrained weights are not loaded here."""
    settings = config.model
    return build_model(
        num_classes,
        backbone=settings.backbone,
        head=settings.head,
        neck=settings.neck,
        sampler=settings.sampler,
        neck_channels=tuple(settings.neck_channels),
        shortcut=tuple(settings.shortcut),
        upsampling=settings.upsampling,
        heatmap_head=(settings.heatmap_head.width, settings.heatmap_head.depth),
        box_head=(settings.box_head.width, settings.box_head.depth),
        box_per_class=settings.box_per_class,
        frozen_stages=settings.frozen_stages,
        zero_init_residual=settings.zero_init_residual,
        batch_norm=settings.batch_norm,
        seed=config.train.seed,
        image_size=tuple(config.data.image_size),
    )


def load_pretrained_of(config: Config, model: tf.keras.Model) -> str:
    """Loads what `model.pretrained` names into a network from `model_of`; returns a report for people.

    Raises:
        UserError: it cannot be had, or does not fit.
    """
    source = str(config.model.pretrained)
    of_keras_cv = config.model.backbone.startswith("keras_cv/")
    if of_keras_cv and not (source.startswith("timm/") or Path(source).suffix):
        return load_preset(model, source, backbone=config.model.backbone)
    return str(load_pretrained(model, source))


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
    bias = f"bbox_head.wh.{config.model.box_head.depth}.bias"
    # CenterNet's sizes end in no ReLU.
    side_bias = list(parameters).index(bias) if config.model.head == "ttfnet" and bias in parameters else None
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


def method_of(config: Config, num_classes: int) -> Method:
    """Targets, losses and decoding of the detector that `model.head` names."""
    return _METHODS[config.model.head](config, num_classes)


def target_settings(config: Config) -> dict[str, Any]:
    """Keywords of `targets.paint_targets` for the detector that `model.head` names: sizes, forms and `box_per_class`."""
    own = dataclasses.asdict(config.targets) if config.model.head == "ttfnet" else {"alpha": 0.54, "area": "gaussian", **CENTERNET_TARGETS}
    own.pop("backend", None)
    return {**own, "box_per_class": config.model.box_per_class}


def _ttfnet(config, num_classes):
    return ttfnet(
        image_size=tuple(config.data.image_size),
        num_classes=num_classes,
        heatmap_weight=config.losses.heatmap_weight,
        box_weight=config.losses.box_weight,
        top_k=config.decode.top_k,
        **target_settings(config),
    )


def _centernet(config, num_classes):
    return centernet(
        image_size=tuple(config.data.image_size),
        num_classes=num_classes,
        box_per_class=config.model.box_per_class,
        heatmap_weight=config.losses.heatmap_weight,
        size_weight=config.losses.box_weight,
        offset_weight=config.losses.offset_weight,
        top_k=config.decode.top_k,
    )


_METHODS = {"ttfnet": _ttfnet, "centernet": _centernet}


def load_split(config: Config, name: str) -> CocoSplit:
    """Annotations of `data.train` or `data.val`.

    Args:
        config: settings.
        name: "train" (pictures that cannot be trained on are left out) or "val" (every picture stays).

    Raises:
        UserError: a path is not set, or what `load_coco` finds wrong.
    """
    paths: SplitConfig = getattr(config.data, name)
    for key in ("annotations", "images"):
        if not getattr(paths, key):
            raise UserError(f"data.{name}.{key} is not set; name it in the configuration or as data.{name}.{key}=PATH")
    return load_coco(
        paths.annotations,
        paths.images,
        crowd=config.data.crowd,
        min_box_size=config.data.min_box_size,
        min_image_size=config.data.min_image_size,
        empty_images=config.data.empty_images,
        training=name == "train",
    )


def train_dataset(
    config: Config,
    split: CocoSplit,
    *,
    start_step: int = 0,
    num_shards: int = 1,
    shard_index: int = 0,
    notes: PictureNotes | None = None,
) -> tf.data.Dataset:
    """Batches from `start_step` on; one shard gets its rows of every global batch. `notes` collects what pictures show."""
    return build_train_dataset(
        split,
        image_size=tuple(config.data.image_size),
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        augment=Augmentation(**dataclasses.asdict(config.augment)),
        method=method_of(config, len(split.class_names)),
        backend=config.targets.backend,
        broken_pictures=config.data.broken_pictures,
        workers=config.data.workers,
        start_step=start_step,
        num_shards=num_shards,
        shard_index=shard_index,
        notes=notes,
    )
