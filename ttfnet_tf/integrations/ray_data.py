"""Ray Data: a callable class for map_batches, and bulk prediction on a Ray cluster or this machine.

import ray
from ttfnet_tf.inference.bulk.records import DetectorSpec
from ttfnet_tf.integrations.ray_data import DetectImages

names = ray.data.from_items([{"file": "a.jpg"}, {"file": "b.jpg"}])
records = names.map_batches(DetectImages, fn_constructor_args=[DetectorSpec("models/mine")], batch_size=64, concurrency=2)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import ray

from ttfnet_tf.inference.bulk.job import BulkJob, Shard
from ttfnet_tf.inference.bulk.records import DetectorSpec
from ttfnet_tf.json_text import json_text

_CORES = 4  # of one actor; TensorFlow spreads a batch over them


class DetectImages:
    """Adds a column "record" of JSON text (`inference.bulk.records`) to a batch with a column "file".

    Args:
        spec: the detector; its model and the images must be readable on every node.
    """

    def __init__(self, spec: DetectorSpec):
        self._maker = spec.load()

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """The batch with one record for each file."""
        records = self._maker.records([str(file) for file in batch["file"]])
        return {**batch, "record": np.array([json_text(record) for record in records], object)}


class WriteShards:
    """Makes the files of shards that arrive as their fields.

    Args:
        job: where they go.
    """

    def __init__(self, job: BulkJob):
        self._job = job
        job.spec.load()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """{"index"} of the shard, which now has its file."""
        return {"index": self._job.run_shard(Shard(**{name: int(value) for name, value in row.items()}))}


def run(job: BulkJob, shards: Sequence[Shard], options: Mapping[str, str]) -> None:
    """Makes the files of the shards.

    Args:
        job: see `BulkJob`.
        shards: those to do.
        options: of `ray.init`, e.g. {"address": "auto"}; default the cluster of RAY_ADDRESS, else a new one on this machine.
    """
    if not ray.is_initialized():
        ray.init(**{"log_to_driver": False, "include_dashboard": False, **_typed(options)} if "address" not in options else _typed(options))
    ray.data.DataContext.get_current().enable_progress_bars = False
    resources = ray.cluster_resources()
    cores = min(_CORES, max(1, int(resources.get("CPU", 1))))
    has_gpus = resources.get("GPU", 0) >= 1
    actors = int(resources["GPU"]) if has_gpus else max(1, int(resources.get("CPU", 1)) // cores)
    rows = [dataclasses.asdict(shard) for shard in shards]
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        WriteShards,
        fn_constructor_args=[job],
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=actors),
        **({"num_gpus": 1} if has_gpus else {"num_cpus": cores}),
    )
    for _ in dataset.iter_rows():
        pass


def _typed(options: Mapping[str, str]) -> dict[str, Any]:
    """Numbers as numbers, true and false as such."""
    known = {"true": True, "false": False}
    return {name: int(value) if value.isdecimal() else known.get(value, value) for name, value in options.items()}
