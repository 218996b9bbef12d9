"""Learning-rate schedules and the optimizer of the official recipe.

The update is PyTorch's SGD as mmdetection 1.0 drives it (`apis/train.py` build_optimizer, mmcv 0.2 `OptimizerHook`):

    gradient of the whole batch -> clip to a global L2 norm -> g += weight_decay * p -> v = momentum * v + g -> p -= lr * v

The learning rate stands outside the momentum buffer; Keras' SGD keeps it inside, which is another update whenever it changes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

import tensorflow as tf

from ttfnet_tf.models.parameters import tracked_name

LEAST_SCALE = 1.0  # a loss scale falls no further
# The reference exempts normalisation layers from its bias rule by this pattern. It misses the unnamed ones ("downsample.1",
# "deconv_layers.0.1"), whose biases therefore train as ordinary biases; see docs/deviations.md.
_NORMALISATION = re.compile(r"(bn|gn)(\d+)?.(weight|bias)")


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

    `step` multiplies by `drop_factor` from each of `drop_epochs` on; `cosine` falls from `base_lr` to 0 over all steps.
    During warm-up the scheduled rate is multiplied by a line from `warmup_ratio` to 1.

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


def parameter_rule(name: str, *, weight_decay: float, bias_lr_multiplier: float, bias_weight_decay: float) -> tuple[float, float]:
    """(learning-rate multiplier, weight decay) of a parameter by its official name.

    Reference: mmdetection 1.0 `build_optimizer` with `paramwise_options`.
    """
    if name.endswith(".bias") and not _NORMALISATION.search(name):
        return bias_lr_multiplier, bias_weight_decay
    return 1.0, weight_decay


class ReferenceSGD(tf.Module):
    """SGD with the rules of the official recipe.

    Holds one momentum buffer for each parameter, made under the strategy that is current at construction.

    Args:
        parameters: official name -> trainable variable.
        momentum: factor of the buffer.
        weight_decay: of weights and of named normalisation layers.
        bias_lr_multiplier: for the other biases.
        bias_weight_decay: for the other biases.
    """

    def __init__(
        self,
        parameters: Mapping[str, tf.Variable],
        *,
        momentum: float = 0.9,
        weight_decay: float = 4e-4,
        bias_lr_multiplier: float = 2.0,
        bias_weight_decay: float = 0.0,
    ):
        super().__init__(name="reference_sgd")
        self.parameters = list(parameters.values())
        self.momentum = momentum
        self.rules = [
            parameter_rule(
                name,
                weight_decay=weight_decay,
                bias_lr_multiplier=bias_lr_multiplier,
                bias_weight_decay=bias_weight_decay,
            )
            for name in parameters
        ]
        # A mapping by name, so that a checkpoint does not depend on the order of the layers.
        self.buffers = {
            tracked_name(name): tf.Variable(tf.zeros(p.shape, p.dtype), trainable=False, name=f"momentum/{name}")
            for name, p in parameters.items()
        }

    def update(self, gradients: Sequence[tf.Tensor], lr: tf.Tensor, scale: tf.Tensor, proceed: tf.Tensor | None = None) -> None:
        """Applies one update; called in cross-replica context with gradients already summed over replicas.

        Args:
            gradients: one tensor for each parameter, in the order given at construction.
            lr: [] learning rate before the bias rule.
            scale: [] factor on every gradient (clipping, loss scale).
            proceed: [] bool; where False nothing changes, whatever the gradients hold (a step that diverged, or an overflow under
                mixed precision).
        """
        extended = tf.distribute.get_strategy().extended
        momentum, one = self.momentum, 1.0
        if proceed is not None:
            # Four numbers keep buffer and parameter exactly, v = 1 v + 0 and p -= 0 v, without another pass over the gradients.
            lr, scale, momentum, one = (
                tf.where(proceed, value, kept) for value, kept in ((lr, 0.0), (scale, 0.0), (self.momentum, 1.0), (1.0, 0.0))
            )
        for parameter, buffer, gradient, (lr_multiplier, weight_decay) in zip(
            self.parameters, self.buffers.values(), gradients, self.rules
        ):
            extended.update(
                parameter,
                _momentum_update,
                args=(buffer, gradient, lr, scale, momentum, one),
                kwargs={"lr_multiplier": lr_multiplier, "weight_decay": weight_decay},
            )


def clip_scale(norm: tf.Tensor, clip_norm: float) -> tf.Tensor:
    """Factor that brings a gradient of L2 norm `norm` down to `clip_norm`; 1 below it, or when `clip_norm` is 0.

    Reference: `torch.nn.utils.clip_grad_norm_`, which adds 1e-6 to the norm.
    """
    if not clip_norm:
        return tf.ones_like(norm)
    return tf.minimum(clip_norm / (norm + 1e-6), 1.0)


def _momentum_update(parameter, buffer, gradient, lr, scale, momentum, one, *, lr_multiplier, weight_decay):
    gradient = tf.math.multiply_no_nan(gradient, scale)  # 0 where the scale is 0, for infinities too
    if weight_decay:
        gradient += weight_decay * one * parameter
    # accum = momentum * accum + grad; var -= lr * accum: PyTorch's form, in one pass over memory.
    tf.raw_ops.ResourceApplyMomentum(var=parameter.handle, accum=buffer.handle, lr=lr * lr_multiplier, grad=gradient, momentum=momentum)


class LossScale(tf.Module):
    """Dynamic loss scale for float16: halved at an overflow, doubled after `growth_steps` steps without one."""

    def __init__(self, initial: float = 2.0**15, growth_steps: int = 2000):
        super().__init__(name="loss_scale")
        self.growth_steps = growth_steps
        options = {"trainable": False, "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA}
        self.value = tf.Variable(initial, dtype=tf.float32, name="loss_scale", **options)
        self.good_steps = tf.Variable(0, dtype=tf.int64, name="good_steps", **options)

    def update(self, finite: tf.Tensor, proceed: tf.Tensor | None = None) -> None:
        """Adjusts the scale after a step whose gradients were `finite` ([] bool) or not; not at all where `proceed` ([] bool) is False."""
        good_steps = tf.where(finite, self.good_steps + 1, 0)
        grow = good_steps >= self.growth_steps
        value = tf.where(finite, tf.where(grow, 2.0 * self.value, self.value), tf.maximum(0.5 * self.value, LEAST_SCALE))
        good_steps = tf.where(grow, tf.zeros_like(good_steps), good_steps)
        if proceed is not None:
            value, good_steps = tf.where(proceed, value, self.value), tf.where(proceed, good_steps, self.good_steps)
        self.value.assign(value)
        self.good_steps.assign(good_steps)
