"""SGD as the official recipe uses it, with its rules for biases.

The update is PyTorch's SGD as mmdetection 1.0 calls it (`apis/train.py` build_optimizer, mmcv 0.2 `OptimizerHook`):

    gradient of the whole batch -> clip to a global L2 norm -> g += weight_decay * p -> v = momentum * v + g -> p -= lr * v

The learning rate stays outside the momentum buffer. Keras' SGD has it inside, which gives another update whenever the rate changes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import tensorflow as tf

from ttfnet_tf.models.parameters import tracked_name

# The reference exempts normalisation layers from its bias rule by this pattern. It misses the unnamed ones ("downsample.1",
# "deconv_layers.0.1"), whose biases therefore train as ordinary biases; see docs/deviations.md.
_NORMALISATION = re.compile(r"(bn|gn)(\d+)?.(weight|bias)")


def parameter_rule(name: str, *, weight_decay: float, bias_lr_multiplier: float, bias_weight_decay: float) -> tuple[float, float]:
    """(learning-rate multiplier, weight decay) of a parameter by its official name.

    Reference: mmdetection 1.0 `build_optimizer` with `paramwise_options`.
    """
    if name.endswith(".bias") and not _NORMALISATION.search(name):
        return bias_lr_multiplier, bias_weight_decay
    return 1.0, weight_decay


class ReferenceSGD(tf.Module):
    """SGD with the rules of the official recipe.

    It holds one momentum buffer for each parameter, made under the current strategy. The names of its attributes are keys in checkpoints.

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

    def update(
        self,
        gradients: Sequence[tf.Tensor],
        lr: tf.Tensor,
        scale: tf.Tensor,
        proceed: tf.Tensor | None = None,
        *,
        jit_compile: bool = False,
    ) -> None:
        """Applies one update; called in cross-replica context with gradients already summed over replicas.

        Args:
            gradients: one tensor for each parameter, in the order given at construction.
            lr: [] learning rate before the bias rule.
            scale: [] factor on every gradient (clipping, loss scale).
            proceed: [] bool; where False nothing changes, whatever the gradients are (a bad step, or an overflow in mixed precision).
            jit_compile: whether XLA compiles the update.
        """
        momentum, one = self.momentum, 1.0
        if proceed is not None:
            # Four numbers keep buffer and parameter exactly, v = 1 v + 0 and p -= 0 v, without another pass over the gradients.
            lr, scale, momentum, one = (
                tf.where(proceed, value, kept) for value, kept in ((lr, 0.0), (scale, 0.0), (self.momentum, 1.0), (1.0, 0.0))
            )
        apply = tf.function(self._apply, autograph=False, jit_compile=True) if jit_compile else self._apply
        # A strategy takes values of several replicas for a Python function only.
        tf.distribute.get_strategy().run(lambda *args: apply(*args), args=(list(gradients), lr, scale, momentum, one))

    def _apply(self, gradients, lr, scale, momentum, one):
        """In replica context."""
        for parameter, buffer, gradient, (lr_multiplier, weight_decay) in zip(
            self.parameters, self.buffers.values(), gradients, self.rules
        ):
            _momentum_update(parameter, buffer, gradient, lr, scale, momentum, one, lr_multiplier=lr_multiplier, weight_decay=weight_decay)


def _momentum_update(parameter, buffer, gradient, lr, scale, momentum, one, *, lr_multiplier, weight_decay):
    gradient = tf.math.multiply_no_nan(gradient, scale)  # 0 where the scale is 0, for infinities too
    if weight_decay:
        gradient += weight_decay * one * parameter
    # accum = momentum * accum + grad; var -= lr * accum: PyTorch's form, in one pass over memory.
    tf.raw_ops.ResourceApplyMomentum(var=parameter.handle, accum=buffer.handle, lr=lr * lr_multiplier, grad=gradient, momentum=momentum)
