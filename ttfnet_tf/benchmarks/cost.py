"""Parameters and multiply-adds of the network that settings describe."""

from __future__ import annotations

from ttfnet_tf import build
from ttfnet_tf.config import Config
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.models.cost import cost_of, cost_table


def network_cost(config: Config, *, num_classes: int) -> str:
    """A table with a row for each part of the network."""
    model = build.model_of(config, num_classes)
    return cost_table(cost_of(model, config.data.size, METHODS[config.model.method].head_layers))
