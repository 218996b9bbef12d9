"""One training step, the same on one device, several replicas or several workers.

The order is fixed: targets, normalisers of the whole batch, forward, losses in float32, gradients, sum over replicas, clip, update.
Normalisers are known before the forward pass, for they depend on the targets alone; so one step is three calls into the
replicas with reductions between them, and no collective operation stands inside the network (synchronised BN apart).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import tensorflow as tf

from ttfnet_tf.methods import Method
from ttfnet_tf.optim import LossScale, MovingAverage, clip_scale

# Of a picture, mean over the batch: peaks of the heatmap, cells that regress a box, share (0..1) of them that lie in several sub-areas.
SAMPLE_NAMES = ("positives", "regression_samples", "ambiguous")


class Optimizer(Protocol):
    """What the step needs of an optimizer, see `optim.ReferenceSGD.update`."""

    def update(self, gradients: Sequence[tf.Tensor], lr: tf.Tensor, scale: tf.Tensor, proceed: tf.Tensor | None = None) -> None: ...


def metric_names(method: Method) -> tuple[str, ...]:
    """What a training step of `method` tells, in this order."""
    return ("loss", *method.loss_names, "gradient_norm", *SAMPLE_NAMES)


def build_train_function(
    strategy: tf.distribute.Strategy,
    model: tf.keras.Model,
    parameters: Sequence[tf.Variable],
    optimizer: Optimizer,
    method: Method,
    *,
    normalizer: str = "global",
    clip_norm: float = 35.0,
    average: MovingAverage | None = None,
    loss_scale: LossScale | None = None,
) -> Callable:
    """A compiled function that runs as many steps as it is given learning rates.

    Args:
        strategy: the strategy under which model and optimizer were made.
        model: maps images to the outputs that `model.build_model` documents.
        parameters: trainable variables in the optimizer's order.
        optimizer: receives gradients already summed over replicas.
        method: targets (drawn here for batches that carry boxes only) and losses.
        normalizer: "global" divides by the counts of the whole batch, so that any number of replicas makes the same update;
            "replica" divides by each replica's own and takes the mean, as the official 8-GPU arithmetic does.
        clip_norm: global L2 norm, 0 is off.
        average: moved after each update.
        loss_scale: for float16; a step whose gradients overflow changes nothing but the scale.

    Returns:
        train(iterator, learning_rates [n], first_step []) -> {name: [n] float32} for each of `metric_names(method)`, and "data_seconds":
        how long each step waited for its batch.

    Raises:
        ValueError: unknown normalizer.
    """
    if normalizer not in ("global", "replica"):
        raise ValueError(f"normalizer must be 'global' or 'replica', received '{normalizer}'")
    names = (*metric_names(method), "data_seconds")
    reduce_op = tf.distribute.ReduceOp.SUM if normalizer == "global" else tf.distribute.ReduceOp.MEAN

    def replica_targets(batch):
        targets = batch if "heatmap" in batch else method.render(batch["boxes"], batch["labels"])
        targets = {key: targets[key] for key in method.target_shapes}
        counts = method.normalizers(targets)
        # Counted once: looking through the heatmap of 80 classes a second time is a measurable part of a step.
        samples = {"positives": counts["num_centres"], **method.samples(batch["boxes"], batch["labels"], targets)}
        return targets, counts, samples

    def replica_gradients(image, targets, counts, scale):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            for parameter in parameters:
                tape.watch(parameter)
            outputs = model(image, training=True)  # float32 whatever the precision policy
            losses = method.losses(outputs, targets, **counts)
            scaled_loss = losses["loss"] * scale
        return losses, tape.gradient(scaled_loss, parameters)

    def one_step(batch, lr, step):
        targets, counts, samples = strategy.run(replica_targets, args=(batch,))
        counts = {key: strategy.reduce(reduce_op, value, axis=None) for key, value in counts.items()} if normalizer == "global" else {}
        scale = tf.ones([]) if loss_scale is None else tf.identity(loss_scale.value)
        losses, gradients = strategy.run(replica_gradients, args=(batch["image"], targets, counts, scale))
        gradients = strategy.extended.batch_reduce_to(reduce_op, list(zip(gradients, parameters)))
        norm = strategy.experimental_local_results(strategy.run(tf.linalg.global_norm, args=(gradients,)))[0] / scale
        finite = None if loss_scale is None else tf.math.is_finite(norm)
        optimizer.update(gradients, lr, clip_scale(norm, clip_norm) / scale, finite)
        if average is not None:
            average.update(step)
        if loss_scale is not None:
            loss_scale.update(finite)
        metrics = {key: strategy.reduce(reduce_op, value, axis=None) for key, value in losses.items()}
        samples = {key: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for key, value in samples.items()}
        return {**metrics, "gradient_norm": norm, **_sample_means(samples)}

    def next_batch(iterator):
        start = tf.timestamp()
        with tf.control_dependencies([start]):
            batch = next(iterator)
        with tf.control_dependencies(tf.nest.flatten(strategy.experimental_local_results(batch))):
            return batch, tf.cast(tf.timestamp() - start, tf.float32)

    @tf.function(reduce_retracing=True)
    def train(iterator, learning_rates, first_step):
        count = tf.size(learning_rates)
        history = {key: tf.TensorArray(tf.float32, count, element_shape=[]) for key in names}
        for i in tf.range(count):
            batch, waited = next_batch(iterator)
            metrics = one_step(batch, learning_rates[i], first_step + tf.cast(i, tf.int64))
            metrics["data_seconds"] = waited
            history = {key: array.write(i, metrics[key]) for key, array in history.items()}
        return {key: array.stack() for key, array in history.items()}

    return train


def _sample_means(sums):
    """`SAMPLE_NAMES` from the sums that `Method.samples` gives, over all replicas."""
    return {
        "positives": sums["positives"] / sums["pictures"],
        "regression_samples": sums["regression_samples"] / sums["pictures"],
        "ambiguous": tf.math.divide_no_nan(sums["ambiguous"], sums["pictures_with_cells"]),
    }
