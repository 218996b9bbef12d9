"""Shards of bulk prediction, with a detector that finds one box in every image."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.bulk import job as bulk_job
from ttfnet_tf.inference.bulk import records
from ttfnet_tf.inference.bulk.job import count_records, open_plan
from ttfnet_tf.inference.bulk.records import DetectorSpec, RecordMaker
from ttfnet_tf.inference.bulk.sources import find_all
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.image_files import find_images
from ttfnet_tf.integrations import local


class WholeImage:
    """Finds one object as large as the image; counts images."""

    def __init__(self):
        self.batches = []

    def batch(self, images, *, batch_size):
        self.batches.append(len(images))
        sizes = [image.shape[:2] for image in images]
        return [
            Detections(np.array([[0, 0, w - 1, h - 1]], np.float32), np.array([0.5], np.float32), np.array([7]), ("cat",), (h, w))
            for h, w in sizes
        ]


@pytest.fixture
def detector(monkeypatch):
    detector = WholeImage()
    monkeypatch.setattr(records, "_load", lambda spec: RecordMaker(detector, spec.batch_size))
    return detector


@pytest.fixture
def images(tmp_path):
    """Seven images 9 px high and 4 to 10 px wide; the fourth is none."""
    (tmp_path / "images").mkdir()
    for number in range(7):
        Image.new("RGB", (4 + number, 9)).save(tmp_path / f"images/{number}.png")
    (tmp_path / "images/3.png").write_bytes(b"no image")
    return sorted((tmp_path / "images").iterdir())


def _plan(tmp_path, images, sources=("images",), classes=(), **changes):
    (tmp_path / "model.tflite.index").write_bytes(b"a checksum")
    (tmp_path / "out").mkdir(exist_ok=True)
    options = {"format": "jsonl", "shard_size": 3, **changes}
    spec = DetectorSpec(str(tmp_path / "model.tflite.index")[:-6], 0.25, classes=classes)
    return open_plan(tmp_path / "out", spec, sources, lambda: images, **options)


@pytest.fixture(autouse=True)
def a_checkpoint(monkeypatch):
    monkeypatch.setattr(records, "find_exported", lambda run: None)


def _lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_image_has_one_record_in_its_order(tmp_path, images, detector):
    plan = _plan(tmp_path, images)
    assert [shard.images for shard in plan.pending()] == [3, 3, 1]
    local.run(plan.job, plan.pending(), {})
    found = [row for index in range(3) for row in _lines(plan.job.path(index))]
    assert [row["file"] for row in found] == list(map(str, images))
    assert [row.get("width") for row in found] == [4, 5, 6, None, 8, 9, 10]
    assert found[6]["detections"] == [{"box": [0.0, 0.0, 9.0, 8.0], "score": 0.5, "class_id": 7, "class_name": "cat"}]
    assert set(found[3]) == {"error", "file"}
    assert str(images[3]) in found[3]["error"]
    assert count_records(plan) == (7, 1)
    assert plan.pending() == []


def test_a_batch_spans_no_shard_and_skips_what_is_broken(images, detector):
    rows = list(RecordMaker(detector, 4).records(list(map(str, images))))
    assert len(rows) == 7
    assert detector.batches[-2:] == [3, 3]  # four of which one is broken, and the rest


def test_an_unfinished_shard_is_done_again_and_no_other(tmp_path, images, detector, monkeypatch):
    plan = _plan(tmp_path, images)
    real = os.replace

    def fail_at_the_second(source, target):
        if "00001-of" in str(target):
            raise KeyboardInterrupt
        real(source, target)

    monkeypatch.setattr(bulk_job.os, "replace", fail_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        local.run(plan.job, plan.pending(), {})
    monkeypatch.setattr(bulk_job.os, "replace", real)
    first = plan.job.path(0).stat().st_mtime_ns
    again = _plan(tmp_path, [])  # nothing is looked for: the list is there
    assert not again.is_new
    assert [shard.index for shard in again.pending()] == [1, 2]
    assert any(path.name.startswith(".") for path in (tmp_path / "out").iterdir())
    again.remove_rubbish()
    assert not any(path.name.startswith(".") for path in (tmp_path / "out").iterdir())
    local.run(again.job, again.pending(), {})
    assert count_records(again) == (7, 1)
    assert plan.job.path(0).stat().st_mtime_ns == first


def test_a_worker_does_not_repeat_a_shard(tmp_path, images, detector):
    plan = _plan(tmp_path, images)
    shard = plan.pending()[0]
    assert plan.job.run_shard(shard) == 0
    detector.batches.clear()
    assert plan.job.run_shard(shard) == 0
    assert detector.batches == []


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"shard_size": 4}, "was begun with shard_size 3 and is now called with 4; give the same, or name another folder with --out"),
        ({"format": "parquet"}, 'was begun with format "jsonl" and is now called with "parquet"; give the same'),
        ({"sources": ("others",)}, "was begun with sources ["),
        ({"classes": ("cat",)}, 'was begun with classes null and is now called with ["cat"]'),
    ],
)
def test_another_call_is_refused(tmp_path, images, detector, changes, line):
    _plan(tmp_path, images)
    with pytest.raises(UserError) as error:
        _plan(tmp_path, images, **changes)
    assert line in str(error.value)


def test_another_model_under_the_same_name_is_refused(tmp_path, images, detector):
    _plan(tmp_path, images)
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    manifest["model_sha256"] = "0" * 64
    (tmp_path / "out/manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="was begun with model_sha256"):
        _plan(tmp_path, images)


def test_a_file_that_was_cut_short_is_named(tmp_path, images, detector):
    plan = _plan(tmp_path, images)
    local.run(plan.job, plan.pending(), {})
    path = plan.job.path(1)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match=r"00001-of-00003\.jsonl: does not hold its 3 records; delete it and start"):
        count_records(plan)
    path.unlink()
    with pytest.raises(UserError, match=r"00001-of-00003\.jsonl: is missing; start the same command again"):
        count_records(plan)


def test_a_damaged_list_of_images_is_named(tmp_path, images, detector):
    _plan(tmp_path, images)
    (tmp_path / "out/images.list").write_bytes((tmp_path / "out/images.list").read_bytes()[:-40])
    with pytest.raises(UserError, match=r"images\.list: is missing or damaged; name another folder with --out"):
        _plan(tmp_path, images)


@pytest.mark.skipif(os.name == "nt", reason="such names are of Unix")
def test_names_that_are_no_text(tmp_path, images, detector):
    name = os.fsencode(tmp_path) + b"/images/\xff\n.png"
    os.rename(images[0], name)
    files = [os.fsdecode(name), *images[1:]]
    _plan(tmp_path, files)
    plan = _plan(tmp_path, [])
    assert [name for shard in plan.shards for name in plan.job.files(shard)] == list(map(str, files))
    local.run(plan.job, plan.pending(), {})
    assert count_records(plan) == (7, 1)
    assert _lines(plan.job.path(0))[0]["width"] == 4


def test_parquet_holds_the_same(tmp_path, images, detector):
    parquet = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)
    plan = _plan(tmp_path, images, format="parquet")
    local.run(plan.job, plan.pending(), {})
    rows = [row for index in range(3) for row in parquet.read_table(plan.job.path(index)).to_pylist()]
    assert [row["file"] for row in rows] == list(map(str, images))
    assert [row["width"] for row in rows] == [4, 5, 6, None, 8, 9, 10]
    assert rows[6]["detections"] == [{"box": [0.0, 0.0, 9.0, 8.0], "score": 0.5, "class_id": 7, "class_name": "cat"}]
    assert [row["error"] is None for row in rows] == [True, True, True, False, True, True, True]
    assert count_records(plan) == (7, 1)


@pytest.fixture
def store(images):
    """The images in a store; gives the URL of a bucket."""
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for path in images:
        memory.pipe_file(f"/bulk/photos/{path.name}", path.read_bytes())
    memory.pipe_file("/bulk/photos/below/deep.jpg", images[1].read_bytes())
    memory.pipe_file("/bulk/photos/notes.txt", b"no image by its name")
    yield "memory://bulk"
    memory.rm("/bulk", recursive=True)


def test_images_and_records_in_a_store(tmp_path, store, images, detector):
    found = find_all([f"{store}/photos"], find_images).images
    assert [str(one).removeprefix(f"{store}/photos/") for one in found] == [
        *(f"{number}.png" for number in range(7)),
        "below/deep.jpg",
    ]
    spec = DetectorSpec(str(tmp_path / "model"), 0.25)
    (tmp_path / "model.index").write_bytes(b"a checksum")
    options = {"format": "jsonl", "shard_size": 3}
    plan = open_plan(f"{store}/out", spec, [f"{store}/photos"], lambda: found, **options)
    assert plan.job.run_shard(plan.pending()[1]) == 1
    again = open_plan(f"{store}/out", spec, [f"{store}/photos"], list, **options)
    assert (again.is_new, again.shards, again.images) == (False, plan.shards, 8)
    assert [shard.index for shard in again.pending()] == [0, 2]
    again.remove_rubbish()
    local.run(again.job, again.pending(), {})
    assert count_records(again) == (8, 1)
    rows = [json.loads(line) for index in range(3) for line in again.job.path(index).read_bytes().splitlines()]
    assert [row["file"] for row in rows] == list(map(str, found))
    assert [row.get("width") for row in rows] == [4, 5, 6, None, 8, 9, 10, 5]


def test_patterns_and_files_by_url(store, images):
    assert find_all([f"{store}/photos/[12].png"], find_images).images == [f"{store}/photos/1.png", f"{store}/photos/2.png"]
    assert find_all([f"{store}/photos/notes.txt", str(images[0])], find_images).images == [images[0], f"{store}/photos/notes.txt"]
    with pytest.raises(UserError, match=r"memory://bulk/nothing: no image there by its name"):
        find_all([f"{store}/nothing"], find_images)


def test_classes_left_out_of_a_second_call_are_refused(tmp_path, images, detector):
    _plan(tmp_path, images, classes=("cat",))
    with pytest.raises(UserError, match=r'was begun with classes \["cat"\] and is now called with null'):
        _plan(tmp_path, images)


def test_addresses_of_images_are_taken_as_they_are():
    """They are fetched by the workers; a password would lie in the list of images."""
    assert find_all(["https://host/a", "http://host/b.jpg?x=1"], find_images).images == ["https://host/a", "http://host/b.jpg?x=1"]
    with pytest.raises(
        UserError, match=r"^https://me:\*\*\*@host/a: its password would be written into the list of images; leave out --runner$"
    ):
        find_all(["https://me:secret@host/a"], find_images)
