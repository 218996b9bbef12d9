"""What the workers of a multi-worker run say to each other beside gradients: where they resume, and that one of them has ended."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from ttfnet_tf.errors import LostWorkerError, UserError

# What collectives end with when a worker is gone or unreachable, by its connection or after ten seconds without a heartbeat.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.DeadlineExceededError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.InternalError,
)

_NO_RUN, _NO_CHECKPOINT = -2, -1
_WORDS = {_NO_RUN: "no run", _NO_CHECKPOINT: "no checkpoint"}


def addresses(strategy: tf.distribute.Strategy) -> list[str]:
    """host:port of every worker; empty for one process."""
    resolver = strategy.cluster_resolver
    return list(resolver.cluster_spec().as_dict().get("worker", [])) if resolver else []


def values_of_workers(strategy: tf.distribute.Strategy, value: int) -> list[int]:
    """The value that each worker has passed, in their order. Every worker must call it."""
    count = len(addresses(strategy))
    own = tf.one_hot(strategy.cluster_resolver.task_id, count, on_value=value, off_value=0, dtype=tf.int64)

    @tf.function(autograph=False)
    def add(vector):
        return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(tf.identity, args=(vector,)), axis=None)

    replicas = strategy.num_replicas_in_sync // count
    return [int(total) // replicas for total in add(own).numpy()]


def refuse_different_folders(strategy: tf.distribute.Strategy, work_dir: Path, step: int | None, *, begun: bool = True) -> None:
    """Checks that all workers see the same run at the same step: a network folder may show an older state to some of them.

    Args:
        strategy: of one process or of many; every worker must call this.
        work_dir: of the run.
        step: of the checkpoint that this worker finds there, None for none.
        begun: whether it finds a run there at all.

    Raises:
        UserError: they differ; on every worker.
    """
    workers = addresses(strategy)
    if not workers:
        return
    state = step if step is not None else _NO_CHECKPOINT if begun else _NO_RUN
    states = [value + _NO_RUN for value in values_of_workers(strategy, state - _NO_RUN)]
    if len(set(states)) > 1:
        found = ", ".join(
            f"{_WORDS.get(state, f'step {state}')} on worker {index} ({address})"
            for index, (state, address) in enumerate(zip(states, workers))
        )
        raise UserError(
            f"{work_dir}: workers find different checkpoints: {found}; give all the same folder, and if it is a network folder that lags "
            "behind, start all again in a minute"
        )


@contextlib.contextmanager
def lost_worker_in_one_line(strategy: tf.distribute.Strategy) -> Iterator[None]:
    """Turns TensorFlow's error about a worker that has ended into one line.

    Raises:
        LostWorkerError: another worker has ended, or cannot be reached.
    """
    try:
        yield
    except (UserError, *_LOST) as error:
        # Whatever the worker was doing has its own line for errors of TensorFlow, such as that a checkpoint cannot be written.
        cause = error.__context__ if isinstance(error, UserError) else error
        workers = addresses(strategy)
        if len(workers) < 2 or not isinstance(cause, _LOST) or not re.search(r"ollective|/job:worker", str(cause)):
            raise
        own = strategy.cluster_resolver.task_id
        named = [int(number) for number in re.findall(r"/job:worker(?:/replica:\d+)?/task:(\d+)", str(cause))]
        lost = next((index for index in named if index != own and index < len(workers)), None)
        who = "another worker" if lost is None else f"worker {lost} ({workers[lost]})"
        raise LostWorkerError(
            f"{who} has ended or cannot be reached, so worker {own} ends, too; the same command on every worker resumes the run"
        ) from None
