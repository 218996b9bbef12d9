"""Networks for tests, without settings."""

from __future__ import annotations

import functools

HEADS = ("heatmap_head", "box_head", "box_per_class")


def build(num_classes: int, *, method: str = "ttfnet", **keywords):
    """`build_model` with the heads of a method; the keywords in `HEADS` are theirs."""
    import pkgutil

    from ttfnet_tf.methods.catalog import METHODS
    from ttfnet_tf.models.detector import build_model

    of_heads = {key: keywords.pop(key) for key in HEADS if key in keywords}
    return build_model(num_classes, heads=functools.partial(pkgutil.resolve_name(METHODS[method].heads), **of_heads), **keywords)
