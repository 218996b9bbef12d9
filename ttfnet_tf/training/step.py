"""One training step, the same on one device, several replicas or several workers.

The order is fixed: targets, normalisers of the whole batch, forward, losses in float32, gradients, sum over replicas, verdict, clip,
update.
Normalisers are known before the forward pass, for they depend on the targets alone; so one step is three calls into the
replicas with reductions between them, and no collective operation stands inside the network (synchronised BN apart).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import tensorflow as tf

from ttfnet_tf.methods.base import Method
from ttfnet_tf.runs.moving_average import MovingAverage
from ttfnet_tf.training.optim import LEAST_SCALE, LossScale, clip_scale
from ttfnet_tf.training.sentinel import Sentinel

# Of an image, mean over the batch: peaks of the heatmap, cells that regress a box, share (0..1) of them that lie in several sub-areas.
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
    sentinel: Sentinel | None = None,
    statistics: Sequence[tf.Variable] = (),
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
        sentinel: judges each step; a bad one, and all after it in the same call, change no parameter, average or scale.
        statistics: running statistics of the model that a bad step must leave as they were too. Without them it may move those, which is
            enough where the run stops or goes back to a checkpoint.

    Returns:
        train(iterator, learning_rates [n], first_step []) -> {name: [n] float32} for each of `metric_names(method)`, and "data_seconds":
        how long each step waited for its batch. With a sentinel also "proceed" [n] bool, whether a step was good, and "idle_sides" [n]
        float32, see `Sentinel.idle_sides`.

    Raises:
        ValueError: unknown normalizer, or `statistics` without a sentinel.
    """
    if normalizer not in ("global", "replica"):
        raise ValueError(f"normalizer must be 'global' or 'replica', received '{normalizer}'")
    if statistics and sentinel is None:
        raise ValueError("statistics are put back on the word of a sentinel; received none")
    kinds = dict.fromkeys((*metric_names(method), "data_seconds"), tf.float32)
    if sentinel is not None:
        kinds.update(proceed=tf.bool, idle_sides=tf.float32)
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

    def replica_statistics():
        return [tf.identity(variable) for variable in statistics]

    def replica_put_back(proceed, before):
        for variable, value in zip(statistics, before):
            variable.assign(tf.where(proceed, variable, value))

    def first_replica(value):
        return strategy.experimental_local_results(value)[0]

    def one_step(batch, lr, step):
        if sentinel is not None:
            sentinel.begin(step)
        before = strategy.run(replica_statistics) if statistics else None
        targets, counts, samples = strategy.run(replica_targets, args=(batch,))
        counts = {key: strategy.reduce(reduce_op, value, axis=None) for key, value in counts.items()} if normalizer == "global" else {}
        scale = tf.ones([]) if loss_scale is None else tf.identity(loss_scale.value)
        losses, gradients = strategy.run(replica_gradients, args=(batch["image"], targets, counts, scale))
        gradients = strategy.extended.batch_reduce_to(reduce_op, list(zip(gradients, parameters)))
        norm = first_replica(strategy.run(tf.linalg.global_norm, args=(gradients,))) / scale
        metrics = {key: strategy.reduce(reduce_op, value, axis=None) for key, value in losses.items()}
        samples = {key: strategy.reduce(tf.distribute.ReduceOp.SUM, value, axis=None) for key, value in samples.items()}
        metrics = {**metrics, "gradient_norm": norm, **_sample_means(samples)}
        finite = None if loss_scale is None else tf.math.is_finite(norm)
        good = None
        if sentinel is not None:
            # A loss scale that is not at its least answers for the gradient itself, by falling.
            good = sentinel.judge(step, metrics["loss"], norm, None if loss_scale is None else scale > LEAST_SCALE)
            metrics["proceed"] = good
            metrics["idle_sides"] = sentinel.idle_sides([first_replica(gradient) for gradient in gradients], metrics.get("box_loss"))
        proceed = finite if good is None else good if finite is None else good & finite
        optimizer.update(gradients, lr, clip_scale(norm, clip_norm) / scale, proceed)
        if statistics:
            strategy.run(replica_put_back, args=(good, before))
        if average is not None:
            average.update(step, good)
        if loss_scale is not None:
            loss_scale.update(finite, good)
        return metrics

    def next_batch(iterator):
        start = tf.timestamp()
        with tf.control_dependencies([start]):
            batch = next(iterator)
        with tf.control_dependencies(tf.nest.flatten(strategy.experimental_local_results(batch))):
            return batch, tf.cast(tf.timestamp() - start, tf.float32)

    @tf.function(reduce_retracing=True)
    def train(iterator, learning_rates, first_step):
        count = tf.size(learning_rates)
        history = {key: tf.TensorArray(dtype, count, element_shape=[]) for key, dtype in kinds.items()}
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
        "positives": sums["positives"] / sums["images"],
        "regression_samples": sums["regression_samples"] / sums["images"],
        "ambiguous": tf.math.divide_no_nan(sums["ambiguous"], sums["images_with_cells"]),
    }
