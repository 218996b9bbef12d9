"""AdamW, SGDW, LAMB, NovoGrad and RAdam as "legacy" optimizers of Keras.

Formulas, defaults and names of slots and hyper-parameters are those of tensorflow-addons 0.23, which is no longer developed and works with
TensorFlow 2.15 only: a checkpoint of its optimizers is resumed with these. Its options that no setting reaches are not here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import tensorflow as tf

from ttfnet_tf.keras2 import keras


class _DecoupledDecay(keras.optimizers.legacy.Optimizer):
    """Subtracts `weight_decay` p from each parameter p, then takes the step of the next base class, which must not depend on p.

    Reference: Loshchilov and Hutter, arXiv:1711.05101.
    """

    def __init__(self, weight_decay, **settings):
        super().__init__(**settings)
        self._set_hyper("weight_decay", weight_decay)

    def _resource_apply_dense(self, grad, var, apply_state=None):
        decay = self._get_hyper("weight_decay", var.dtype.base_dtype)
        with tf.control_dependencies([var.assign_sub(decay * var)]):
            return super()._resource_apply_dense(grad, var, apply_state)


class SGDW(_DecoupledDecay, keras.optimizers.legacy.SGD):
    """SGD with momentum and decoupled weight decay."""


class AdamW(_DecoupledDecay, keras.optimizers.legacy.Adam):
    """Adam with decoupled weight decay."""


class _TwoMoments(keras.optimizers.legacy.Optimizer):
    """An optimizer with two moments `m` and `v` of each gradient.

    Args:
        learning_rate: a number, or a function that is called at each update.
        beta_1: decay of the first moment.
        weight_decay: factor of the parameter that is added to the normalised gradient.
    """

    EPSILON = 1e-7
    # Hyper-parameters of tensorflow-addons with one value here: they stay in checkpoints.
    FIXED: ClassVar[Mapping[str, float]] = {}

    def __init__(self, learning_rate, *, beta_1: float, weight_decay: float):
        super().__init__(type(self).__name__)
        hyper = {"learning_rate": learning_rate, "decay": 0.0, "beta_1": beta_1, "beta_2": 0.999, "weight_decay": weight_decay}
        for name, value in {**hyper, **self.FIXED}.items():
            self._set_hyper(name, value)

    def _create_slots(self, var_list):
        for slot in ("m", "v"):
            for var in var_list:
                self.add_slot(var, slot)

    def _resource_apply_dense(self, grad, var, apply_state=None):
        hyper = {name: self._get_hyper(name, var.dtype.base_dtype) for name in ("learning_rate", "beta_1", "beta_2", "weight_decay")}
        step = tf.cast(self.iterations + 1, var.dtype.base_dtype)  # from 1
        return self._step(grad, var, self.get_slot(var, "m"), self.get_slot(var, "v"), step, **hyper)


class LAMB(_TwoMoments):
    """Adam's direction with the length of the parameter times the learning rate.

    Reference: You et al., arXiv:1904.00962.
    """

    EPSILON = 1e-6

    def _step(self, grad, var, m, v, step, *, learning_rate, beta_1, beta_2, weight_decay):
        first = m.assign(m * beta_1 + grad * (1 - beta_1)) / (1 - beta_1**step)
        second = v.assign(v * beta_2 + grad * grad * (1 - beta_2)) / (1 - beta_2**step)
        direction = first / (tf.sqrt(second) + self.EPSILON) + weight_decay * var
        wanted, length = tf.norm(var), tf.norm(direction)
        ratio = tf.where((wanted > 0) & (length > 0), tf.math.divide_no_nan(wanted, length), 1.0)
        return var.assign(var - ratio * learning_rate * direction)


class NovoGrad(_TwoMoments):
    """Momentum of gradients that are divided by their norm; the second moment is one number for each parameter.

    Reference: Ginsburg et al., arXiv:1905.11286.
    """

    def _create_slots(self, var_list):
        for var in var_list:
            self.add_slot(var, "m")
        for var in var_list:
            self.add_slot(var, "v", initializer=tf.zeros([], var.dtype))

    def _step(self, grad, var, m, v, step, *, learning_rate, beta_1, beta_2, weight_decay):
        square = tf.reduce_sum(tf.square(grad))
        second = v.assign(tf.where(step > 1, v * beta_2 + square * (1 - beta_2), square))
        direction = grad / (tf.sqrt(second) + self.EPSILON) + weight_decay * var
        return var.assign_add(m.assign(m * beta_1 - learning_rate * direction))


class RectifiedAdam(_TwoMoments):
    """Adam that follows the first moment alone while the second one is an average over too few steps.

    Reference: Liu et al., arXiv:1908.03265.
    """

    FIXED: ClassVar[Mapping[str, float]] = {"sma_threshold": 5.0, "total_steps": 0.0, "warmup_proportion": 0.1, "min_lr": 0.0}

    def _step(self, grad, var, m, v, step, *, learning_rate, beta_1, beta_2, weight_decay):
        first = m.assign(beta_1 * m + (1 - beta_1) * grad) / (1 - beta_1**step)
        second = v.assign(beta_2 * v + (1 - beta_2) * tf.square(grad)) / (1 - beta_2**step)
        longest = 2.0 / (1 - beta_2) - 1.0  # number of steps that the average covers in the end, and now
        length = longest - 2.0 * step * beta_2**step / (1 - beta_2**step)
        rectified = (length - 4.0) / (longest - 4.0) * (length - 2.0) / (longest - 2.0) * longest / length
        adaptive = tf.sqrt(tf.maximum(rectified, 0.0)) * first / (tf.sqrt(second) + self.EPSILON)
        direction = tf.where(length >= self.FIXED["sma_threshold"], adaptive, first) + weight_decay * var
        return var.assign_sub(learning_rate * direction)
