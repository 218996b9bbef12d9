"""Training from and into a bucket of moto's S3 server on loopback, killed, and resumed by another machine.

Skipped without the packages: pip install s3fs 'moto[server]'.
"""

import json
import logging
import signal
import time

import numpy as np
import pytest
from integration_runs import Runs, checkpoint, metrics

from ttfnet_tf.data.shapes import draw_shapes

pytest.importorskip("s3fs")
server = pytest.importorskip("moto.server")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = ("model.batch_norm=local", "train.log_every=2", "train.steps_per_call=2", "train.checkpoint_every=1", "augment.flip=0.5")


@pytest.fixture(scope="module")
def bucket():
    """The environment of commands that use the server, and a URL; as s3fs reads them, so that commands need no option."""
    one = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    one.start()
    host, port = one.get_host_and_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem().mkdir("bucket")
        yield "s3://bucket"
    one.stop()


@pytest.fixture(scope="module")
def data(tmp_path_factory, bucket):
    """(folder of the shapes on disk, URL of the same in the bucket), and packed/ beside them there."""
    import s3fs

    from ttfnet_tf.data.packing import pack

    shapes = tmp_path_factory.mktemp("shapes")
    draw_shapes(shapes, train=10, val=2, size=(64, 80), seed=3)
    s3fs.S3FileSystem().put(f"{shapes}/", f"{bucket}/shapes/", recursive=True)
    pack(f"{bucket}/shapes/annotations/train.json", f"{bucket}/shapes/train", f"{bucket}/packed", shards=2)
    return shapes, f"{bucket}/shapes"


@pytest.fixture(scope="module")
def straight(data, tmp_path_factory):
    """An uninterrupted run from files into a folder."""
    runs = Runs(data[0], tmp_path_factory.mktemp("runs"))
    return runs, runs.finish("straight", *SETTINGS)


def _start(runs, work_dir, cache, *overrides):
    process = runs.start("unused", "--work-dir", work_dir, *SETTINGS, *overrides, environment={"TTFNET_CACHE": str(cache)})
    return process


def _logged(cache):
    return "".join(file.read_text() for file in cache.glob("runs/*/metrics.jsonl"))


def test_a_run_in_a_bucket_killed_and_resumed_elsewhere_ends_bit_equal(bucket, data, straight, tmp_path):
    """Trains from the packed folder and evaluates from files of the bucket. Killed in its third epoch; what the first machine had on its
    disk is gone when the second one starts."""
    import s3fs

    runs, expected = straight
    overrides = [f"data.train.annotations={data[1]}/annotations/train.json", f"data.train.images={bucket}/packed"]
    overrides += [f"data.val.annotations={data[1]}/annotations/val.json", f"data.val.images={data[1]}/val"]
    work_dir = f"{bucket}/runs/r18"
    process = _start(runs, work_dir, tmp_path / "first", *overrides)
    deadline = time.monotonic() + 240
    while process.poll() is None and '"step": 8,' not in _logged(tmp_path / "first") and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait(timeout=60) == -signal.SIGKILL, (runs.folder / "unused.log").read_text()[-3000:]

    process = _start(runs, work_dir, tmp_path / "second", *overrides)
    log = runs.folder / "unused.log"
    assert process.wait(timeout=240) == 0, log.read_text()[-3000:]
    assert f"{work_dir}: resumes at step 6 of 12" in log.read_text()
    s3fs.S3FileSystem().get(f"{work_dir}/", f"{tmp_path}/found/", recursive=True)
    assert metrics(tmp_path / "found") == metrics(expected)
    first, second = checkpoint(expected), checkpoint(tmp_path / "found")
    assert first.keys() == second.keys()
    assert [key for key in first if not np.array_equal(first[key], second[key])] == []
    assert not (tmp_path / "found" / ".lock").exists()
    assert json.loads((tmp_path / "found" / "environment.json").read_text())
