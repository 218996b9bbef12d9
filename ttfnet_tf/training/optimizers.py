"""Optimizers other than the reference's SGD, with the same interface.

The name rule of the official recipe (`sgd.parameter_rule`) holds for them too: parameters with a learning rate or weight decay of their
own form a group with its own optimizer, because Keras has no such rules.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.training import update_rules
from ttfnet_tf.training.sgd import parameter_rule

NAMES = ("adam", "adamw", "lamb", "novograd", "radam", "sgdw")


class RuleGroups(tf.Module):
    """One optimizer for each pair of learning-rate multiplier and weight decay.

    Weight decay d and learning rate r: `adam` adds d p to the gradient, as PyTorch's Adam does; `adamw` and `sgdw` take r d p from the
    parameter; `lamb`, `novograd` and `radam` add d p to the normalised gradient.

    Args:
        parameters: official name -> trainable variable.
        name: one of `NAMES`.
        momentum: beta 1, or the momentum of sgdw.
        weight_decay: of weights and of named normalisation layers.
        bias_lr_multiplier: for the other biases.
        bias_weight_decay: for the other biases.

    Raises:
        ValueError: unknown name.
    """

    def __init__(
        self,
        parameters: Mapping[str, tf.Variable],
        name: str,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        bias_lr_multiplier: float = 1.0,
        bias_weight_decay: float = 0.0,
    ):
        super().__init__(name="rule_groups")
        if name not in NAMES:
            raise ValueError(f"name must be one of {', '.join(NAMES)}, received {name!r}")
        rules = [
            parameter_rule(p, weight_decay=weight_decay, bias_lr_multiplier=bias_lr_multiplier, bias_weight_decay=bias_weight_decay)
            for p in parameters
        ]
        self.groups = [_Group(name, momentum, rule, parameters, rules) for rule in sorted(set(rules))]

    def update(self, gradients: Sequence[tf.Tensor], lr: tf.Tensor, scale: tf.Tensor, proceed: tf.Tensor | None = None) -> None:
        """As `ReferenceSGD.update`. The optimizer does not count a step without `proceed` either."""

        def apply():
            for group in self.groups:
                group.update(gradients, lr, scale)
            return True

        if proceed is None:
            apply()
        else:  # outside the replicas, where a condition may hold collective operations
            tf.cond(proceed, apply, lambda: False)


class _Group(tf.Module):
    """The parameters of one rule with their optimizer, whose slots are made at once: a checkpoint of step 0 holds them too."""

    def __init__(self, name, momentum, rule, parameters, rules):
        super().__init__(name="group")
        self.lr_multiplier, weight_decay = rule
        self.indices = [i for i, other in enumerate(rules) if other == rule]
        self.parameters = [p for p, other in zip(parameters.values(), rules) if other == rule]
        self.rate = tf.Variable(0.0, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA, name="rate")
        self.coupled_decay = weight_decay if name == "adam" else 0.0
        self.optimizer = _make(name, momentum, weight_decay, self.rate)
        self.optimizer._create_all_weights(self.parameters)

    def update(self, gradients, lr, scale):
        self.rate.assign(lr * self.lr_multiplier)
        tf.distribute.get_strategy().run(self._apply, args=([gradients[i] for i in self.indices], scale))

    def _apply(self, gradients, scale):
        """In replica context; the gradients are sums over replicas already."""
        pairs = [(gradient * scale + self.coupled_decay * p, p) for gradient, p in zip(gradients, self.parameters)]
        self.optimizer.apply_gradients(pairs, experimental_aggregate_gradients=False)


def _make(name, momentum, weight_decay, rate):
    """`rate` is a variable; hyper-parameters given as functions are read at each update."""
    if name == "adam":
        return keras.optimizers.legacy.Adam(lambda: rate, beta_1=momentum, epsilon=1e-8)  # PyTorch's epsilon
    if name == "sgdw":
        return update_rules.SGDW(lambda: rate * weight_decay, learning_rate=lambda: rate, momentum=momentum)
    if name == "adamw":
        return update_rules.AdamW(lambda: rate * weight_decay, learning_rate=lambda: rate, beta_1=momentum, epsilon=1e-8)
    others = {"lamb": update_rules.LAMB, "novograd": update_rules.NovoGrad, "radam": update_rules.RectifiedAdam}
    return others[name](lambda: rate, beta_1=momentum, weight_decay=weight_decay)
