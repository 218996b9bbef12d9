"""The learning-rate schedule: step or cosine, with a linear warm-up."""

from __future__ import annotations

import math
from collections.abc import Sequence


def learning_rate(
    step: int,
    *,
    base_lr: float,
    steps_per_epoch: int,
    epochs: int,
    schedule: str = "step",
    drop_epochs: Sequence[float] = (),
    drop_factor: float = 0.1,
    warmup_steps: int = 0,
    warmup_ratio: float = 1.0,
) -> float:
    """Learning rate of one training step, counted from 0.

    `step` multiplies `base_lr` by `drop_factor` at each of `drop_epochs`; `cosine` decreases it to 0 over all steps. During the warm-up
    the result is also multiplied by a factor that increases linearly from `warmup_ratio` to 1.

    Raises:
        ValueError: unknown schedule.

    Reference: mmcv 0.2.15 `StepLrUpdaterHook` with linear warm-up.
    """
    epoch = step / steps_per_epoch
    if schedule == "step":
        lr = base_lr * drop_factor ** sum(epoch >= drop for drop in drop_epochs)
    elif schedule == "cosine":
        lr = base_lr * 0.5 * (1 + math.cos(math.pi * min(epoch / epochs, 1.0)))
    else:
        raise ValueError(f"schedule must be 'step' or 'cosine', received '{schedule}'")
    if step < warmup_steps:
        lr *= 1 - (1 - step / warmup_steps) * (1 - warmup_ratio)
    return lr
