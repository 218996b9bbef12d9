"""Files by URL, on fsspec's store in memory: reading, packing, copies of shards, and work directories with their order of uploads."""

import json
import os
import uuid

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf import cli
from ttfnet_tf.data import packing
from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.errors import UserError
from ttfnet_tf.locations import RemotePath, is_url, location
from ttfnet_tf.runs import remote_run
from ttfnet_tf.runs.run_folder import data_fingerprint, work_directory

pytest.importorskip("fsspec")


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """An empty folder of a store; copies go to a folder of the test."""
    monkeypatch.setenv("TTFNET_CACHE", str(tmp_path / "cache"))
    return RemotePath(f"memory://{uuid.uuid4().hex}")


@pytest.fixture
def data(bucket, write_coco):
    """(annotations, images, annotations in the bucket, images in the bucket)."""
    objects = [(7, 3, [5, 6, 20, 20]), (8, 3, [1, 2, 20, 30]), (9, 3, [1, 2, 20, 30])]
    annotations, images = write_coco({7: (40, 60), 8: (50, 40), 9: (40, 40)}, objects, {3: "cat"})
    for file in (annotations, *images.iterdir()):
        (bucket / file.relative_to(annotations.parent)).upload(file)
    return annotations, images, bucket / "data.json", bucket / "data"


def test_what_is_a_url():
    assert [is_url(text) for text in ("s3://b/x", "gs://b", "memory://x", "a.json", "C:\\x", "a:b", "/s3:/b")] == [True] * 3 + [False] * 4
    assert location("file:///tmp/x").as_posix() == "/tmp/x"


def test_a_split_on_a_store_equals_that_on_disk(data):
    local, remote = load_coco(*data[:2], training=True), load_coco(str(data[2]), str(data[3]), training=True)
    assert remote.summary() == local.summary().replace(str(data[0]), str(data[2]))
    for one, other in zip(local.images, remote.images):
        np.testing.assert_array_equal(read_rgb(one.path), read_rgb(other.path))
        assert str(other.path) == f"{data[3]}/{one.path.name}"
    assert remote.missing_images == []
    assert data_fingerprint(str(data[2])) == data_fingerprint(data[0])
    (data[3] / "8.png").remove()
    missing = load_coco(str(data[2]), str(data[3]), training=True).missing_images
    assert [image.id for image in missing] == [8]


@pytest.mark.parametrize("kind", ["annotations", "images"])
def test_what_is_not_there_is_named_by_its_url(data, bucket, kind):
    urls = {"annotations": str(data[2]), "images": str(data[3]), kind: f"{bucket}/nothing"}
    with pytest.raises(UserError, match=f"{bucket}/nothing: (cannot be read \\(No such file or directory\\)|is not a folder)"):
        load_coco(urls["annotations"], urls["images"], training=True)


def test_a_folder_packed_on_a_store_is_that_packed_on_disk(data, bucket, tmp_path):
    packing.pack(*data[:2], tmp_path / "packed", shards=2)
    out = bucket / "packed"
    assert packing.pack(data[2], data[3], out, shards=2).kept == 0
    assert {name: (out / name).read_bytes() for name in out.files()} == {
        file.name: file.read_bytes() for file in (tmp_path / "packed").iterdir()
    }
    (out / "shard-00001-of-00002.tfrecord").remove()
    assert packing.pack(data[2], data[3], out, shards=2).kept == 1
    with pytest.raises(UserError, match=r"holds other files, such as data\.json"):
        packing.pack(data[2], data[3], bucket, shards=2)


def test_training_reads_a_copy_of_the_shards(data, bucket, tmp_path, capsys):
    out = bucket / "packed"
    packing.pack(data[2], data[3], out, shards=2)
    split = load_coco(str(out / "annotations.json"), str(out), training=True)
    folder = split.packed.path
    assert folder.is_relative_to(tmp_path / "cache" / "packed")
    assert sorted(os.listdir(folder)) == sorted(out.files())
    for one, other in zip(load_coco(*data[:2], training=True).images, split.images):
        np.testing.assert_array_equal(read_rgb(one.path), read_rgb(other.path))
    # Broken off between two files, the copy is completed.
    (folder / "index.json").unlink()
    (folder / "shard-00000-of-00002.tfrecord").unlink()
    before = (folder / "shard-00001-of-00002.tfrecord").stat().st_mtime_ns
    load_coco(str(out / "annotations.json"), str(out), training=True)
    assert sorted(os.listdir(folder)) == sorted(out.files())
    assert (folder / "shard-00001-of-00002.tfrecord").stat().st_mtime_ns == before


