"""Apache Beam: a model handler for RunInference, and bulk prediction on any Beam runner.

import apache_beam as beam
from apache_beam.ml.inference.base import RunInference
from ttfnet_tf.inference.bulk.records import DetectorSpec
from ttfnet_tf.integrations.beam import ImageModelHandler

with beam.Pipeline() as pipeline:
    records = pipeline | beam.Create(["a.jpg", "b.jpg"]) | RunInference(ImageModelHandler(DetectorSpec("models/mine")))
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
from apache_beam.ml.inference.base import ModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions

from ttfnet_tf.inference.bulk.job import BulkJob, Shard
from ttfnet_tf.inference.bulk.records import DetectorSpec, RecordMaker


class ImageModelHandler(ModelHandler):
    """From file names to records (`inference.bulk.records`), in batches of the network's size.

    Args:
        spec: the detector; its model and the images must be readable on every worker.
    """

    def __init__(self, spec: DetectorSpec):
        super().__init__(max_batch_size=spec.batch_size)
        self._spec = spec

    def load_model(self) -> RecordMaker:
        """The detector, once in a worker."""
        return self._spec.load()

    def run_inference(self, batch: Sequence[str], model: RecordMaker, inference_args: dict | None = None) -> Iterator[dict[str, Any]]:
        """One record for each file; an image that cannot be read gets one with the error."""
        return model.records(batch)


class ShardModelHandler(ModelHandler):
    """From shards to their files: a shard is one element, so its file is written as soon as its images are done.

    Args:
        job: where the files go.
    """

    def __init__(self, job: BulkJob):
        super().__init__(max_batch_size=1)
        self._job = job

    def load_model(self) -> RecordMaker:
        """The detector, once in a worker."""
        return self._job.spec.load()

    def run_inference(self, batch: Sequence[Shard], model: RecordMaker, inference_args: dict | None = None) -> list[int]:
        """The indices of the shards, which now have their files."""
        return [self._job.run_shard(shard) for shard in batch]


def run(job: BulkJob, shards: Sequence[Shard], options: Mapping[str, str]) -> None:
    """Makes the files of the shards.

    Args:
        job: see `BulkJob`.
        shards: those to do.
        options: Beam's pipeline options without their dashes, e.g. {"runner": "FlinkRunner"}; default the direct runner here.
    """
    flags = [f"--{name}={value}" if value else f"--{name}" for name, value in options.items()]
    with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
        pipeline | beam.Create(shards) | beam.Reshuffle() | RunInference(ShardModelHandler(job))
