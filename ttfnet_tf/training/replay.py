"""One training step looked at closely: written down when it diverges, and computed again from what was written.

A record is a folder that needs nothing else:

batch.npz           the global batch, as the pipeline gave it
weights.*           the network before the step, as a checkpoint of TensorFlow
config.yaml         settings
labels.json         classes
report.json         what training saw and what `inspect_step` found; numbers that are not finite stand there as strings
"""

from __future__ import annotations

import dataclasses
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.config import Config, config_of, dump_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import cannot_write, write_json, write_text
from ttfnet_tf.models.parameters import named_buffers, named_parameters
from ttfnet_tf.runs.checkpoint import read_weights, write_weights
from ttfnet_tf.runs.run_folder import Labels, read_config, read_labels

REPORT = "report.json"
_SAME = 1e-4  # relative; on one machine the figures come out equal, another one rounds in another order
_SHOWN = 10  # layers and images of a printed report


def inspect_step(
    config: Config, model: tf.keras.Model, batch: Mapping[str, Any], *, num_classes: int, replicas: int = 1, loss_scale: float = 1.0
) -> dict[str, Any]:
    """Losses, gradients and weights of one step, by image and by layer; nothing is updated but running statistics of `model`.

    It computes what `step.build_train_function` does on `replicas` devices, on one, a share of the batch after the other (the whole at
    once with synchronised normalisation).

    Args:
        config: settings of the run.
        model: from `build.model_of`, with the weights before the step.
        batch: arrays as `data.pipeline.build_train_dataset` gives them.
        num_classes: of the network.
        replicas: that shared the batch.
        loss_scale: that the gradients were computed with.

    Returns:
        "losses" {name: number} and "gradient_norm", or "error" (a line) where the network could not be computed; "images", in the
        order of the batch: image_id and its share of each loss, all normalised over the batch; "layers", in the order of the network: name,
        weight_norm, weights_not_finite (a count), and gradient_norm, gradient_not_finite of those that are trained.
    """
    method = build.method_of(config, num_classes)
    named = named_parameters(model, trainable_only=True)
    layers = _weights(model)
    batch = {name: tf.constant(values) for name, values in batch.items()}
    targets = batch if "heatmap" in batch else method.render(batch["boxes"], batch["labels"])
    targets = {name: targets[name] for name in method.target_shapes}
    share = len(batch["image_id"]) // replicas
    shares = [slice(share * k, share * (k + 1)) for k in range(replicas)]
    by_replica = [method.normalizers(_rows(targets, rows)) for rows in shares]
    counts = {name: sum(one[name] for one in by_replica) for name in by_replica[0]} if config.losses.normalizer == "global" else {}
    groups = [shares] if config.model.batch_norm == "synchronized" else [[rows] for rows in shares]

    @tf.function
    def gradients_of(images, targets):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(list(named.values()))
            outputs = model(images, training=True)
            parts = [
                method.losses(_rows(outputs, slice(start, start + share)), _rows(targets, slice(start, start + share)), **counts)
                for start in range(0, images.shape[0], share)
            ]
            losses = {name: tf.add_n([one[name] for one in parts]) for name in parts[0]}
            scaled = losses["loss"] * loss_scale
        return outputs, losses, tape.gradient(scaled, list(named.values()))

    divisor = 1.0 if counts else float(replicas)
    losses: dict[str, float] = {}
    gradients: list[np.ndarray] = []
    outputs = []
    try:
        for group in groups:
            rows = slice(group[0].start, group[-1].stop)
            seen, some, parts = gradients_of(batch["image"][rows], _rows(targets, rows))
            outputs.append(seen)
            losses = {name: losses.get(name, 0.0) + float(value) / divisor for name, value in some.items()}
            arrays = [part.numpy() / (loss_scale * divisor) for part in parts]
            gradients = [a + b for a, b in zip(gradients, arrays)] if gradients else arrays
    except tf.errors.OpError as error:
        return {"error": str(error.message).strip().splitlines()[0][:200], "layers": list(layers.values()), "images": []}
    with np.errstate(invalid="ignore", over="ignore"):
        for name, gradient in zip(named, gradients):
            layers[name].update(gradient_norm=_norm(gradient), gradient_not_finite=_not_finite(gradient))
        norm = math.sqrt(sum(layers[name]["gradient_norm"] ** 2 for name in named))
    whole = {name: tf.concat([one[name] for one in outputs], 0) for name in outputs[0]}
    by_image = _by_image(method, whole, targets, batch["image_id"].numpy())
    return {"losses": losses, "gradient_norm": norm, "images": by_image, "layers": list(layers.values())}


