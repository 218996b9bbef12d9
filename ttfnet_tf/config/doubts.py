"""Settings that are allowed but can hardly work: a note of one line for each, in one table.

Each row is a function of the settings, the steps of the run and the number of replicas; it returns the line, or None.
"""

from __future__ import annotations

from collections.abc import Callable

from ttfnet_tf.config.rules import unread
from ttfnet_tf.config.schema import AUTO, Config, closed_epochs, effective_lr

_ENDLESS = 1 << 60  # steps
_HIGH_SCORE = 0.1  # detections below it are a measurable part of AP


def doubts(config: Config, steps: int | None, replicas: int = 1) -> list[str]:
    """Lines about settings that can be meant, but hardly are.

    Args:
        config: of a run.
        steps: of the whole run; None where the clock decides.
        replicas: that share a batch.
    """
    lines = (row(config, _ENDLESS if steps is None else steps, replicas) for row in _ROWS)
    return [line for line in lines if line is not None]


def _long_warmup(config: Config, steps: int, _: int) -> str | None:
    optim = config.optim
    if optim.warmup_steps < steps:
        return None
    reached = effective_lr(config) * (optim.warmup_ratio + (1 - optim.warmup_ratio) * steps / optim.warmup_steps)
    return (
        f"optim.warmup_steps={optim.warmup_steps}, but the run has {steps} steps: the learning rate gets to {reached:.2g} and never to "
        f"{effective_lr(config):.2g}; lower optim.warmup_steps"
    )


def _drop_in_warmup(config: Config, steps: int, _: int) -> str | None:
    optim, steps_per_epoch = config.optim, steps / config.train.epochs
    if optim.schedule != "step" or optim.drop_factor == 1 or optim.warmup_steps >= steps or config.train.steps:
        return None
    early = [drop for drop in optim.drop_epochs if drop * steps_per_epoch < optim.warmup_steps]
    if not early:
        return None
    return (
        f"optim.drop_epochs={optim.drop_epochs} lowers the learning rate at step {early[0] * steps_per_epoch:.0f}, before the warm-up ends "
        f"at {optim.warmup_steps}, so it never gets to {effective_lr(config):.2g}; lower optim.warmup_steps"
    )


def _drop_to_nothing(config: Config, *_: int) -> str | None:
    optim = config.optim
    if optim.schedule != "step" or not optim.drop_epochs:
        return None
    if optim.drop_factor == 0:
        return f"optim.drop_factor=0 makes the learning rate 0 from epoch {optim.drop_epochs[0]:g} on, where learning ends; raise it"
    return "optim.drop_factor=1 leaves the learning rate as it is at every drop; lower it" if optim.drop_factor == 1 else None


def _closed_from_the_start(config: Config, *_: int) -> str | None:
    augment, epochs = config.augment, config.train.epochs
    if not (augment.mosaic or augment.mixup) or closed_epochs(config) < epochs or config.train.steps or config.train.minutes:
        return None
    return f"augment.close={augment.close:g} of train.epochs={epochs} is rounded up to all of them: no image is mixed; lower augment.close"


def _frozen_random_weights(config: Config, *_: int) -> str | None:
    model = config.model
    if model.pretrained is not None or model.frozen_stages < 0 or "model.frozen_stages" in dict(unread(config)):
        return None
    return f"model.frozen_stages={model.frozen_stages} freezes random weights; set model.pretrained, or model.frozen_stages=-1"


def _one_image_a_replica(config: Config, _: int, replicas: int) -> str | None:
    size, parts = config.train.batch_size, config.optim.accumulate
    if size == AUTO or size > replicas * parts or config.model.batch_norm != "local":
        return None
    if parts > 1:
        return (
            f"optim.accumulate={parts} takes one image at a time, whose statistics alone normalise it, unlike in evaluation; "
            "lower optim.accumulate"
        )
    ways = "raise train.batch_size" + (", or set model.batch_norm=synchronized" if replicas > 1 else "")
    return f"train.batch_size={size} is one image a replica, whose statistics alone normalise it, unlike in evaluation; {ways}"


def _endless_patience(config: Config, *_: int) -> str | None:
    train = config.train
    evaluations = -(-train.epochs // train.evaluate_every) if train.evaluate_every else 0
    if not 0 < evaluations <= train.patience or train.minutes or train.steps:
        return None
    counted = "1 evaluation" if evaluations == 1 else f"{evaluations} evaluations"
    return f"train.patience={train.patience}, but the run has {counted}: it never stops early; lower train.patience"


def _profile_after_the_end(config: Config, steps: int, _: int) -> str | None:
    profiled = config.train.profile_steps
    if not profiled or profiled[0] <= steps:
        return None
    return f"train.profile_steps={profiled} lie after the last step, {steps}: nothing is recorded; name earlier ones"


def _loss_without_weight(config: Config, *_: int) -> str | None:
    idle = dict(unread(config))
    off = [f"losses.{name}_weight" for name in ("heatmap", "box", "offset") if getattr(config.losses, f"{name}_weight") == 0]
    off = [key for key in off if key not in idle]
    return f"{off[0]}=0: that head is never trained; raise it" if off else None


def _high_threshold(config: Config, *_: int) -> str | None:
    threshold = config.decode.score_threshold
    if threshold <= _HIGH_SCORE:
        return None
    return f"decode.score_threshold={threshold:g} is that of evaluation too: AP lacks every detection below it; leave it at 0.01"


_Row = Callable[[Config, int, int], "str | None"]
_ROWS: tuple[_Row, ...] = (
    _long_warmup,
    _drop_in_warmup,
    _drop_to_nothing,
    _closed_from_the_start,
    _frozen_random_weights,
    _one_image_a_replica,
    _endless_patience,
    _profile_after_the_end,
    _loss_without_weight,
    _high_threshold,
)