def test_a_copy_that_does_not_fit_is_refused_with_the_figures(data, bucket, monkeypatch):
    packing.pack(data[2], data[3], bucket / "packed")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1_000_000})())
    with pytest.raises(UserError, match=r"its copy needs 0\.3 GB, and .* has 0\.0 GB free; free some space, or set TTFNET_CACHE"):
        load_coco(str(bucket / "packed" / "annotations.json"), str(bucket / "packed"), training=True)


def _write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


CHECKPOINT = {
    "metrics.jsonl": "1",
    "checkpoints/step-1.index": "i",
    "checkpoints/step-1.data-00000-of-00001": "d",
    "checkpoints/checkpoint": "1",
}


def test_a_checkpoint_is_uploaded_before_the_object_that_names_it(bucket, monkeypatch):
    order = []
    upload, remove = RemotePath.upload, RemotePath.remove
    monkeypatch.setattr(RemotePath, "upload", lambda self, file: (order.append(f"+{self.name}"), upload(self, file)))
    monkeypatch.setattr(RemotePath, "remove", lambda self: (order.append(f"-{self.name}"), remove(self)))
    with remote_run.local_work_directory(str(bucket / "run"), writes=True) as run:
        _write(run.folder, CHECKPOINT)
        run.upload()
        assert order == ["+metrics.jsonl", "+step-1.data-00000-of-00001", "+step-1.index", "+checkpoint"]
        order.clear()
        run.upload()
        assert order == []  # nothing has changed
        for name in ("step-1.index", "step-1.data-00000-of-00001"):
            (run.folder / "checkpoints" / name).unlink()
        _write(run.folder, {"checkpoints/step-2.index": "i", "checkpoints/step-2.data-00000-of-00001": "d", "checkpoints/checkpoint": "2"})
        run.upload()
        assert order == ["+step-2.data-00000-of-00001", "+step-2.index", "+checkpoint", "-step-1.index", "-step-1.data-00000-of-00001"]
        order.clear()
        _write(run.folder, {"checkpoints/step-2.index": "new", "checkpoints/step-2.data-00000-of-00001": "new"})
        run.upload()
        assert order == ["-step-2.index", "+step-2.data-00000-of-00001", "+step-2.index"]  # no index names data of another save
    assert sorted((bucket / "run").files()) == sorted(
        ["metrics.jsonl", *(f"checkpoints/{name}" for name in ("checkpoint", "step-2.index", "step-2.data-00000-of-00001"))]
    )


def test_a_run_is_resumed_from_the_store_and_not_from_an_earlier_copy(bucket):
    with remote_run.local_work_directory(str(bucket / "run"), writes=True) as run:
        _write(run.folder, {**CHECKPOINT, "train/events.out.tfevents.1": "e", "notes/of_a_user.txt": "x"})
    assert "train/events.out.tfevents.1" in (bucket / "run").files()
    _write(run.folder, {"metrics.jsonl": "later", "checkpoints/step-9.index": "of a process that was killed before it could upload"})
    with remote_run.local_work_directory(str(bucket / "run"), writes=True) as again:
        assert again.folder == run.folder
        found = {file.relative_to(run.folder).as_posix(): file.read_text() for file in run.folder.rglob("*") if file.is_file()}
        assert found == CHECKPOINT
    assert {"train/events.out.tfevents.1", "notes/of_a_user.txt"} <= set((bucket / "run").files())  # not read, and not deleted


@pytest.fixture
def hurry(monkeypatch):
    monkeypatch.setattr(remote_run, "WRITTEN_EVERY", 0.05)
    monkeypatch.setattr(remote_run, "WATCHED_FOR", 0.6)
    monkeypatch.setattr(remote_run, "SETTLES_IN", 0.01)


