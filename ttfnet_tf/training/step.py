"""One training step, the same on one device, several replicas or several workers.

The order is fixed: targets, normalisers of the whole batch, forward, losses in float32, gradients, sum over replicas, verdict, clip,
update. The normalisers of the losses are known before the forward pass, because they depend on the targets alone. So a step is a few calls
into the replicas with two reductions between them: the counts of the targets, as one tensor, before the network; and the gradients, with
the losses as one more tensor, after it. No collective operation stands inside the network (synchronised normalisation apart).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import tensorflow as tf

from ttfnet_tf.methods.base import Method
from ttfnet_tf.models.parameters import named_buffers
from ttfnet_tf.training.dead_sides import idle_sides
from ttfnet_tf.training.loss_scale import LEAST_SCALE
from ttfnet_tf.training.sgd import ReferenceSGD
from ttfnet_tf.training.state import TrainState

# Means over the images of a batch: peaks of the heatmap, cells that regress a box, and the fraction (0..1) of the cells of the
# sub-areas that lie in several of them.
SAMPLE_NAMES = ("positives", "regression_samples", "ambiguous")


def metric_names(method: Method) -> tuple[str, ...]:
    """The metrics of a training step, in this order."""
    return ("loss", *method.loss_names, "gradient_norm", *SAMPLE_NAMES)


def clip_scale(norm: tf.Tensor, clip_norm: float) -> tf.Tensor:
    """Factor that scales a gradient of L2 norm `norm` down to `clip_norm`; 1 below it, or when `clip_norm` is 0.

    Reference: `torch.nn.utils.clip_grad_norm_`, which adds 1e-6 to the norm.
    """
    if not clip_norm:
        return tf.ones_like(norm)
    return tf.minimum(clip_norm / (norm + 1e-6), 1.0)


class TrainStep:
    """Changes a state by one global batch; call it inside a `tf.function`, in cross-replica context.

    Args:
        strategy: under which `state` was made.
        state: the model maps images to the outputs that `detector.build_model` documents. The loss scale and the sentinel may forbid
            the update: a gradient that overflows changes nothing but the loss scale; a bad step, and every step after it until the
            host has released the sentinel, changes no parameter, average or scale.
        method: targets (drawn here for batches without them) and losses.
        normalizer: "global" divides the losses by the counts of the whole batch, so that any number of replicas makes the same update;
            "replica" divides by each replica's own counts and takes the mean, as the official 8-GPU arithmetic does.
        clip_norm: global L2 norm, 0 is off.
        restore_statistics: whether a bad step leaves the running statistics of normalisations as they were, too. That costs a copy in
            each step, and is needed only where a run continues after a bad step without going back to a checkpoint.
        jit_compile: whether XLA compiles what each replica computes: targets, network, losses and gradients, and the update of
            `ReferenceSGD`. The reductions between them, the verdict, averages and other optimizers stay plain operations.
        side_bias: position among the parameters of the bias that `dead_sides.idle_sides` looks at, None for heads without a ReLU.
        accumulate: parts in which each replica computes its images, one after the other, so that the network's memory is that of one part.
            The counts that divide the losses are those of all parts, known before the first, so the gradient is that of the whole batch
            up to rounding. Only local batch normalisation differs: each part has its own statistics, and moves the running ones.
        teacher: images -> further targets, see `teacher.load_teacher`; None without.

    Raises:
        ValueError: unknown normalizer, `restore_statistics` without a sentinel, or `accumulate` below 1.
    """

    def __init__(
        self,
        strategy: tf.distribute.Strategy,
        state: TrainState,
        method: Method,
        *,
        normalizer: str = "global",
        clip_norm: float = 35.0,
        restore_statistics: bool = False,
        jit_compile: bool = False,
        side_bias: int | None = None,
        accumulate: int = 1,
        teacher: Callable[[tf.Tensor], dict[str, tf.Tensor]] | None = None,
    ):
        if normalizer not in ("global", "replica"):
            raise ValueError(f"normalizer must be 'global' or 'replica', received '{normalizer}'")
        if restore_statistics and state.sentinel is None:
            raise ValueError("restore_statistics needs a sentinel, received a state without one")
        if accumulate < 1:
            raise ValueError(f"accumulate must be 1 or more, received {accumulate}")
        self.strategy, self.state, self.method = strategy, state, method
        self.accumulate, self.teacher = accumulate, teacher
        self.is_global, self.clip_norm, self.side_bias = normalizer == "global", clip_norm, side_bias
        self.reduce_op = tf.distribute.ReduceOp.SUM if self.is_global else tf.distribute.ReduceOp.MEAN
        self.parameters = list(state.parameters.values())
        self.statistics = list(named_buffers(state.model).values()) if restore_statistics else []
        as_it_is, by_xla = (self._targets, self._gradients), (_compiled(self._targets), _compiled(self._gradients))
        self.draw, self.differentiate_part = by_xla if jit_compile else as_it_is
        self.differentiate = self.differentiate_part if accumulate == 1 else self._gradients_of_parts
        self.update_options = {"jit_compile": True} if jit_compile and isinstance(state.optimizer, ReferenceSGD) else {}
        self.loss_options = {"static_shapes": True} if jit_compile else {}
        self.names = metric_names(method) + (() if state.sentinel is None else ("proceed", "idle_sides"))

    def __call__(self, batch: dict[str, tf.Tensor], lr: tf.Tensor, step: tf.Tensor) -> dict[str, tf.Tensor]:
        """Runs one step.

        Args:
            batch: from `data.pipeline.build_train_dataset`, distributed.
            lr: [] float32.
            step: [] int64 from 0.

        Returns:
            {name: [] float32} for each of `names`: the metrics; with a sentinel also "proceed" (1 if the step was good) and "idle_sides".
        """
        state, run = self.state, self.strategy.run
        if state.sentinel is not None:
            state.sentinel.begin(step)
        statistics = run(self._read_statistics) if self.statistics else None
        scale = tf.ones([]) if state.loss_scale is None else tf.identity(state.loss_scale.value)

        targets, counts, samples = run(self.draw, args=(batch,))
        # Without counts, the losses take those of their replica.
        counts, samples = self._sums(counts if self.is_global else {}, samples)
        losses, gradients = run(self.differentiate, args=(batch["image"], targets, counts, scale))
        losses, gradients = self._reduce(losses, gradients)
        norm = self._first(run(tf.linalg.global_norm, args=(gradients,))) / scale
        metrics = {**losses, "gradient_norm": norm, **_sample_means(samples)}

        finite, good, proceed = self._verdict(step, metrics["loss"], norm, scale)
        state.optimizer.update(gradients, lr, clip_scale(norm, self.clip_norm) / scale, proceed, **self.update_options)
        if self.statistics:
            run(self._restore_statistics, args=(good, statistics))
        if state.average is not None:
            state.average.update(step, good)
        if state.loss_scale is not None:
            state.loss_scale.update(finite, good)
        if good is not None:
            metrics.update(proceed=tf.cast(good, tf.float32), idle_sides=self._idle_sides(gradients, metrics))
        return metrics

    # In each replica.

    def _targets(self, batch):
        """Targets, the counts that the losses are divided by, and counts of samples."""
        method = self.method
        targets = batch if "heatmap" in batch else method.render(batch["boxes"], batch["labels"])
        targets = {key: targets[key] for key in method.target_shapes}
        if self.teacher is not None:
            targets |= self.teacher(batch["image"])
        counts = method.normalizers(targets)
        # Counted once: reading the heatmap of 80 classes a second time is a measurable part of a step.
        samples = {"positives": counts["num_centres"], **method.samples(batch["boxes"], batch["labels"], targets)}
        return targets, counts, samples

    def _gradients(self, image, targets, counts, scale):
        """Losses, and the gradients of `scale` times their sum."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(self.parameters)
            outputs = self.state.model(image, training=True)  # float32 in every precision
            losses = self.method.losses(outputs, targets, **counts, **self.loss_options)
            scaled_loss = losses["loss"] * scale
        return losses, tape.gradient(scaled_loss, self.parameters)

    def _gradients_of_parts(self, image, targets, counts, scale):
        """As `_gradients`, of one part of the images after the other."""
        size = image.shape[0] // self.accumulate
        counts = counts or self.method.normalizers(targets)  # of the replica, not of a part

        losses = {name: tf.zeros([]) for name in ("loss", *self.method.loss_names)}
        gradients = [tf.zeros(parameter.shape, parameter.dtype) for parameter in self.parameters]

        def add_part(part, losses, gradients):
            rows = slice(part * size, (part + 1) * size)
            here = {name: tf.ensure_shape(values[rows], [size, *values.shape[1:]]) for name, values in targets.items()}
            more_losses, more = self.differentiate_part(tf.ensure_shape(image[rows], [size, *image.shape[1:]]), here, counts, scale)
            # Without a dependency TensorFlow joins these sums with those of the backward pass, into a temporary variable that the next call
            # finds there already (tensorflow/tensorflow#23780).
            with tf.control_dependencies([more_losses["loss"]]):
                return part + 1, {name: losses[name] + more_losses[name] for name in losses}, [a + b for a, b in zip(gradients, more)]

        options = {"parallel_iterations": 1, "maximum_iterations": self.accumulate}  # one part in memory at a time
        return tf.while_loop(lambda part, *_: part < self.accumulate, add_part, (0, losses, gradients), **options)[1:]

    def _read_statistics(self):
        return [tf.identity(variable) for variable in self.statistics]

    def _restore_statistics(self, good, before):
        for variable, value in zip(self.statistics, before):
            variable.assign(tf.where(good, variable, value))

    # Across replicas.

    def _verdict(self, step, loss, norm, scale):
        """[] bool: whether the gradients are finite (None without a loss scale), whether the step is good (None without a sentinel),
        and whether the optimizer may update (None without either)."""
        state = self.state
        finite = None if state.loss_scale is None else tf.math.is_finite(norm)
        if state.sentinel is None:
            return finite, None, finite
        # Gradients that are not finite are the loss scale's business as long as it can decrease.
        good = state.sentinel.judge(step, loss, norm, None if finite is None else scale > LEAST_SCALE)
        return finite, good, good if finite is None else good & finite

    def _idle_sides(self, gradients, metrics):
        if self.side_bias is None:
            return tf.zeros([])
        return idle_sides(self._first(gradients[self.side_bias]), metrics["box_loss"])

    def _sums(self, *groups):
        """Each group {name: [] of each replica} as {name: [] sum over replicas}, by one reduction for all of them."""
        values = [value for group in groups for value in group.values()]
        total = self.strategy.reduce(tf.distribute.ReduceOp.SUM, self.strategy.run(tf.stack, args=(values,)), axis=None)
        sums = iter(tf.unstack(total, num=len(values)))
        return [{name: next(sums) for name in group} for group in groups]

    def _reduce(self, losses, gradients):
        """Losses {name: []} and gradients of each replica over all of them, by one reduction."""
        packed = self.strategy.run(tf.stack, args=(list(losses.values()),))
        # Where the losses go is of no importance: they are equal everywhere.
        pairs = [*zip(gradients, self.parameters), (packed, self.parameters[0])]
        *gradients, packed = self.strategy.extended.batch_reduce_to(self.reduce_op, pairs)
        return dict(zip(losses, tf.unstack(self._first(packed), num=len(losses)))), gradients

    def _first(self, value):
        """The first replica's part of a value that is equal on all."""
        return self.strategy.experimental_local_results(value)[0]


