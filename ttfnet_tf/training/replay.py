"""A recorded step computed again, and both results side by side."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf import build
from ttfnet_tf.config import config_of
from ttfnet_tf.runs.checkpoint import read_weights
from ttfnet_tf.runs.run_folder import read_config, read_labels
from ttfnet_tf.training.build import inspection_of, with_precision
from ttfnet_tf.training.devices import build_strategy
from ttfnet_tf.training.step_record import read_batch, read_report

_SAME = 1e-4  # relative; on one machine the figures are equal, another one rounds in another order
_SHOWN = 10  # layers and images of a printed report


def replay(folder: str | Path, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Computes the step of a record again.

    Args:
        folder: the record, see `step_record`.
        overrides: key=value on top of its settings, e.g. train.precision=float32.

    Returns:
        The report of the record, and the result of `inspect_step` now.

    Raises:
        UserError: something of the record is missing or damaged, or the settings do not fit it.
    """
    folder = Path(folder)
    report = read_report(folder)
    config, labels = read_config(folder), read_labels(folder)
    if overrides:
        config = config_of(dataclasses.asdict(config), overrides, source=str(folder / "config.yaml"))
        config, _ = with_precision(config, build_strategy("mirrored", []))
    batch = read_batch(folder)
    num_classes = len(labels.class_names)
    model = build.model_of(config, num_classes, precision=config.train.precision)
    read_weights(model, folder / "weights", folder)
    inspect = inspection_of(config, build.method_of(config, num_classes), report["replicas"])
    return report, inspect(model, batch, report["loss_scale"])


def same_figures(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two results of `inspect_step` have the same losses and norm, values that are not finite included."""
    if "error" in first or "error" in second:
        return first.get("error") == second.get("error")
    pairs = [(first["losses"][name], second["losses"].get(name, math.nan)) for name in first["losses"]]
    pairs.append((first["gradient_norm"], second["gradient_norm"]))
    ours, theirs = zip(*pairs)
    return bool(np.allclose(ours, theirs, rtol=_SAME, atol=0, equal_nan=True))


def describe(report: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The tables that `ttfnet replay` prints: figures, images and layers, the worst first, and the steps before."""
    lines = [f"step {report['step']}: {report['reason']} (learning rate {report['lr']:g}, {len(report['image_ids'])} images)"]
    if "error" in now:
        lines.append(f"the network cannot be computed: {now['error']}")
    else:
        lines += [*_figure_lines(report, now), *_image_lines(report, now)]
    return "\n".join([*lines, *_layer_lines(now), *_recent_lines(report)])


def _figure_lines(report: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    figures = {**now["losses"], "gradient_norm": now["gradient_norm"]}
    then = {**report["found"].get("losses", {}), "gradient_norm": report["found"].get("gradient_norm")}
    lines = [f"{'':18}{'in training':>14}{'in the record':>14}{'now':>14}"]
    for name, value in figures.items():
        lines.append(f"{name:18}{_cell(report['in_training'].get(name))}{_cell(then.get(name))}{_cell(value)}")
    return lines


def _image_lines(report: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    lines = ["images by their part of the loss:"]
    for image in sorted(now["images"], key=lambda image: _rank(image["loss"]))[:_SHOWN]:
        parts = ", ".join(f"{name} {value:.4g}" for name, value in image.items() if name not in ("image_id", "loss"))
        file = report["files"].get(str(image["image_id"]), "")
        lines.append(f"  image id {image['image_id']}: {image['loss']:.4g} ({parts}) {file}".rstrip())
    return lines


def _layer_lines(now: Mapping[str, Any]) -> list[str]:
    lines = [f"layers:{'':37}{'weight norm':>14}{'gradient norm':>14}  not finite (weights, gradient)"]
    for layer in sorted(now["layers"], key=_layer_rank)[:_SHOWN]:
        counts = f"{layer['weights_not_finite']}, {layer.get('gradient_not_finite', '-')}"
        lines.append(f"  {layer['name']:42}{_cell(layer['weight_norm'])}{_cell(layer.get('gradient_norm'))}  {counts}")
    return lines


def _recent_lines(report: Mapping[str, Any]) -> list[str]:
    if not report["recent"]:
        return []
    lines = [f"the steps before:{'':3}{'lr':>14}{'loss':>14}{'gradient norm':>14}"]
    return lines + [f"  {one['step']:<18}{_cell(one['lr'])}{_cell(one['loss'])}{_cell(one['gradient_norm'])}" for one in report["recent"]]


def _layer_rank(layer: Mapping[str, Any]) -> tuple:
    """Weights that are not finite first, then such gradients, then by the size of the gradient."""
    return -layer["weights_not_finite"], -layer.get("gradient_not_finite", 0), _rank(layer.get("gradient_norm", 0.0))


def _rank(value: float) -> float:
    return -value if math.isfinite(value) else -math.inf


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.6g'):>14}"
