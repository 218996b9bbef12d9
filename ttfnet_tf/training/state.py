"""What a checkpoint of a run holds: network, optimizer, moving average, loss scale, sentinel and the sums since the last log line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.runs.moving_average import MovingAverage
from ttfnet_tf.training.loss_scale import LossScale
from ttfnet_tf.training.sentinel import Sentinel
from ttfnet_tf.training.time_budget import TimeBudget


class Optimizer(Protocol):
    """What training needs of an optimizer, see `sgd.ReferenceSGD.update`."""

    def update(self, gradients: Sequence[tf.Tensor], lr: tf.Tensor, scale: tf.Tensor, proceed: tf.Tensor | None = None) -> None: ...


class MetricWindow:
    """Sums of the metrics over the steps since the last log line, kept on the host.

    A checkpoint holds them too: a run that was stopped between two lines writes the line that it would have written.

    Args:
        names: metrics, in the order of the sums.
    """

    def __init__(self, names: Sequence[str]):
        self.names = tuple(names)
        # The sums, then the number of steps. Written before a checkpoint is saved, read after it is restored.
        self.variable = tf.Variable(np.zeros(len(self.names) + 1), dtype=tf.float64, trainable=False, name="window")
        self.clear()

    def add(self, history: Mapping[str, np.ndarray]) -> None:
        """Adds steps, one after the other, so that the sums do not depend on how steps were grouped into calls; values float32 [n]."""
        for values in np.stack([history[name] for name in self.names], axis=1).astype(np.float64):
            self._sums += np.append(values, 1.0)

    def means(self) -> dict[str, float]:
        """Means of the metrics, empty where no step was added."""
        count = self._sums[-1]
        return {name: float(value) for name, value in zip(self.names, self._sums[:-1] / count)} if count else {}

    def clear(self) -> None:
        """Starts a new window."""
        self._sums = np.zeros(len(self.names) + 1)

    def to_variable(self) -> None:
        """Writes the sums where a checkpoint takes them from."""
        self.variable.assign(self._sums)

    def from_variable(self) -> None:
        """Takes the sums of a checkpoint that was restored."""
        self._sums = self.variable.numpy()


@dataclass(frozen=True, eq=False)
class TrainState:
    """Everything that a step reads and changes; all of it made under one strategy."""

    model: keras.Model
    parameters: Mapping[str, tf.Variable]  # official name -> trainable variable of `model`, in the optimizer's order
    optimizer: Optimizer
    average: MovingAverage | None = None
    loss_scale: LossScale | None = None  # for float16
    sentinel: Sentinel | None = None
    window: MetricWindow | None = None
    budget: TimeBudget | None = None  # of a run with `train.minutes`

    def objects(self) -> dict[str, Any]:
        """What a checkpoint holds, under the names that stand in its files."""
        window = None if self.window is None else self.window.variable
        parts = {
            "model": self.model,
            "optimizer": self.optimizer,
            "window": window,
            "sentinel": self.sentinel,
            "average": self.average,
            "loss_scale": self.loss_scale,
            "time_budget": self.budget,
        }
        return {name: part for name, part in parts.items() if part is not None}
