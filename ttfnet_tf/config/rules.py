"""What a configuration may not say: values out of range, combinations that cannot be, settings that nothing reads.

Tables of rows, longer than other files for that; a message names the key, its value and what is allowed.
"""

import dataclasses
import difflib
import math
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ttfnet_tf.boxes import LEAST_TILE, MOST_OVERLAP
from ttfnet_tf.config.schema import AUTO, Config, list_settings, value_of
from ttfnet_tf.config.yaml_tree import shown
from ttfnet_tf.errors import UserError
from ttfnet_tf.methods.catalog import METHODS, shared_settings
from ttfnet_tf.models.backbones import BACKBONES


def check_choices(config: Config, source: str) -> None:
    """Refuses names that no table has.

    Args:
        config: of the right types.
        source: file name for the message.

    Raises:
        UserError: names the key, the value and what is allowed.
    """
    for setting in list_settings():
        value = value_of(config, setting.key)
        if setting.choices and value not in setting.choices:
            same = [choice for choice in setting.choices if choice.endswith(f"/{value}")]  # keras_cv/resnet50
            nearest = (same or difflib.get_close_matches(str(value)[:100], setting.choices, n=1, cutoff=0.0))[0]
            raise UserError(
                f"{source}: {setting.key}={shown(value)} must be one of {', '.join(setting.choices)}; did you mean '{nearest}'?"
            )


def check_values(config: Config, source: str) -> None:
    """Refuses values and combinations that no run could use; arguments and error as of `check_choices`."""
    for key, limit in AT_MOST.items():
        values = value_of(config, key)
        for value in values if isinstance(values, list) else [values]:
            if limit < value < math.inf:  # also of integers that no float can hold
                raise UserError(f"{source}: {key}={shown(values)} must be at most {limit}")
    for key, holds, must in _RULES:
        value = value_of(config, key)
        if not holds(value, config):
            written = "auto" if key == "train.batch_size" and value == AUTO else shown(value)
            raise UserError(f"{source}: {key}={written} {must}")


def unread(config: Config) -> Iterator[tuple[str, str]]:
    """(setting, the setting whose value makes it so) for every setting that nothing reads."""
    method, backbone = METHODS[config.model.method], BACKBONES[config.model.backbone]
    sections = [(key, "model.method") for key in shared_settings() if key not in method.reads]
    sections += [(f"model.{name}", "model.backbone") for name in backbone.ignores]
    sections += [(key, switch) for switch, is_so, keys in _UNREAD if is_so(value_of(config, switch), config) for key in keys]
    for section, switch in sections:
        for setting in list_settings():
            if setting.key == section or setting.key.startswith(f"{section}."):
                yield setting.key, switch


# (setting, test of its value and of the whole configuration, settings that nothing reads then). What is off both ways is no contradiction:
# no images in TensorBoard and no evaluation, no drops of the learning rate and a cosine.
_UNREAD: tuple[tuple[str, Callable[[Any, Config], bool], Sequence[str]], ...] = (
    ("data.tile", lambda v, _: v == 0, ("data.tile_overlap",)),
    ("augment.mosaic", lambda v, c: v == 0 and c.augment.mixup == 0, ("augment.close",)),
    ("model.neck", lambda v, _: v == "plain", ("model.sampler",)),
    ("model.pretrained", lambda v, _: v is None, ("model.pretrained_classes",)),
    ("train.teacher", lambda v, _: v is None, ("losses.teacher_heatmap_weight", "losses.teacher_box_weight")),
    ("model.heatmap_head.depth", lambda v, _: v == 0, ("model.heatmap_head.width",)),
    ("model.box_head.depth", lambda v, _: v == 0, ("model.box_head.width",)),
    ("optim.scale_lr", lambda v, _: not v, ("optim.lr_batch_size",)),
    ("optim.schedule", lambda v, c: v != "step" and c.optim.drop_epochs != [], ("optim.drop_epochs",)),
    ("optim.schedule", lambda v, _: v != "step", ("optim.drop_factor",)),
    ("optim.drop_epochs", lambda v, c: not v and c.optim.schedule == "step", ("optim.drop_factor",)),
    ("optim.schedule", lambda v, _: v != "trapezoid", ("optim.cooldown", "optim.cooldown_bends")),
    ("optim.warmup_steps", lambda v, _: v == 0, ("optim.warmup_ratio",)),
    ("train.minutes", lambda v, _: v > 0, ("train.epochs", "train.steps", "optim.cooldown_bends", "augment.close")),
    ("train.steps", lambda v, _: v > 0, ("train.epochs", "augment.close")),
    ("train.strategy", lambda v, _: v == "multi_worker", ("train.devices",)),
    ("train.evaluate_every", lambda v, c: v == 0 and c.train.summary_images != 0, ("train.summary_images",)),
    ("train.evaluate_every", lambda v, _: v == 0, ("train.evaluate_batch_size", "train.patience")),
)


