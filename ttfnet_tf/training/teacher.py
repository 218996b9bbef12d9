"""The teacher of a run: another run whose maps this one learns too, see `methods.teacher`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import Config
from ttfnet_tf.config.schema import with_value
from ttfnet_tf.errors import UserError
from ttfnet_tf.methods.base import Maps, Method
from ttfnet_tf.runs.checkpoint import load_run


def check_teacher(config: Config, class_names: Sequence[str]) -> str | None:
    """Refuses a teacher whose maps are not those of this run.

    Args:
        config: settings of the run.
        class_names: of its training data.

    Returns:
        A line about the teacher, None without one.

    Raises:
        UserError: `train.teacher` is no run, or has another method, other heads or other classes.
    """
    if config.train.teacher is None:
        return None
    teacher = load_run(config.train.teacher)
    where = f"train.teacher={config.train.teacher}"
    for key in ("method", "box_per_class"):
        theirs, ours = getattr(teacher.config.model, key), getattr(config.model, key)
        if theirs != ours:
            raise UserError(f"{where}: was trained with model.{key}={_shown(theirs)}, this run has {_shown(ours)}; their heads differ")
    theirs, ours = list(teacher.labels.class_names), list(class_names)
    if theirs != ours:
        at = next((k for k, (one, other) in enumerate(zip(theirs, ours)) if one != other), min(len(theirs), len(ours)))
        difference = f"class {at + 1} is {_name(theirs, at)} there and {_name(ours, at)} here"
        raise UserError(
            f"{where}: has other classes ({len(theirs)} and {len(ours)}; {difference}); both must list the same in the same order"
        )
    return f"teacher: {config.train.teacher}, {teacher.config.model.backbone}, step {teacher.step}"


def load_teacher(config: Config, method: Method) -> Callable[[tf.Tensor], Maps] | None:
    """A function: uint8 [B, H, W, 3] images -> the targets of `methods.teacher`; None without `train.teacher`.

    The network has the weights that an evaluation of its run takes, the precision of this run and its input size. Call it under the
    strategy of the step.
    """
    if config.train.teacher is None or method.teacher_targets is None:
        return None
    source, learned = load_run(config.train.teacher), method.teacher_targets
    settings = with_value(with_value(source.config, "data.image_size", list(config.data.size)), "model.sampler", build.sampler_of(config))
    model = build.model_of(settings, len(source.labels.class_names), precision=config.train.precision)
    for variable, value in zip(model.variables, source.model.variables):
        variable.assign(value)
    return lambda images: learned(model(images, training=False))


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _name(names: Sequence[str], position: int) -> str:
    return names[position] if position < len(names) else "missing"
