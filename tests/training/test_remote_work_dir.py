"""A run whose data and work directory lie on a store: broken off at any object of an upload, it is resumed from the store, bit for bit."""

import logging
import shutil
import uuid

import networks
import numpy as np
import pytest
from integration_runs import checkpoint, metrics

from ttfnet_tf import cli
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.locations import RemotePath

pytestmark = pytest.mark.slow
pytest.importorskip("fsspec")
SETTINGS = """
data: {image_size: [64, 64]}
model:
  frozen_stages: -1
  neck_channels: [8, 8, 8]
  shortcut: [1, 1, 1]
  heatmap_head: {width: 8, depth: 1}
  box_head: {width: 8, depth: 1}
optim: {drop_epochs: [], warmup_steps: 0}
train: {epochs: 4, batch_size: 4, log_every: 1, summary_images: 0, precision: float32}
"""


@pytest.fixture(scope="module")
def environment():
    """The variables of moto's S3 server on loopback, where it is installed."""
    server = pytest.importorskip("moto.server")
    pytest.importorskip("s3fs")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    one = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    one.start()
    host, port = one.get_host_and_port()
    yield {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    one.stop()


@pytest.fixture(params=["memory", "s3"])
def store(request, monkeypatch, tmp_path):
    """A URL in a store, and copies in a folder of the test."""
    monkeypatch.setenv("TTFNET_CACHE", str(tmp_path / "cache"))
    if request.param == "s3":
        for name, value in request.getfixturevalue("environment").items():
            monkeypatch.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem().mkdir("bucket")
    return f"{request.param}://bucket/{uuid.uuid4().hex}"


class _Failing:
    """Lets a number of objects pass, then refuses all."""

    def __init__(self, passing, upload):
        self.passing, self.upload, self.names = passing, upload, []

    def __call__(self, remote, file):
        self.names.append(remote.name)
        if len(self.names) > self.passing:
            raise OSError(5, "the network is down", str(remote))
        self.upload(remote, file)


def test_broken_off_in_an_upload_a_run_resumes_from_the_store_bit_equal(store, tmp_path, monkeypatch, capsys):
    networks.narrow(monkeypatch)
    draw_shapes(tmp_path / "shapes", train=8, val=2, size=(64, 64))
    (tmp_path / "a.yaml").write_text(SETTINGS)
    shapes, remote = tmp_path / "shapes", RemotePath(f"{store}/shapes")
    for file in shapes.rglob("*.*"):
        (remote / file.relative_to(shapes).as_posix()).upload(file)
    packed = f"{store}/packed"
    assert cli.main(["data", "pack", f"{remote}/annotations/train.json", f"{remote}/train", "--out", packed, "--shards", "2"]) == 0

    def train(work_dir, train_images, root):
        splits = {"train": train_images, "val": f"{root}/val"}
        data = [f"data.{name}.images={images}" for name, images in splits.items()]
        data += [f"data.{name}.annotations={root}/annotations/{name}.json" for name in splits]
        return cli.main(["train", str(tmp_path / "a.yaml"), "--work-dir", str(work_dir), *data])

    assert train(tmp_path / "straight", shapes / "train", shapes) == 0
    upload, work_dir = RemotePath.upload, f"{store}/run"
    with monkeypatch.context() as patch:
        counted = _Failing(10**6, upload)
        patch.setattr(RemotePath, "upload", lambda self, file: counted(self, file))
        assert train(f"{store}/whole", packed, remote) == 0
    ends = [place for place, name in enumerate(counted.names) if name == "checkpoint"]
    # In the second checkpoint: between its data and its index; in memory also before the object that names it.
    for passing in (ends[1] - 1, ends[1])[: 1 if store.startswith("s3") else 2]:
        with monkeypatch.context() as patch:
            failing = _Failing(passing, upload)
            patch.setattr(RemotePath, "upload", lambda self, file, failing=failing: failing(self, file))
            assert train(work_dir, packed, remote) == 2
        assert "cannot be written (the network is down); start the same command again to resume" in capsys.readouterr().err
        shutil.rmtree(tmp_path / "cache")  # another machine goes on
        assert train(work_dir, packed, remote) == 0
        assert f"{work_dir}: resumes at step " in capsys.readouterr().out
        found = tmp_path / f"found-{passing}"
        for name in RemotePath(work_dir).files():
            (found / name).parent.mkdir(parents=True, exist_ok=True)
            (RemotePath(work_dir) / name).download(found / name)
        assert metrics(found) == metrics(tmp_path / "straight")
        first, second = checkpoint(tmp_path / "straight"), checkpoint(found)
        assert first.keys() == second.keys()
        assert [key for key in first if not np.array_equal(first[key], second[key])] == []
        assert ".lock" not in RemotePath(work_dir).files()
        work_dir += "-again"