def _positive(value, _):
    return math.isfinite(value) and value > 0


def _not_negative(value, _):
    return math.isfinite(value) and value >= 0


def _only_flips(config):
    return config.augment == dataclasses.replace(type(config.augment)(), flip=config.augment.flip)


def _fraction(value, _):
    return 0 <= value <= 1


_FLOAT = 3.4e38  # the largest of 32 bits
_COUNT = 1_000_000_000
# Far above what any run needs: beyond them numbers overflow, or memory does. What has another upper limit in `_RULES` is not here.
AT_MOST = {
    "data.image_size": 8192,
    "data.tile": 65_536,
    "data.min_box_size": _COUNT,
    "data.min_image_size": _COUNT,
    "data.workers": 1024,
    "model.neck_channels": 4096,
    "model.heatmap_head.width": 4096,
    "model.heatmap_head.depth": 32,
    "model.box_head.width": 4096,
    "model.box_head.depth": 32,
    "targets.alpha": 10,
    "targets.beta": 10,
    "losses.heatmap_weight": _FLOAT,
    "losses.box_weight": _FLOAT,
    "losses.offset_weight": _FLOAT,
    "losses.class_weights": 1_000_000,
    "losses.teacher_heatmap_weight": _FLOAT,
    "losses.teacher_box_weight": _FLOAT,
    "optim.lr": _FLOAT,
    "optim.lr_batch_size": _COUNT,
    "optim.accumulate": 1024,
    "optim.weight_decay": _FLOAT,
    "optim.bias_weight_decay": _FLOAT,
    "optim.bias_lr_multiplier": _FLOAT,
    "optim.clip_norm": _FLOAT,
    "optim.drop_epochs": _COUNT,
    "optim.cooldown_bends": _COUNT,
    "optim.warmup_steps": _COUNT,
    "train.epochs": 1_000_000,
    "train.steps": _COUNT,
    "train.minutes": 525_600,
    "train.batch_size": 65_536,
    "train.steps_per_call": 100_000,
    "train.log_every": _COUNT,
    "train.checkpoint_every": _COUNT,
    "train.keep_checkpoints": _COUNT,
    "train.evaluate_every": _COUNT,
    "train.evaluate_batch_size": 65_536,
    "train.patience": _COUNT,
    "train.summary_images": 1000,
    "train.profile_steps": _COUNT,
    "train.explode_factor": _FLOAT,
    "decode.top_k": 100_000,
    "export.max_pixels": 2**31 - 1,
}
_POSITIVE = "must be above 0"
_NOT_NEGATIVE = "must be 0 or more"
_FRACTION = "must lie in 0..1"

