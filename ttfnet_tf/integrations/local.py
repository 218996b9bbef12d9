"""Bulk prediction in this process, one shard after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ttfnet_tf.inference.bulk.job import BulkJob, Shard


def run(job: BulkJob, shards: Sequence[Shard], options: Mapping[str, str]) -> None:
    """Makes the files of the shards; there are no options."""
    for shard in shards:
        job.run_shard(shard)