def write_record(
    folder: Path,
    config: Config,
    labels: Labels,
    model: tf.keras.Model,
    batch: Mapping[str, np.ndarray],
    report: Mapping[str, Any],
) -> None:
    """Writes a record; an earlier one in the same folder is written over.

    Raises:
        UserError: the disk is full or the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(folder / "batch.npz", **batch)
    except OSError as error:
        raise cannot_write(folder / "batch.npz", error) from None
    write_weights(model, folder / "weights")
    write_text(folder / "config.yaml", dump_config(config))
    write_json(folder / "labels.json", dataclasses.asdict(labels))
    write_json(folder / REPORT, _plain(report))


def read_report(folder: str | Path) -> dict[str, Any]:
    """report.json of a record.

    Raises:
        UserError: it is missing or damaged.
    """
    file = Path(folder) / REPORT
    try:
        report = _numbers(json.loads(file.read_text(encoding="utf-8")))
        report["replicas"], report["loss_scale"], report["found"]["layers"]
        return report
    except FileNotFoundError:
        raise UserError(f"{folder}: holds no {REPORT}; name a folder such as RUN/divergence/step-12 that training has written") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{file}: is damaged; the step cannot be replayed from it") from None


def replay(folder: str | Path, overrides: Sequence[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """Computes the step of a record again.

    Args:
        folder: the record.
        overrides: key=value on top of its settings, e.g. train.precision=float32.

    Returns:
        The report of the record, and what `inspect_step` finds now.

    Raises:
        UserError: something of the record is missing or damaged, or the settings do not fit it.
    """
    folder = Path(folder)
    report = read_report(folder)
    config, labels = read_config(folder), read_labels(folder)
    if overrides:
        config = config_of(dataclasses.asdict(config), overrides, source=str(folder / "config.yaml"))
    try:
        with np.load(folder / "batch.npz") as file:
            batch = {name: file[name] for name in file.files}
    except (OSError, ValueError, zipfile.BadZipFile):
        raise UserError(f"{folder / 'batch.npz'}: is missing or damaged; the step cannot be replayed without it") from None
    tf.keras.mixed_precision.set_global_policy(config.train.precision)
    num_classes = len(labels.class_names)
    model = build.model_of(config, num_classes)
    read_weights(model, folder / "weights", folder)
    found = inspect_step(config, model, batch, num_classes=num_classes, replicas=report["replicas"], loss_scale=report["loss_scale"])
    return report, found


def same_figures(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two results of `inspect_step` tell the same losses and norms, values that are not finite included."""
    if "error" in first or "error" in second:
        return first.get("error") == second.get("error")
    pairs = [(first["losses"][name], second["losses"].get(name, math.nan)) for name in first["losses"]]
    pairs.append((first["gradient_norm"], second["gradient_norm"]))
    ours, theirs = zip(*pairs)
    return bool(np.allclose(ours, theirs, rtol=_SAME, atol=0, equal_nan=True))


def suspects(found: Mapping[str, Any]) -> list[int]:
    """Image ids of images whose own loss is not finite, where others of the batch have one that is."""
    bad = [image["image_id"] for image in found["images"] if not math.isfinite(image["loss"])]
    return bad if len(bad) < len(found["images"]) else []