# (key, test of its value and of the whole configuration, what the value must be)
_RULES: tuple[tuple[str, Callable[[Any, Config], bool], str], ...] = (
    (
        "data.cache",
        lambda v, c: v == "none" or not (c.augment.photometric or c.augment.expand or c.augment.min_iou_crop or c.augment.affine),
        "keeps resized images, and augment.photometric, expand, min_iou_crop and affine come before the resize; set data.cache=none",
    ),
    (
        "data.cache",
        lambda v, c: v == "none" or not c.augment.quarter_turns or len(set(c.data.image_size)) == 1,
        "keeps resized images, which augment.quarter_turns can turn in a square data.image_size only; set data.cache=none",
    ),
    ("data.cache", lambda v, c: v == "none" or not c.data.service, "has no effect with data.service; remove one of them"),
    (
        "data.service",
        lambda v, _: not v or bool(re.fullmatch(r"grpc://([^\s/:]+|\[[0-9a-fA-F:]+\]):\d{1,5}", v)),
        "must be grpc://HOST:PORT",
    ),
    ("data.class_balance", _fraction, _FRACTION),
    ("data.class_balance", lambda v, c: v == 0 or not c.data.service, "is not possible with data.service; set one of them back"),
    ("data.service", lambda v, c: not v or _only_flips(c), "can flip images and no more; set the other augment.* keys to their defaults"),
    (
        "data.classes",
        lambda v, _: all(re.fullmatch(r"(?s)[^=]+(=.+)?", one) for one in v),
        "must be a list of classes or NAME=CLASS_OF_THE_FILES, or a map {NAME: [CLASS, ...]}",
    ),
    (
        "data.classes",
        lambda v, _: len({one.partition("=")[2] or one for one in v}) == len(v),
        "must name each class of the files once",
    ),
    (
        "data.image_size",
        lambda v, _: len(v) == 2 and all(s > 0 and s % 32 == 0 for s in v),
        "must be [height, width], both multiples of 32, for the deepest stride is 32",
    ),
    (
        "data.resize",
        lambda v, c: v == "stretch" or not c.augment.affine,
        "is not possible with augment.affine, whose views are stretched; set one of them back",
    ),
    (
        "model.pretrained_classes",
        lambda v, _: all(re.fullmatch(r"(?s)[^=]+=.+", pair) for pair in v) and len({pair.split("=")[0] for pair in v}) == len(v),
        "must be a list of NAME_HERE=NAME_THERE with each name here once",
    ),
    ("data.tile", lambda v, _: v == 0 or v >= LEAST_TILE, f"must be {LEAST_TILE} px or more (0 is off)"),
    ("data.tile_overlap", lambda v, _: 0 <= v <= MOST_OVERLAP, f"must lie in 0..{MOST_OVERLAP:g}"),
    ("data.min_box_size", _not_negative, _NOT_NEGATIVE),
    ("data.min_image_size", _not_negative, _NOT_NEGATIVE),
    ("data.workers", _not_negative, _NOT_NEGATIVE),
    ("augment.flip", _fraction, _FRACTION),
    ("augment.expand", _fraction, _FRACTION),
    ("augment.vertical_flip", _fraction, _FRACTION),
    ("augment.quarter_turns", _fraction, _FRACTION),
    ("augment.mosaic", _fraction, _FRACTION),
    ("augment.mixup", _fraction, _FRACTION),
    ("augment.close", _fraction, _FRACTION),
    ("model.frozen_stages", lambda v, _: -1 <= v <= 5, "must lie in -1..5 (-1 freezes nothing, 0 the stem)"),
    (
        "model.batch_norm",
        lambda v, c: v == "local" or BACKBONES[c.model.backbone].synchronizes,
        "is not possible with this model.backbone; set model.batch_norm=local",
    ),
    (
        "model.sampler",
        lambda v, c: v != "crop_and_resize" or not c.train.jit_compile,
        "cannot be compiled; leave model.sampler=auto with train.jit_compile=true",
    ),
    (
        "model.sampler",
        lambda v, c: v != "crop_and_resize" or not c.train.deterministic,
        "is not deterministic on a GPU; leave model.sampler=auto with train.deterministic=true",
    ),
    (
        "model.batch_norm",
        lambda v, c: v == "local" or not c.train.jit_compile,
        "adds up over replicas inside the network, which train.jit_compile=true cannot compile; set one of them back",
    ),
    ("model.neck_channels", lambda v, _: len(v) == 3 and all(c > 0 for c in v), "must be three channel counts"),
    ("model.shortcut", lambda v, _: len(v) == 3 and all(0 <= n <= 9 for n in v), "must be three numbers of layers in 0..9"),
    ("model.heatmap_head.width", _positive, _POSITIVE),
    ("model.heatmap_head.depth", _not_negative, _NOT_NEGATIVE),
    ("model.box_head.width", _positive, _POSITIVE),
    ("model.box_head.depth", _not_negative, _NOT_NEGATIVE),
    ("targets.alpha", _positive, _POSITIVE),
    ("targets.beta", _positive, _POSITIVE),
    (
        "targets.beta",
        lambda v, c: v <= 1 or c.targets.area != "rectangle",
        "must be at most 1 with targets.area=rectangle, or the sub-area would leave its box",
    ),
    ("losses.heatmap_weight", _not_negative, _NOT_NEGATIVE),
    ("losses.box_weight", _not_negative, _NOT_NEGATIVE),
    ("losses.offset_weight", _not_negative, _NOT_NEGATIVE),
    ("losses.teacher_heatmap_weight", _not_negative, _NOT_NEGATIVE),
    ("losses.teacher_box_weight", _not_negative, _NOT_NEGATIVE),
    ("losses.quality", _fraction, _FRACTION),
    ("losses.class_weights", lambda v, _: all(math.isfinite(w) and w >= 0 for w in v), "must be numbers of 0 or more"),
    ("optim.lr", _positive, _POSITIVE),
    ("optim.lr_batch_size", _positive, _POSITIVE),
    ("optim.accumulate", _positive, _POSITIVE),
    (
        "optim.accumulate",
        lambda v, c: v == 1 or c.train.batch_size != AUTO,
        "needs a number for train.batch_size, the images of all parts; with `auto` no part is needed",
    ),
    (
        "optim.accumulate",
        lambda v, c: v == 1 or c.train.batch_size % (v * max(len(c.train.devices), 1)) == 0,
        "must divide the images of train.batch_size that each of the train.devices gets",
    ),
    (
        "optim.accumulate",
        lambda v, c: v == 1 or c.model.batch_norm == "local",
        "needs model.batch_norm=local: statistics cannot be those of parts that are not computed yet",
    ),
    ("optim.momentum", lambda v, _: 0 <= v < 1, "must lie in 0..1, 1 excluded"),
    ("optim.weight_decay", _not_negative, _NOT_NEGATIVE),
    ("optim.bias_weight_decay", _not_negative, _NOT_NEGATIVE),
    ("optim.bias_lr_multiplier", _not_negative, _NOT_NEGATIVE),
    ("optim.clip_norm", _not_negative, _NOT_NEGATIVE),
    (
        "optim.drop_epochs",
        lambda v, _: all(math.isfinite(e) and e > 0 for e in v) and v == sorted(v),
        "must be ascending epochs above 0",
    ),
    (
        "optim.drop_epochs",
        lambda v, c: c.optim.schedule != "step" or c.train.steps > 0 or all(e < c.train.epochs for e in v),
        "must all lie before the last of train.epochs",
    ),
    ("optim.drop_factor", _fraction, _FRACTION),
    ("optim.cooldown", lambda v, _: 0 < v <= 1, "must lie in 0..1, 0 excluded"),
    (
        "optim.cooldown_bends",
        lambda v, _: len(v) % 2 == 0 and v[::2] == sorted(v[::2]) and all(0 < f <= 1 for f in v[1::2]) and min(v, default=0) >= 0,
        "must be [step, fraction, ...] with ascending steps and fractions of the rate in 0..1",
    ),
    ("optim.warmup_steps", _not_negative, _NOT_NEGATIVE),
    ("optim.warmup_ratio", _fraction, _FRACTION),
    ("optim.ema_decay", lambda v, _: 0 <= v < 1, "must lie in 0..1, 1 excluded (0 is off)"),
    ("train.epochs", _positive, _POSITIVE),
    ("train.steps", _not_negative, _NOT_NEGATIVE),
    ("train.minutes", _not_negative, _NOT_NEGATIVE),
    (
        "train.minutes",
        lambda v, c: not v or c.optim.schedule == "trapezoid",
        "needs optim.schedule=trapezoid, whose end can follow the clock",
    ),
    *(
        (
            f"augment.{name}",
            lambda v, c: not v or not c.train.steps or c.optim.schedule == "trapezoid",
            "ends with the cooldown in a run of train.steps; set optim.schedule=trapezoid, or train.epochs",
        )
        for name in ("mosaic", "mixup")
    ),
    ("train.minutes", lambda v, c: not v or c.train.strategy == "mirrored", "is for one process; set train.strategy=mirrored"),
    ("train.batch_size", lambda v, _: v > 0 or v == AUTO, _POSITIVE),
    (
        "train.batch_size",
        lambda v, c: v != AUTO or c.train.strategy != "multi_worker",
        "is for one process; name a number with train.strategy=multi_worker",
    ),
    (
        "train.batch_size",
        lambda v, c: v == AUTO or v % max(len(c.train.devices), 1) == 0,
        "must be a multiple of the number of train.devices",
    ),
    (
        "train.devices",
        lambda v, _: len(set(v)) == len(v) and all(re.fullmatch(r"(cpu|gpu):[0-9]{1,3}", d.lower()) for d in v),
        "must be different devices such as gpu:0 or cpu:1",
    ),
    ("train.devices", lambda v, _: len({d.lower().partition(":")[0] for d in v}) <= 1, "must be all CPUs or all GPUs"),
    ("train.seed", lambda v, _: 0 <= v < 2**31, "must lie in 0..2147483647"),
    ("train.steps_per_call", _positive, _POSITIVE),
    ("train.log_every", _positive, _POSITIVE),
    ("train.checkpoint_every", _positive, _POSITIVE),
    ("train.keep_checkpoints", _positive, _POSITIVE),
    ("train.evaluate_every", _not_negative, _NOT_NEGATIVE),
    ("train.evaluate_batch_size", _not_negative, _NOT_NEGATIVE),
    ("train.patience", _not_negative, _NOT_NEGATIVE),
    ("train.summary_images", _not_negative, _NOT_NEGATIVE),
    (
        "train.profile_steps",
        lambda v, _: not v or (len(v) == 2 and 1 <= v[0] <= v[1]),
        "must be [first, last] with steps from 1 on, or [] for none",
    ),
    ("train.explode_factor", lambda v, _: v == 0 or (math.isfinite(v) and v > 1), "must be above 1 (0 is off)"),
    ("decode.top_k", _positive, _POSITIVE),
    ("decode.score_threshold", lambda v, _: 0 <= v < 1, "must lie in 0..1, 1 excluded"),
    ("export.max_pixels", _positive, _POSITIVE),
)
