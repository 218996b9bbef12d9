"""From settings to objects: the one place that knows both."""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from ttfnet_tf.config import Config, SplitConfig
from ttfnet_tf.data.augment import Augmentation
from ttfnet_tf.data.coco import CocoSplit, load_coco
from ttfnet_tf.data.pipeline import ImageNotes, build_train_dataset
from ttfnet_tf.errors import UserError
from ttfnet_tf.methods.base import Method, ttfnet
from ttfnet_tf.methods.centernet import TARGETS as CENTERNET_TARGETS
from ttfnet_tf.methods.centernet import centernet
from ttfnet_tf.models.detector import build_model


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
        name: "train" (images that cannot be trained on are left out) or "val" (every image stays).

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
    notes: ImageNotes | None = None,
) -> tf.data.Dataset:
    """Batches from `start_step` on; one shard gets its rows of every global batch. `notes` collects what images show."""
    return build_train_dataset(
        split,
        image_size=tuple(config.data.image_size),
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        augment=Augmentation(**dataclasses.asdict(config.augment)),
        method=method_of(config, len(split.class_names)),
        backend=config.targets.backend,
        broken_images=config.data.broken_images,
        workers=config.data.workers,
        start_step=start_step,
        num_shards=num_shards,
        shard_index=shard_index,
        notes=notes,
    )