def describe(report: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """The tables that `ttfnet replay` prints: figures, images and layers, the worst first, and the steps before."""
    lines = [f"step {report['step']}: {report['reason']} (learning rate {report['lr']:g}, {len(report['image_ids'])} images)"]
    if "error" in found:
        lines.append(f"the network cannot be computed: {found['error']}")
    else:
        figures = {**found["losses"], "gradient_norm": found["gradient_norm"]}
        lines.append(f"{'':18}{'in training':>14}{'then, again':>14}{'now':>14}")
        then = {**report["found"].get("losses", {}), "gradient_norm": report["found"].get("gradient_norm")}
        for name, value in figures.items():
            lines.append(f"{name:18}{_cell(report['in_training'].get(name))}{_cell(then.get(name))}{_cell(value)}")
        lines.append("images by their share of the loss:")
        for image in sorted(found["images"], key=lambda p: _rank(p["loss"]))[:_SHOWN]:
            parts = ", ".join(f"{name} {value:.4g}" for name, value in image.items() if name not in ("image_id", "loss"))
            file = report["files"].get(str(image["image_id"]), "")
            lines.append(f"  image id {image['image_id']}: {image['loss']:.4g} ({parts}) {file}".rstrip())
    lines.append(f"layers:{'':37}{'weight norm':>14}{'gradient norm':>14}  not finite (weights, gradient)")
    for layer in sorted(found["layers"], key=_layer_rank)[:_SHOWN]:
        counts = f"{layer['weights_not_finite']}, {layer.get('gradient_not_finite', '-')}"
        lines.append(f"  {layer['name']:42}{_cell(layer['weight_norm'])}{_cell(layer.get('gradient_norm'))}  {counts}")
    if report["recent"]:
        lines.append(f"the steps before:{'':3}{'lr':>14}{'loss':>14}{'gradient norm':>14}")
        lines += [f"  {one['step']:<18}{_cell(one['lr'])}{_cell(one['loss'])}{_cell(one['gradient_norm'])}" for one in report["recent"]]
    return "\n".join(lines)


def _weights(model: tf.keras.Model) -> dict[str, dict[str, Any]]:
    """Parameters by their official names; running statistics where one of them is not finite."""
    layers = {}
    with np.errstate(invalid="ignore", over="ignore"):
        for name, variable in named_parameters(model).items():
            layers[name] = {"name": name, "weight_norm": _norm(variable.numpy()), "weights_not_finite": _not_finite(variable.numpy())}
        for name, variable in named_buffers(model).items():
            if count := _not_finite(variable.numpy()):
                layers[name] = {"name": name, "weight_norm": _norm(variable.numpy()), "weights_not_finite": count}
    return layers


def _by_image(method, outputs, targets, image_ids) -> list[dict[str, Any]]:
    rows = [slice(row, row + 1) for row in range(len(image_ids))]
    own = [method.normalizers(_rows(targets, row)) for row in rows]
    # One image's counts that are not finite would make every other's loss so.
    counts = {name: sum(float(one[name]) for one in own if math.isfinite(float(one[name]))) for name in own[0]}
    counts = {name: tf.constant(value, tf.float32) for name, value in counts.items()}
    found = []
    for row, image_id in zip(rows, image_ids):
        losses = method.losses(_rows(outputs, row), _rows(targets, row), **counts)
        found.append({"image_id": int(image_id), **{name: float(value) for name, value in losses.items()}})
    return found


def _rows(maps, rows: slice):
    return {name: values[rows] for name, values in maps.items()}


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array.astype(np.float64)))


def _not_finite(array: np.ndarray) -> int:
    return int(np.size(array) - np.count_nonzero(np.isfinite(array)))


def _layer_rank(layer: Mapping[str, Any]) -> tuple:
    """Broken weights first, then broken gradients, then by the size of the gradient."""
    return -layer["weights_not_finite"], -layer.get("gradient_not_finite", 0), _rank(layer.get("gradient_norm", 0.0))


def _rank(value: float) -> float:
    return -value if math.isfinite(value) else -math.inf


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.6g'):>14}"


def _plain(tree):
    """For JSON, which has no words for numbers that are not finite."""
    if isinstance(tree, Mapping):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_plain(value) for value in tree]
    return str(tree) if isinstance(tree, float) and not math.isfinite(tree) else tree


def _numbers(tree):
    """The inverse of `_plain`."""
    if isinstance(tree, dict):
        return {key: _numbers(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_numbers(value) for value in tree]
    return float(tree) if tree in ("nan", "inf", "-inf") else tree
