"""From settings to objects: network, method, images and batches. Optimizer and sentinel are made in `training.build`."""

from __future__ import annotations

import dataclasses
import functools
import pkgutil
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from ttfnet_tf.config import Config, SplitConfig, value_of
from ttfnet_tf.config.schema import AUTO, closed_epochs
from ttfnet_tf.data.augment import Augmentation
from ttfnet_tf.data.coco import CocoSplit, ImageSet, load_sets
from ttfnet_tf.data.pipeline import ImageNotes, build_train_dataset
from ttfnet_tf.data.tiles import tiled
from ttfnet_tf.errors import UserError
from ttfnet_tf.keras2 import keras
from ttfnet_tf.methods.base import Method
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.models.detector import build_model
from ttfnet_tf.models.precision import precision_policy

_EVERY_EPOCH = 1 << 31


def model_of(config: Config, num_classes: int, *, precision: str = "float32") -> keras.Model:
    """The network, initialised by `train.seed`; pretrained weights are not loaded here.

    Args:
        config: settings; `train.precision` is not read, because it is the precision of training alone.
        num_classes: C.
        precision: that the network computes in, whatever Keras' global policy is. Weights and outputs are float32 in each.
    """
    with precision_policy(precision):
        return _model_of(config, num_classes)


def _model_of(config, num_classes):
    settings, method = config.model, METHODS[config.model.method]
    return build_model(
        num_classes,
        heads=functools.partial(pkgutil.resolve_name(method.heads), **_keywords(config, method.head_settings)),
        backbone=settings.backbone,
        neck=settings.neck,
        sampler=sampler_of(config),
        neck_channels=tuple(settings.neck_channels),
        shortcut=tuple(settings.shortcut),
        upsampling=settings.upsampling,
        frozen_stages=settings.frozen_stages,
        zero_init_residual=settings.zero_init_residual,
        batch_norm=settings.batch_norm,
        seed=config.train.seed,
        image_size=config.data.size,
    )


def sampler_of(config: Config) -> str:
    """The form of the deformable convolution on this machine, see `layers.deform_conv`."""
    if config.model.sampler != "auto":
        return config.model.sampler
    on_gpu = tf.config.list_physical_devices("GPU") and not any(name.lower().startswith("cpu") for name in config.train.devices)
    return "gather" if on_gpu or config.train.jit_compile or config.train.deterministic else "crop_and_resize"


def method_of(config: Config, num_classes: int) -> Method:
    """Targets, losses and decoding of the detector that `model.method` names.

    Raises:
        UserError: `losses.class_weights` does not fit the number of classes.
    """
    method = METHODS[config.model.method]
    if len(weights := config.losses.class_weights) not in (0, num_classes):
        raise UserError(
            f"losses.class_weights={weights} must have one number for each of the {num_classes} classes, in the order of the category ids"
        )
    keywords = _keywords(config, method.settings)
    return pkgutil.resolve_name(method.build)(image_size=config.data.size, num_classes=num_classes, **keywords)


def _keywords(config: Config, names: Mapping[str, str]) -> dict[str, Any]:
    """Keyword -> value of the setting that is named for it; of a section the tuple of its values."""
    values = {keyword: value_of(config, key) for key, keyword in names.items()}
    sections = {keyword: value for keyword, value in values.items() if dataclasses.is_dataclass(value) and not isinstance(value, type)}
    return {**values, **{keyword: dataclasses.astuple(section) for keyword, section in sections.items()}}


def load_split(config: Config, name: str, *, known: tuple[Sequence[int], Sequence[str]] | None = None) -> CocoSplit:
    """Annotations of `data.train`, in the tiles of `data.tile`, or of `data.val`.

    Args:
        config: settings.
        name: "train" (without images that cannot be trained on) or "val" (every image).
        known: category ids and names of a trained model. With `data.classes` or several files, classes are matched with them by name.

    Raises:
        UserError: a path is not set, or what `load_sets` finds wrong.
    """
    paths: SplitConfig = getattr(config.data, name)
    for key in () if paths.sets else ("annotations", "images"):
        if not getattr(paths, key):
            raise UserError(f"data.{name}.{key} is not set; name it in the configuration or as data.{name}.{key}=PATH")
    matches_names = config.data.classes or config.data.train.sets or config.data.val.sets
    split = load_sets(
        [ImageSet(**dataclasses.asdict(one)) for one in paths.files],
        classes=config.data.classes,
        known=list(zip(*known)) if known is not None and matches_names else None,
        crowd=config.data.crowd,
        min_box_size=config.data.min_box_size,
        min_image_size=config.data.min_image_size,
        empty_images=config.data.empty_images,
        training=name == "train",
    )
    if name != "train":
        return split
    rules: dict[str, Any] = {"min_box_size": config.data.min_box_size, "empty_images": config.data.empty_images}
    return tiled(split, config.data.tile, config.data.tile_overlap, **rules)


def augmentation_of(config: Config, *, mixes: bool = True) -> Augmentation:
    """The random changes of training; `augment.close` as the number of epochs before it.

    Args:
        config: settings.
        mixes: in a run of `train.steps` or `train.minutes`, which end no epoch: whether mosaic and mixup are still on.
    """
    settings = dataclasses.asdict(config.augment)
    del settings["close"]
    if not (settings["mosaic"] or settings["mixup"]):
        return Augmentation(**settings)
    if config.train.steps or config.train.minutes:
        return Augmentation(**settings, mixed_epochs=_EVERY_EPOCH if mixes else 0)
    return Augmentation(**settings, mixed_epochs=config.train.epochs - closed_epochs(config))


def train_dataset(
    config: Config,
    split: CocoSplit,
    *,
    start_step: int = 0,
    num_shards: int = 1,
    shard_index: int = 0,
    notes: ImageNotes | None = None,
    mixes: bool = True,
) -> tf.data.Dataset:
    """Batches from `start_step` on; one shard gets its rows of every global batch.

    `notes` collects what is noticed about images; `mixes` is that of `augmentation_of`.

    Raises:
        UserError: `train.batch_size=auto` is not decided.
    """
    if config.train.batch_size == AUTO:
        raise UserError("train.batch_size=auto is decided by `ttfnet train` alone; name a number here")
    return build_train_dataset(
        split,
        image_size=config.data.size,
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        augment=augmentation_of(config, mixes=mixes),
        method=method_of(config, len(split.class_names)),
        backend=config.targets.backend,
        broken_images=config.data.broken_images,
        workers=config.data.workers,
        start_step=start_step,
        num_shards=num_shards,
        shard_index=shard_index,
        notes=notes,
        service=config.data.service,
        cache=config.data.cache,
        class_balance=config.data.class_balance,
        keep_ratio=config.data.keep_ratio,
    )
