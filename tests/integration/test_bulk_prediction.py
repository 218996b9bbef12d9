"""Bulk prediction on every engine: killed half way and called again, there is one record for each of 2,000 images.

An engine whose package is missing is skipped; `make engines` makes an environment with all of them and runs this file.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from exported_run import exported, narrow, trained  # noqa: F401 fixtures
from PIL import Image

from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.inference.bulk.records import DetectorSpec

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {"local": "numpy", "beam": "apache_beam", "ray": "ray", "spark": "pyspark"}
COUNT, SHARD = 2000, 50
BROKEN = 37  # number of the image that cannot be read


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """2,000 images, one of which is broken."""
    folder = tmp_path_factory.mktemp("images")
    draw_shapes(folder, train=COUNT, val=1, size=(48, 64), seed=11)
    files = sorted((folder / "train").iterdir())
    assert len(files) == COUNT
    files[BROKEN].write_bytes(files[BROKEN].read_bytes()[:60])
    return folder / "train"


def _skip_without(engine, file_format="jsonl"):
    for package in (PACKAGES[engine], *(["pyarrow"] if file_format == "parquet" else [])):
        pytest.importorskip(package, reason=f"needs {package}; make engines", exc_type=ImportError)
    if engine == "spark" and shutil.which("java") is None:
        pytest.skip("needs Java")


def _command(model, images, out, engine, *more):
    return [
        *(sys.executable, "-m", "ttfnet_tf", "predict", str(model), str(images), "--out", str(out), "--runner", engine),
        *("--shard-size", str(SHARD), "--score-threshold", "0.2", *more),
    ]


def _environment():
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


def _done(out):
    return sorted(out.glob("detections-*-of-*"))


def _kill_half_way(command, out, log):
    """Starts a command and kills its whole process group once some of its files are there."""
    process = subprocess.Popen(command, env=_environment(), stdout=log, stderr=log, start_new_session=True)
    try:
        while len(_done(out)) < 5:
            assert process.poll() is None, Path(log.name).read_text()[-3000:]
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _records(out, file_format):
    if file_format == "parquet":
        import pyarrow.parquet as parquet

        return [row for path in _done(out) for row in parquet.read_table(path).to_pylist()]
    return [json.loads(line) for path in _done(out) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(("engine", "file_format"), [("local", "jsonl"), ("beam", "jsonl"), ("ray", "parquet"), ("spark", "parquet")])
def test_a_killed_call_is_finished_by_the_same_command(exported, images, tmp_path, engine, file_format):  # noqa: F811
    _skip_without(engine, file_format)
    out = tmp_path / "out"
    command = _command(exported, images, out, engine, "--format", file_format)
    with open(tmp_path / "log", "wb") as log:
        _kill_half_way(command, out, log)
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in _done(out)}
    assert 5 <= len(before) < COUNT // SHARD
    time.sleep(3)  # workers outside of the group end by themselves
    ended = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=400)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert f"{COUNT} images, 1 of them could not be read; {COUNT // SHARD} files in" in ended.stdout

    records = _records(out, file_format)
    assert sorted(record["file"] for record in records) == sorted(map(str, images.iterdir()))
    failed = [record for record in records if record.get("error")]
    assert [Path(record["file"]) for record in failed] == [sorted(images.iterdir())[BROKEN]]
    assert not [path.name for path in out.iterdir() if path.name.startswith(".")]
    # What was whole before the kill was not made again.
    assert {name: content for name, (_, content) in before.items()} == {name: (out / name).read_bytes() for name in before}
    again = {name: (out / name).stat().st_mtime_ns for name, (time_, _) in before.items() if (out / name).stat().st_mtime_ns != time_}
    assert len(again) <= 4  # workers that outlived the group may have finished theirs

    detector = DetectorSpec(str(exported), 0.2).load()
    sample = [record for record in records if not record.get("error")][:: COUNT // 10]
    expected = list(detector.records([record["file"] for record in sample]))
    assert sum(len(one["detections"]) for one in expected) > 5
    for record, one in zip(sample, expected):
        assert (record["height"], record["width"]) == (one["height"], one["width"]) == (48, 64)
        assert [found["class_id"] for found in record["detections"]] == [found["class_id"] for found in one["detections"]]
        assert [found["class_name"] for found in record["detections"]] == [found["class_name"] for found in one["detections"]]
        boxes, wanted = (np.array([found["box"] for found in row["detections"]]).reshape(-1, 4) for row in (record, one))
        # Other processes may split sums over other threads.
        np.testing.assert_allclose(boxes, wanted, atol=1e-2)


def test_beam_takes_names_and_gives_records(exported, images):  # noqa: F811
    _skip_without("beam")
    import apache_beam as beam
    from apache_beam.ml.inference.base import RunInference
    from apache_beam.testing.util import assert_that

    from ttfnet_tf.integrations.beam import ImageModelHandler

    files = [str(path) for path in sorted(images.iterdir())[:9]]
    expected = {record["file"]: len(record["detections"]) for record in DetectorSpec(str(exported), 0.2).load().records(files)}

    def check(records):
        assert {record["file"]: len(record["detections"]) for record in records} == expected
        assert len(records) == 9

    with beam.Pipeline() as pipeline:
        assert_that(pipeline | beam.Create(files) | RunInference(ImageModelHandler(DetectorSpec(str(exported), 0.2))), check)


def test_ray_adds_a_column(exported, images):  # noqa: F811
    _skip_without("ray")
    from ttfnet_tf.integrations.ray_data import DetectImages

    files = np.array([str(path) for path in sorted(images.iterdir())[:9]])
    spec = DetectorSpec(str(exported), 0.2)
    batch = DetectImages(spec)({"file": files, "label": np.arange(9)})
    assert [json.loads(text) for text in batch["record"]] == [
        json.loads(json.dumps(record)) for record in spec.load().records(list(map(str, files)))
    ]
    assert batch["label"].tolist() == list(range(9))


def test_spark_takes_a_column(exported, images):  # noqa: F811
    _skip_without("spark")
    code = f"""
