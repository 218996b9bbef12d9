"""Apache Spark: a pandas UDF, a function for mapInPandas, and bulk prediction on a Spark cluster or this machine.

from ttfnet_tf.inference.bulk.records import DetectorSpec
from ttfnet_tf.integrations.spark import detect_udf

detect = detect_udf(DetectorSpec("models/mine"))
records = spark.createDataFrame([("a.jpg",), ("b.jpg",)], ["file"]).withColumn("record", detect("file"))
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas
from pyspark.sql import SparkSession
from pyspark.sql.functions import pandas_udf

from ttfnet_tf.inference.bulk.job import BulkJob, Shard
from ttfnet_tf.inference.bulk.records import DetectorSpec

# Columns of a record, as `inference.bulk.records` describes them.
SCHEMA = (
    "file string, height int, width int, "
    "detections array<struct<box: array<float>, score: float, class_id: int, class_name: string>>, error string"
)
_COLUMNS = ("file", "height", "width", "detections", "error")


def detect_in_pandas(spec: DetectorSpec, frames: Iterator[pandas.DataFrame]) -> Iterator[pandas.DataFrame]:
    """For `DataFrame.mapInPandas(functools.partial(detect_in_pandas, spec), SCHEMA)`: frames with a column "file" -> records.

    Args:
        spec: the detector; its model and the images must be readable on every executor.
        frames: parts of a table.
    """
    for frame in frames:
        rows = [[record.get(name) for name in _COLUMNS] for record in spec.load().records(list(frame["file"]))]
        table = pandas.DataFrame(rows, columns=list(_COLUMNS), dtype=object)
        yield table.astype({"height": "Int32", "width": "Int32"})


def detect_udf(spec: DetectorSpec):
    """A pandas UDF from file names to records, a struct of `SCHEMA`.

    Args:
        spec: the detector; its model and the images must be readable on every executor.
    """

    def detect(files: pandas.Series) -> pandas.DataFrame:
        return next(detect_in_pandas(spec, iter([pandas.DataFrame({"file": files})])))

    return pandas_udf(detect, SCHEMA)


def run(job: BulkJob, shards: Sequence[Shard], options: Mapping[str, str]) -> None:
    """Makes the files of the shards.

    Args:
        job: see `BulkJob`.
        shards: those to do.
        options: of Spark, e.g. {"spark.master": "yarn"}; default what spark-submit or spark-defaults.conf say, else this machine.
    """
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    builder = SparkSession.builder.appName("ttfnet predict").config("spark.ui.showConsoleProgress", "false")
    for name, value in options.items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    try:
        rows = [dataclasses.astuple(shard) for shard in shards]
        table = spark.createDataFrame(spark.sparkContext.parallelize(rows, len(rows)), "index int, begin long, end long, images int")
        table.mapInPandas(functools.partial(_write_shards, job), "index int").collect()
    finally:
        spark.stop()


def _write_shards(job: BulkJob, frames: Iterator[pandas.DataFrame]) -> Iterator[pandas.DataFrame]:
    for frame in frames:
        done: list[Any] = [job.run_shard(Shard(*map(int, row))) for row in frame.itertuples(index=False)]
        yield pandas.DataFrame({"index": done}, dtype="int32")
