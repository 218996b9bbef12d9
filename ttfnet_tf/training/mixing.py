"""Where mosaic and mixup end in a run whose length is counted in steps or minutes: with the cooldown of its learning rate.

In a run of epochs they end with an epoch, which the input knows by itself (`build.augmentation_of`). Here the loop says when: the clock may
move the cooldown until it begins.
"""

from __future__ import annotations

from dataclasses import dataclass

from ttfnet_tf.training.time_budget import TimeBudget


@dataclass
class Mixing:
    """Whether images are mixed; the loop sets it before it asks for batches, and the input reads it.

    Attributes:
        ends_with_cooldown: whether it does; False for runs of epochs, and for those that mix nothing.
        cooldown_step: first step of the cooldown, where no clock decides.
        is_over: whether the batches of the moment are without mosaic and mixup.
    """

    ends_with_cooldown: bool = False
    cooldown_step: int | None = None
    is_over: bool = False

    def ends_by(self, step: int, budget: TimeBudget | None) -> bool:
        """Whether the call of the training function that begins at `step` gets images that are not mixed."""
        if not self.ends_with_cooldown:
            return False
        if budget is None:
            return self.cooldown_step is not None and step >= self.cooldown_step
        return budget.is_planned and step >= budget.plan.trapezoid.cooldown_step
