"""Losses, gradients and weights of one training step, image by image and layer by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.methods.base import Maps, Method
from ttfnet_tf.models.parameters import named_buffers, named_parameters


def inspect_step(
    model: keras.Model,
    method: Method,
    batch: Mapping[str, Any],
    *,
    normalizer: str = "global",
    synchronized: bool = False,
    replicas: int = 1,
    accumulate: int = 1,
    loss_scale: float = 1.0,
    teacher: Callable[[tf.Tensor], Maps] | None = None,
) -> dict[str, Any]:
    """Computes on one device what `step.TrainStep` computes on `replicas` of them; only running statistics of `model` are updated.

    The replicas' parts of the batch are computed one after the other, or the whole batch at once with synchronised normalisation.

    Args:
        model: with the weights before the step, in the precision of training.
        method: of the run.
        batch: arrays as `data.pipeline.build_train_dataset` gives them.
        normalizer: "global" or "replica", see `TrainStep`.
        synchronized: whether normalisations take statistics over all replicas.
        replicas: that shared the batch.
        accumulate: parts in which each computed its images.
        loss_scale: that the gradients were computed with.
        teacher: see `TrainStep`.

    Returns:
        "losses" {name: number} and "gradient_norm", or "error" (a line) where the network could not be computed; "images", in the
        order of the batch: image_id and its part of each loss, all normalised over the batch; "layers", in the order of the network: name,
        weight_norm, weights_not_finite (a count), and gradient_norm, gradient_not_finite of those that are trained.
    """
    named = named_parameters(model, trainable_only=True)
    layers = _weights(model)
    batch = {name: tf.constant(values) for name, values in batch.items()}
    targets = batch if "heatmap" in batch else method.render(batch["boxes"], batch["labels"])
    targets = {name: targets[name] for name in method.target_shapes} | ({} if teacher is None else teacher(batch["image"]))
    size = len(batch["image_id"]) // replicas  # images of a replica
    part = size // accumulate
    own = [method.normalizers(_rows(targets, slice(size * k, size * (k + 1)))) for k in range(replicas)]
    if synchronized:
        groups = [(slice(0, size * replicas), _sum(own) if normalizer == "global" else {})]  # without counts each replica takes its own
    else:
        counts = [_sum(own)] * replicas if normalizer == "global" else own
        groups = [(slice(start, start + part), counts[start // size]) for start in range(0, size * replicas, part)]
    function = _gradient_function(model, method, list(named.values()), part, loss_scale)
    divisor = 1.0 if normalizer == "global" else float(replicas)
    try:
        outputs, losses, gradients = _run_groups(function, groups, batch["image"], targets, divisor, loss_scale)
    except tf.errors.OpError as error:
        return {"error": str(error.message).strip().splitlines()[0][:200], "layers": list(layers.values()), "images": []}
    with np.errstate(invalid="ignore", over="ignore"):
        for name, gradient in zip(named, gradients):
            layers[name].update(gradient_norm=_norm(gradient), gradient_not_finite=_not_finite(gradient))
        norm = math.sqrt(sum(layers[name]["gradient_norm"] ** 2 for name in named))
    by_image = _by_image(method, outputs, targets, batch["image_id"].numpy())
    return {"losses": losses, "gradient_norm": norm, "images": by_image, "layers": list(layers.values())}


def suspects(inspection: Mapping[str, Any]) -> list[int]:
    """Ids of the images whose own loss is not finite, where other images of the batch have a finite one."""
    bad = [image["image_id"] for image in inspection["images"] if not math.isfinite(image["loss"])]
    return bad if len(bad) < len(inspection["images"]) else []


def _gradient_function(model: keras.Model, method: Method, parameters: Sequence[tf.Variable], size: int, loss_scale: float) -> Callable:
    """(images, targets, counts or {}) of parts of `size` images -> outputs, losses summed over parts, gradients times the loss scale."""

    @tf.function(autograph=False)
    def gradients_of(images, targets, counts):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(parameters)
            outputs = model(images, training=True)
            parts = []
            for start in range(0, images.shape[0], size):
                rows = slice(start, start + size)
                parts.append(method.losses(_rows(outputs, rows), _rows(targets, rows), **counts))
            losses = {name: tf.add_n([part[name] for part in parts]) for name in parts[0]}
            scaled = losses["loss"] * loss_scale
        return outputs, losses, tape.gradient(scaled, parameters)

    return gradients_of


def _run_groups(
    function: Callable, groups: Sequence[tuple[slice, Maps]], images: tf.Tensor, targets: Maps, divisor: float, loss_scale: float
) -> tuple[Maps, dict[str, float], list[np.ndarray]]:
    """Outputs of the whole batch, losses and gradients, group after group."""
    outputs: list[Maps] = []
    losses: dict[str, float] = {}
    gradients: list[np.ndarray] = []
    for rows, counts in groups:
        output, part, scaled = function(images[rows], _rows(targets, rows), counts)
        outputs.append(output)
        losses = {name: losses.get(name, 0.0) + float(value) / divisor for name, value in part.items()}
        arrays = [gradient.numpy() / (loss_scale * divisor) for gradient in scaled]
        gradients = [a + b for a, b in zip(gradients, arrays)] if gradients else arrays
    return {name: tf.concat([one[name] for one in outputs], 0) for name in outputs[0]}, losses, gradients


def _weights(model: keras.Model) -> dict[str, dict[str, Any]]:
    """Parameters by their official names; running statistics where one of them is not finite."""
    layers = {}
    with np.errstate(invalid="ignore", over="ignore"):
        for name, variable in named_parameters(model).items():
            layers[name] = {"name": name, "weight_norm": _norm(variable.numpy()), "weights_not_finite": _not_finite(variable.numpy())}
        for name, variable in named_buffers(model).items():
            if count := _not_finite(variable.numpy()):
                layers[name] = {"name": name, "weight_norm": _norm(variable.numpy()), "weights_not_finite": count}
    return layers


def _by_image(method: Method, outputs: Maps, targets: Maps, image_ids: np.ndarray) -> list[dict[str, Any]]:
    rows = [slice(row, row + 1) for row in range(len(image_ids))]
    own = [method.normalizers(_rows(targets, row)) for row in rows]
    # Counts of one image that are not finite would make the losses of all others so.
    counts = {name: sum(float(one[name]) for one in own if math.isfinite(float(one[name]))) for name in own[0]}
    counts = {name: tf.constant(value, tf.float32) for name, value in counts.items()}
    images = []
    for row, image_id in zip(rows, image_ids):
        losses = method.losses(_rows(outputs, row), _rows(targets, row), **counts)
        images.append({"image_id": int(image_id), **{name: float(value) for name, value in losses.items()}})
    return images


def _rows(maps: Maps, rows: slice) -> Maps:
    return {name: values[rows] for name, values in maps.items()}


def _sum(counts: Sequence[Maps]) -> Maps:
    return {name: sum(one[name] for one in counts) for name in counts[0]}


def _norm(array: np.ndarray) -> float:
    return float(np.linalg.norm(array.astype(np.float64)))


def _not_finite(array: np.ndarray) -> int:
    return int(np.size(array) - np.count_nonzero(np.isfinite(array)))