def _compiled(function):
    """The function by XLA, for one replica."""
    compiled = tf.function(function, autograph=False, jit_compile=True)

    def call(*args):
        # What a function returns has no device; TensorFlow would reduce such tensors one after the other.
        return tf.nest.map_structure(tf.identity, compiled(*args))

    return call


def _sample_means(counts):
    """`SAMPLE_NAMES` from counts of the whole batch."""
    return {
        "positives": counts["positives"] / counts["images"],
        "regression_samples": counts["regression_samples"] / counts["images"],
        "ambiguous": tf.math.divide_no_nan(counts["ambiguous"], counts["images_with_cells"]),
    }


class StepHistory(Mapping[str, np.ndarray]):
    """What the training function returned for n steps: name -> float32 [n], "proceed" bool [n].

    The first look at a value waits until the steps are done.

    Args:
        names: of the columns.
        values: [n, len(names)] float32.
    """

    def __init__(self, names: Sequence[str], values: tf.Tensor):
        self._names, self._values = names, values

    @functools.cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        columns = dict(zip(self._names, np.array(self._values).T))
        del self._values
        return {name: column > 0 if name == "proceed" else column for name, column in columns.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def build_train_function(
    strategy: tf.distribute.Strategy, state: TrainState, method: Method, *, measures_wait: bool = True, **options
) -> Callable:
    """A compiled function that runs as many steps as it gets learning rates; other arguments as for `TrainStep`.

    Args:
        measures_wait: False for deterministic operations, which may not look at the time: "data_seconds" is 0.

    Returns:
        train(iterator, learning_rates [n], first_step) -> `StepHistory` of what `TrainStep` returns, and of "data_seconds": how long each
        step waited for its batch. `train.__wrapped__` is the same without compilation, and takes any iterator.
    """
    train_step = TrainStep(strategy, state, method, **options)
    names = (*train_step.names, "data_seconds")

    def next_batch(iterator):
        if not measures_wait:
            return next(iterator), tf.zeros([])
        start = tf.timestamp()
        with tf.control_dependencies([start]):
            batch = next(iterator)
        with tf.control_dependencies(tf.nest.flatten(strategy.experimental_local_results(batch))):
            return batch, tf.cast(tf.timestamp() - start, tf.float32)

    def steps(iterator, numbers):
        """`numbers`: float64 [1 + n], the first step and the learning rates."""
        first_step, learning_rates = tf.cast(numbers[0], tf.int64), tf.cast(numbers[1:], tf.float32)
        count = tf.size(learning_rates)

        def one_step(i, history):
            batch, waited = next_batch(iterator)
            metrics = {**train_step(batch, learning_rates[i], first_step + tf.cast(i, tf.int64)), "data_seconds": waited}
            return i + 1, history.write(i, tf.stack([metrics[name] for name in names]))

        history = tf.TensorArray(tf.float32, count, element_shape=[len(names)])
        return tf.while_loop(lambda i, _: i < count, one_step, (0, history))[1].stack()

    traced = tf.function(steps, autograph=False)

    # Each tensor outside a graph leaves 56 bytes behind (seen with TensorFlow 2.15), so one goes in and one comes out.

    def uncompiled(iterator, learning_rates, first_step):
        return StepHistory(names, steps(iterator, _packed(learning_rates, first_step)))

    @functools.wraps(uncompiled)
    def train(iterator, learning_rates, first_step):
        # Traced once for any number of steps: the last call before an epoch ends often has fewer, and tracing takes long.
        general = traced.get_concrete_function(iterator, tf.TensorSpec([None], tf.float64))
        return StepHistory(names, general(iterator, _packed(learning_rates, first_step)))

    return train


def _packed(learning_rates, first_step) -> tf.Tensor:
    """float64, which holds every float32 and every step exactly."""
    return tf.constant(np.concatenate([[int(first_step)], np.asarray(learning_rates, np.float32)]), tf.float64)
