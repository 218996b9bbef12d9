"""Which devices a run uses, and the distribution strategy over them."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence

import tensorflow as tf

from ttfnet_tf.errors import UserError
from ttfnet_tf.training.cluster import find_cluster, use


def build_strategy(kind: str, devices: Sequence[str]) -> tf.distribute.Strategy:
    """The strategy of `train.strategy`.

    Args:
        kind: "mirrored" (one process) or "multi_worker" (one process for each worker, see `cluster`).
        devices: "gpu:0", "cpu:1", ...; empty takes every GPU, else the CPU. Several CPUs are logical devices of the same one.

    Raises:
        UserError: a device that does not exist, no cluster or a wrong one, or TensorFlow already started with other devices.
    """
    names = [device.lower() for device in devices]
    logical_cpus = max((int(name.partition(":")[2]) + 1 for name in names if name.startswith("cpu")), default=1)
    if logical_cpus > len(tf.config.get_logical_device_configuration(_cpu()) or [None]):
        try:
            tf.config.set_logical_device_configuration(_cpu(), [tf.config.LogicalDeviceConfiguration()] * logical_cpus)
        except RuntimeError:
            raise UserError(f"train.devices={names}: TensorFlow has started with fewer CPU devices; start a fresh process") from None
    if kind == "multi_worker":
        return _multi_worker()
    available = [":".join(d.name.lower().split(":")[-2:]) for d in tf.config.list_logical_devices()]
    for name in names:
        if name not in available:
            raise UserError(f"train.devices: there is no {name} here; available: {', '.join(sorted(available))}")
    if not names:
        names = [name for name in available if name.startswith("gpu")] or ["cpu:0"]
    return tf.distribute.MirroredStrategy([f"/{name}" for name in names])


def _cpu():
    return tf.config.list_physical_devices("CPU")[0]


def _multi_worker() -> tf.distribute.Strategy:
    cluster = find_cluster(os.environ)
    own = cluster.workers[cluster.index]
    hint = f"train.strategy=multi_worker needs {cluster.source}"
    _refuse_used_port(own, f"{hint}: worker {cluster.index}, this process, cannot listen at {own}", cluster.source)
    use(cluster)
    if cluster.source != "TF_CONFIG" and cluster.index == 0:
        print(f"{len(cluster.workers)} workers by {cluster.source}: {', '.join(cluster.workers)}; this is worker 0", flush=True)
    return tf.distribute.MultiWorkerMirroredStrategy()


def _refuse_used_port(address: str, message: str, source: str) -> None:
    """Checks before TensorFlow's server does, which prints a screenful about it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", int(address.rpartition(":")[2])))
        except (OSError, OverflowError) as error:
            setting = "TTFNET_PORT" if source == "Slurm" else source
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{message} ({reason}); name a free port in every worker's {setting}") from None


def make_deterministic() -> None:
    """Lets TensorFlow use deterministic operations only, in this process from now on; call it before anything is computed."""
    tf.config.experimental.enable_op_determinism()


def is_not_deterministic(error: BaseException) -> bool:
    """Whether an error of TensorFlow says that an operation has no deterministic form."""
    return isinstance(error, tf.errors.UnimplementedError) and "determinis" in str(error).lower()


def trains_on_gpus(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process trains on GPUs."""
    return any("GPU" in device.upper() for device in strategy.extended.worker_devices)


def is_chief(strategy: tf.distribute.Strategy) -> bool:
    """Whether this process writes files: always, except for the later workers of a multi-worker run."""
    return (strategy.cluster_resolver.task_id or 0) == 0 if strategy.cluster_resolver else True


def any_worker(strategy: tf.distribute.Strategy):
    """A function of one [] float32 tensor: True on every worker if it is above 0 on any of them."""

    @tf.function(autograph=False)
    def agree(flag):
        flags = strategy.run(tf.identity, args=(flag,))
        return strategy.reduce(tf.distribute.ReduceOp.SUM, flags, axis=None) > 0

    return agree
