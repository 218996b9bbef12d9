"""Batches made by the workers of a tf.data service, in the order of the steps.

Every step goes to one worker, which makes its whole batch. The batches arrive in any order; they wait here until the ones before them have
come, so that training sees exactly what it would have read itself, and resumes bit for bit.

Reference: tensorflow.org/api_docs/python/tf/data/experimental/service
"""

from __future__ import annotations

import re
import socket

import tensorflow as tf

from ttfnet_tf.errors import UserError

ADDRESS = re.compile(r"grpc://([^\s/:]+|\[[0-9a-fA-F:]+\]):(\d{1,5})")
STEP = "step"  # key of a batch: the step that it is for
_WAITING = 64  # batches that may have come before an earlier one; more mean that a worker has ended with it
_ANSWER_SECONDS = 5.0  # for an answer of the dispatcher
BATCH_SECONDS = 300  # for the next batch of any worker: TensorFlow would wait for ever
_as_written = tf.autograph.experimental.do_not_convert


def check_service(address: str) -> None:
    """Raises UserError if nobody listens at an address: TensorFlow itself would wait for ever."""
    host, port = ADDRESS.fullmatch(address).groups()  # type: ignore[union-attr]
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"data.service={address}: nobody answers there ({reason}); start the dispatcher, see docs/packed.md") from None


def read_in_order(dataset: tf.data.Dataset, address: str, *, first_step: int, lost: str, silent: str) -> tf.data.Dataset:
    """The batches of `dataset`, made by the service, without their key `STEP`.

    Args:
        dataset: begins at a `Dataset.range` of steps, and has one batch for each; TensorFlow operations alone.
        address: grpc://host:port of the dispatcher.
        first_step: of the batch that comes first.
        lost: message of the InvalidArgumentError when a batch does not come although later ones do.
        silent: that when none comes for `BATCH_SECONDS`.
    """
    names = sorted(set(dataset.element_spec) - {STEP})
    specs = {name: dataset.element_spec[name] for name in names}

    def packed(batch):
        return batch[STEP][0], tf.stack([tf.io.serialize_tensor(batch[name]) for name in names])

    def unpacked(texts):
        values = {name: tf.io.parse_tensor(texts[k], specs[name].dtype) for k, name in enumerate(names)}
        return {name: tf.ensure_shape(value, specs[name].shape) for name, value in values.items()}

    service = tf.data.experimental.service.distribute(
        tf.data.experimental.service.ShardingPolicy.DYNAMIC,
        address,
        compression=None,  # images do not become smaller
    )
    found = _with_seconds(dataset.map(_as_written(packed)).apply(service), len(names))
    steps = tf.fill([_WAITING], tf.constant(-1, tf.int64))
    state = (tf.constant(first_step, tf.int64), tf.constant(0, tf.int64), steps, tf.fill([_WAITING, len(names)], ""))
    ready = found.scan(state, _as_written(_sorter(lost, silent)))
    return ready.flat_map(_as_written(tf.data.Dataset.from_tensor_slices)).map(_as_written(unpacked))


def _with_seconds(batches: tf.data.Dataset, width: int) -> tf.data.Dataset:
    """`batches`, and between them an element of step -1 for every second that the reader waits."""

    nothing = tf.data.Dataset.from_tensors((tf.constant(-1, tf.int64), tf.fill([width], ""))).repeat()
    types, shapes = (tf.int64, tf.string), (tf.TensorShape([]), tf.TensorShape([width]))
    variant = tf.raw_ops.SleepDataset(
        input_dataset=tf.data.experimental.to_variant(nothing), sleep_microseconds=1_000_000, output_types=types, output_shapes=shapes
    )
    seconds = tf.data.experimental.from_variant(variant, nothing.element_spec)
    both = tf.data.Dataset.from_tensors(batches).concatenate(tf.data.Dataset.from_tensors(seconds))
    return both.interleave(_as_written(lambda one: one), cycle_length=2, num_parallel_calls=2, deterministic=False)


def _sorter(lost: str, silent: str):
    """A function for `Dataset.scan`: keeps a batch in the place of its step, and lets those go whose turn it is."""
    places = tf.range(_WAITING, dtype=tf.int64)

    def sort(state, arrived):
        due, waited, steps, texts = state
        step, text = arrived
        waited = tf.where(step < 0, waited + 1, 0)
        asserts = [tf.debugging.Assert(step < due + _WAITING, [lost]), tf.debugging.Assert(waited < BATCH_SECONDS, [silent])]
        with tf.control_dependencies(asserts):
            count = tf.cast(step >= 0, tf.int32)
        place = tf.reshape(step % _WAITING, [1, 1])[:count]
        steps = tf.tensor_scatter_nd_update(steps, place, step[None][:count])
        texts = tf.tensor_scatter_nd_update(texts, place, text[None][:count])
        order = (due + places) % _WAITING
        is_there = tf.cast(tf.gather(steps, order) == due + places, tf.int64)
        gone = order[: tf.reduce_sum(tf.math.cumprod(is_there))]
        ready = tf.gather(texts, gone)
        texts = tf.tensor_scatter_nd_update(texts, gone[:, None], tf.fill(tf.shape(ready), ""))  # or their memory would be kept
        return (due + tf.size(gone, tf.int64), waited, steps, texts), ready

    return sort