import functools
from pyspark.sql import SparkSession
from ttfnet_tf.inference.bulk.records import DetectorSpec
from ttfnet_tf.integrations.spark import SCHEMA, detect_in_pandas, detect_udf
spec = DetectorSpec({str(exported)!r}, 0.2)
spark = SparkSession.builder.master("local[1]").getOrCreate()
files = {[str(path) for path in sorted(images.iterdir())[BROKEN - 4 : BROKEN + 5]]!r}
table = spark.createDataFrame([(file,) for file in files], ["file"])
rows = table.withColumn("record", detect_udf(spec)("file")).collect()
again = table.mapInPandas(functools.partial(detect_in_pandas, spec), SCHEMA).collect()
assert [row.record.file for row in rows] == files == [row.file for row in again]
assert [row.record for row in rows] == again
print("found", sum(len(row.detections or ()) for row in again), "errors", [row.error is not None for row in again].index(True))
"""
    environment = {**_environment(), "PYSPARK_PYTHON": sys.executable}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    found = next(line for line in ended.stdout.splitlines() if line.startswith("found"))
    assert int(found.split()[1]) > 5
    assert found.endswith("errors 4")


def test_broken_images_alone(exported, tmp_path):  # noqa: F811
    (tmp_path / "images").mkdir()
    for number in range(3):
        (tmp_path / f"images/{number}.jpg").write_bytes(b"no image")
    Image.new("RGB", (9, 8)).save(tmp_path / "images/3.png")
    command = _command(exported, tmp_path / "images", tmp_path / "out", "local")
    assert subprocess.run(command, env=_environment(), timeout=100).returncode == 0
    records = _records(tmp_path / "out", "jsonl")
    assert ["error" in record for record in records] == [True, True, True, False]


def test_model_images_and_records_in_a_bucket(exported, images, tmp_path, monkeypatch):  # noqa: F811
    """Nothing but URLs, as workers without a common folder have it; one file is missing afterwards and made again."""
    s3fs = pytest.importorskip("s3fs")
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
        for name, value in {**keys, "AWS_ENDPOINT_URL": f"http://{host}:{port}", "TTFNET_CACHE": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        store = s3fs.S3FileSystem(skip_instance_cache=True)
        store.mkdir("bucket")
        store.put(f"{exported.parent}/", "bucket/models/tiny/", recursive=True)
        files = sorted(images.iterdir())[: SHARD + 20]
        for file in files:
            store.put(str(file), f"bucket/photos/{file.name}")
        command = _command("s3://bucket/models/tiny", "s3://bucket/photos", "s3://bucket/records", "local")
        for text in ("2 files in s3://bucket/records", "resumes, 1 of 2 files are done"):
            ended = subprocess.run(command, env=_environment(), capture_output=True, text=True, timeout=200)
            assert ended.returncode == 0, ended.stderr[-3000:]
            assert text in ended.stdout
            assert f"{len(files)} images, 1 of them could not be read; 2 files in s3://bucket/records" in ended.stdout
            store.invalidate_cache()
            names = [name for name in store.ls("bucket/records") if "detections-" in name]
            rows = [json.loads(line) for name in names for line in store.cat_file(name).splitlines()]
            assert [row["file"] for row in rows] == [f"s3://bucket/photos/{file.name}" for file in files]
            assert sum(len(row.get("detections", ())) for row in rows) > 5
            store.rm_file(names[0])
    finally:
        server.stop()