def test_two_processes_do_not_train_in_one_work_directory(bucket, hurry):
    url = str(bucket / "run")
    with remote_run.local_work_directory(url, writes=True):
        line = rf"{url}: is in use by process {os.getpid()} on .*; wait for it, or choose another --work-dir"
        with pytest.raises(UserError, match=line), remote_run.local_work_directory(url, writes=True):
            pass
        with remote_run.local_work_directory(url, writes=False) as other:  # a worker that is not the chief
            assert other.folder != remote_run.copy_of(bucket / "run", "runs")
    assert (bucket / "run").files() == {}


@pytest.mark.parametrize("host", ["elsewhere", None])
def test_the_lock_of_a_process_that_ended_is_taken_over(bucket, hurry, host):
    import socket

    content = {"host": host or socket.gethostname(), "process": 2**22 + 1, "since": "2026-01-01"}
    (bucket / "run" / ".lock").put(json.dumps(content).encode())
    with remote_run.local_work_directory(str(bucket / "run"), writes=True):
        assert json.loads((bucket / "run" / ".lock").read_bytes())["process"] == os.getpid()


def test_a_run_on_a_store_is_fetched_to_be_read(bucket):
    _write_remote(bucket / "run", {**CHECKPOINT, "config.yaml": "c"})
    folder = work_directory(f"{bucket}/run")
    assert (folder / "config.yaml").read_text() == "c"
    assert work_directory(f"{bucket}/run/checkpoints/step-1") == folder
    with pytest.raises(UserError, match=f"{bucket}/else: holds no run and no exported model"):
        work_directory(f"{bucket}/else")


def _write_remote(folder, files):
    for name, text in files.items():
        (folder / name).put(text.encode())


def test_a_store_that_fails_stops_in_one_line(bucket, monkeypatch):
    def fail(self, file):
        raise OSError(5, "the network is down", self.url)

    monkeypatch.setattr(RemotePath, "upload", fail)
    with remote_run.local_work_directory(str(bucket / "run"), writes=True) as run:
        _write(run.folder, CHECKPOINT)
        with pytest.raises(UserError, match=r"run: cannot be written \(the network is down\); start the same command again to resume"):
            run.upload()
        monkeypatch.undo()


def test_a_kind_of_url_that_nobody_knows():
    with pytest.raises(UserError, match="nonsense://b/x: nonsense:// is no kind of URL that fsspec knows"):
        location("nonsense://b/x")


def test_images_are_read_by_url(bucket, tmp_path):
    Image.fromarray(np.full([4, 6, 3], 9, np.uint8)).save(tmp_path / "a.png")
    (bucket / "a.png").upload(tmp_path / "a.png")
    assert read_rgb(f"{bucket}/a.png").shape == (4, 6, 3)
    with pytest.raises(UserError, match=r"b\.png: cannot be read \(No such file or directory\)"):
        read_rgb(f"{bucket}/b.png")


@pytest.mark.parametrize(
    "command",
    [
        "evaluate run --out memory://b/x",
        "data stats a.json --json memory://b/x",
        "data check a.json im --fix memory://b/x",
        "report run --out s3://b",
    ],
)
def test_results_go_to_a_disk(command, capsys):
    assert cli.main(command.split()) == 2
    assert capsys.readouterr().err.strip() == f"ttfnet: {command.split()[-1]}: results are written to a disk; name a path"


def test_the_data_check_reads_a_disk(data, bucket, tmp_path, capsys):
    packing.pack(*data[:2], tmp_path / "packed")
    for folder in (str(data[3]), str(tmp_path / "packed")):
        assert cli.main(["data", "check", str(data[0]), folder]) == 2
        line = f"ttfnet: {folder}: data check reads image files on a disk; check them before they are packed or uploaded"
        assert capsys.readouterr().err.strip().splitlines()[-1] == line


def test_figures_of_annotations_on_a_store(data, capsys):
    assert cli.main(["data", "stats", str(data[2])]) == 0
    assert "3 images" in capsys.readouterr().out
