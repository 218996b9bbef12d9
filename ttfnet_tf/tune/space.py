"""What `ttfnet tune` tries: a few settings, each in a range around what `ttfnet fit` decides. Pure; docs/tune.md has the table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from ttfnet_tf.config import Config, value_of
from ttfnet_tf.fit.decide import LEAST_STEPS, MachineFacts, candidate_sizes, steps_in

# Factors of what `fit` decides: lowest and highest.
FACTORS = {"optim.lr": (0.25, 4.0), "losses.box_weight": (0.4, 2.5), "optim.weight_decay": (0.2, 5.0)}
MOSAIC = (0.0, 0.5)
FROZEN = (-1, 1, 2)  # of pretrained weights: nothing, or the stem with one or two stages


@dataclass(frozen=True)
class Range:
    """A number between two others, by its logarithm."""

    key: str
    low: float
    high: float


@dataclass(frozen=True)
class Options:
    """One of several values, each as text that the command line takes."""

    key: str
    texts: tuple[str, ...]


Tuned = Union[Range, Options]
Values = Mapping[str, Union[float, str]]  # key -> a number, or one of `Options.texts`


def space_of(
    config: Config,
    *,
    named: Collection[str],
    sizes: Sequence[tuple[int, int]],
    train_images: int,
    is_allowed: Callable[[str], bool],
) -> list[Tuned]:
    """The settings to tune, with their ranges.

    Args:
        config: what `fit` decides, the centre.
        named: keys that the user has set; they stay.
        sizes: input sizes (height, width) in pixels that the machine affords.
        train_images: a batch is no larger.
        is_allowed: whether a configuration takes this `key=value`.
    """
    tuned: list[Tuned] = []
    for key, (low, high) in FACTORS.items():
        if value_of(config, key) > 0:
            tuned.append(Range(key, low * value_of(config, key), high * value_of(config, key)))
    batch = config.train.batch_size
    batches = [size for size in (batch // 2, batch, 2 * batch) if 1 <= size <= max(train_images, batch)]
    options: dict[str, Sequence[Any]] = {"train.batch_size": batches, "data.image_size": sizes, "augment.mosaic": MOSAIC}
    if config.model.pretrained is not None:
        options["model.frozen_stages"] = FROZEN
    for key, values in options.items():
        texts = dict.fromkeys([text_of(value_of(config, key)), *map(text_of, values)])  # the centre is one of them
        tuned.append(Options(key, tuple(text for text in texts if is_allowed(f"{key}={text}"))))
    return [one for one in tuned if one.key not in named and (isinstance(one, Range) or len(one.texts) > 1)]


def affordable_sizes(
    size: tuple[int, int],
    image_size: tuple[int, int],
    *,
    minutes: float,
    batch_size: int,
    machine: MachineFacts,
) -> list[tuple[int, int]]:
    """The input size of the centre, the next smaller one, and the next larger one if some hundred steps of it fit into a trial.

    Args:
        size: (height, width) of the centre in pixels.
        image_size: (height, width) of the images in pixels, their median.
        minutes: of a trial.
        batch_size: of the centre.
        machine: what it can do.
    """
    smaller, larger = [], []
    for one in candidate_sizes(image_size):
        (smaller if one[0] * one[1] < size[0] * size[1] else larger).append(one)
    larger = [one for one in larger if one[0] * one[1] > size[0] * size[1]]
    affordable = [one for one in larger[:1] if steps_in(minutes, one, batch_size=batch_size, machine=machine) >= LEAST_STEPS]
    return [*smaller[-1:], size, *affordable]


def centre_of(config: Config, space: Sequence[Tuned]) -> dict[str, float | str]:
    """The values of a configuration, in the form of the space."""
    return {one.key: float(value_of(config, one.key)) if isinstance(one, Range) else text_of(value_of(config, one.key)) for one in space}


def overrides_of(values: Values) -> list[str]:
    """`key=value` for each; numbers have four digits."""
    return [f"{key}={shown(value)}" for key, value in values.items()]


def shown(value: float | str) -> str:
    """A value of a trial as text."""
    return value if isinstance(value, str) else f"{value:.4g}"


def text_of(value: Any) -> str:
    """A value of a setting as the command line takes it."""
    if isinstance(value, (list, tuple)):
        return f"[{','.join(map(text_of, value))}]"
    return f"{value:g}"


def as_json(space: Sequence[Tuned]) -> list[dict[str, Any]]:
    """A space as JSON."""
    return [
        {"key": one.key, "low": one.low, "high": one.high} if isinstance(one, Range) else {"key": one.key, "texts": list(one.texts)}
        for one in space
    ]


def from_json(content: Any) -> list[Tuned]:
    """The space that `as_json` has written.

    Raises:
        ValueError, KeyError, TypeError: it is something else.
    """
    space: list[Tuned] = []
    for one in content:
        if "texts" in one:
            space.append(Options(str(one["key"]), tuple(map(str, one["texts"]))))
        else:
            space.append(Range(str(one["key"]), float(one["low"]), float(one["high"])))
    return space
