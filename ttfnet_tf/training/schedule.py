"""The learning-rate schedule: step, cosine or trapezoid, with a linear warm-up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Trapezoid:
    """A constant rate that decreases to 0 in a cooldown, whose end may move while it lasts.

    Reference: Zhai et al. 2022 (Scaling Vision Transformers) and Hägele et al. 2024, who compare its forms.
    """

    total_steps: int
    bends: tuple[tuple[int, float], ...]  # (step, fraction of the rate): the start of the cooldown with 1, then changes of its slope

    @staticmethod
    def of(total_steps: int, cooldown: float, bends: Sequence[float] = ()) -> Trapezoid:
        """With a cooldown over the last fraction of the steps; `bends` is [step, fraction, ...] of later changes."""
        start = min(round((1 - cooldown) * total_steps), total_steps - 1)
        pairs = ((int(step), float(fraction)) for step, fraction in zip(bends[::2], bends[1::2]))
        return Trapezoid(total_steps, ((start, 1.0), *pairs))

    @property
    def cooldown_step(self) -> int:
        """The first step of the cooldown, from 0."""
        return self.bends[0][0]

    def fraction(self, step: int) -> float:
        """Of the peak rate at a step, counted from 0: 1 up to the cooldown, then linear from each bend to the next and to 0 at the end."""
        if step <= self.bends[0][0]:
            return 1.0
        points = [*self.bends, (self.total_steps, 0.0)]
        for (start, high), (end, low) in zip(points, points[1:]):
            if step < end:
                return high + (low - high) * (step - start) / (end - start)
        return 0.0


def learning_rate(
    step: int,
    *,
    base_lr: float,
    steps_per_epoch: int,
    epochs: float,
    schedule: str = "step",
    drop_epochs: Sequence[float] = (),
    drop_factor: float = 0.1,
    warmup_steps: int = 0,
    warmup_ratio: float = 1.0,
    trapezoid: Trapezoid | None = None,
) -> float:
    """Learning rate of one training step, counted from 0.

    `step` multiplies `base_lr` by `drop_factor` at each of `drop_epochs`; `cosine` decreases it to 0 over all steps; `trapezoid` follows
    the argument of that name. During the warm-up the result is also multiplied by a factor that increases linearly from `warmup_ratio`
    to 1.

    Raises:
        ValueError: unknown schedule, or trapezoid without its form.

    Reference: mmcv 0.2.15 `StepLrUpdaterHook` with linear warm-up.
    """
    epoch = step / steps_per_epoch
    if schedule == "step":
        lr = base_lr * drop_factor ** sum(epoch >= drop for drop in drop_epochs)
    elif schedule == "cosine":
        lr = base_lr * 0.5 * (1 + math.cos(math.pi * min(epoch / epochs, 1.0)))
    elif schedule == "trapezoid" and trapezoid is not None:
        lr = base_lr * trapezoid.fraction(step)
    else:
        raise ValueError(f"schedule must be 'step', 'cosine', or 'trapezoid' with its form, received '{schedule}'")
    if step < warmup_steps:
        lr *= 1 - (1 - step / warmup_steps) * (1 - warmup_ratio)
    return lr
