"""From a source of any format to two COCO files in a folder of our own."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf.errors import UserError
from ttfnet_tf.fit.prepare import prepare
from ttfnet_tf.formats.convert import convert


@pytest.fixture
def make_coco(tmp_path):
    """make_coco(name, ids of images) -> a COCO file; image k has one box of class 1 or 2 and is noise of seed k."""

    def make(name, ids, *, folder=tmp_path / "set"):
        (folder / "annotations").mkdir(parents=True, exist_ok=True)
        (folder / "images").mkdir(exist_ok=True)
        for k in ids:
            pixels = np.random.default_rng(k).integers(0, 255, (8, 8, 3)).astype(np.uint8).repeat(8, axis=0).repeat(8, axis=1)
            Image.fromarray(pixels).save(folder / "images" / f"{k}.png")
        content = {
            "images": [{"id": k, "file_name": f"{k}.png", "height": 64, "width": 64} for k in ids],
            "annotations": [
                {"id": k + 1, "image_id": k, "category_id": 1 + k % 2, "bbox": [4, 4, 20, 30], "area": 600, "iscrowd": 0} for k in ids
            ],
            "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
        }
        file = folder / "annotations" / f"{name}.json"
        file.write_text(json.dumps(content))
        return file

    return make


def _ids(files):
    return [image["id"] for image in json.loads(files.annotations.read_text())["images"]]


def test_two_files_are_taken_as_they_are(make_coco, tmp_path):
    train, val = make_coco("train", range(4)), make_coco("val", range(4, 6))
    prepared = prepare(tmp_path / "set", tmp_path / "run")
    assert (prepared.train.annotations, prepared.val.annotations) == (train, val)
    assert prepared.train.images.resolve() == (tmp_path / "set/images").resolve()
    assert not (tmp_path / "run").exists()


def test_one_file_is_split_and_copies_stay_together(make_coco, tmp_path):
    file = make_coco("all", range(12))
    for copy, original in ((7, 3), (11, 4)):
        shutil.copy(file.parent.parent / f"images/{original}.png", file.parent.parent / f"images/{copy}.png")
    before = sorted(path.name for path in (tmp_path / "set").rglob("*"))
    prepared = prepare(file, tmp_path / "run")
    train, val = _ids(prepared.train), _ids(prepared.val)
    assert sorted(train + val) == list(range(12))
    assert len(val) == 4  # a third of so few
    assert (3 in val) == (7 in val)
    assert (4 in val) == (11 in val)
    assert "12 images are split by seed 0" in prepared.lines[0]
    assert "2 kept on one side" in prepared.lines[0]
    assert sorted(path.name for path in (tmp_path / "set").rglob("*")) == before
    assert _ids(prepare(file, tmp_path / "again").val) == val
    assert any(_ids(prepare(file, tmp_path / "other", seed=seed).val) != val for seed in (1, 2, 3))


def test_a_test_set_is_not_used(make_coco, tmp_path):
    for name, ids in (("train", range(6)), ("test", range(6, 8))):
        make_coco(name, ids)
    prepared = prepare(tmp_path / "set", tmp_path / "run")
    assert sorted(_ids(prepared.train) + _ids(prepared.val)) == list(range(6))


def test_another_format_is_converted_into_the_folder(make_coco, tmp_path):
    make_coco("train", range(6))
    convert(tmp_path / "set", tmp_path / "yolo")
    before = sorted(path.name for path in (tmp_path / "yolo").rglob("*"))
    prepared = prepare(tmp_path / "yolo/data.yaml", tmp_path / "run")
    assert f"is yolo, converted to {tmp_path / 'run/converted'}" in prepared.lines[0]
    assert sorted(path.name for path in (tmp_path / "yolo").rglob("*")) == before
    for files in (prepared.train, prepared.val):
        for image in json.loads(files.annotations.read_text())["images"]:
            assert (files.images / image["file_name"]).exists()


def test_a_folder_that_an_archive_was_unpacked_into(make_coco, tmp_path):
    make_coco("train", range(6), folder=tmp_path / "archive/set")
    assert len(_ids(prepare(tmp_path / "archive", tmp_path / "run").train)) == 4
    inside = tmp_path / "archive/runs/fit-archive/data"  # as `ttfnet fit .` writes it
    inside.mkdir(parents=True)
    assert len(_ids(prepare(tmp_path / "archive", inside).train)) == 4


def test_labels_with_mistakes_are_skipped_and_listed(make_coco, tmp_path):
    make_coco("train", range(6))
    convert(tmp_path / "set", tmp_path / "yolo")
    (tmp_path / "yolo/labels/train/2.txt").write_text("0 0.5 0.5 x 0.1\n")
    prepared = prepare(tmp_path / "yolo", tmp_path / "run")
    assert sorted(_ids(prepared.train) + _ids(prepared.val)) != []
    assert any("skipped.txt" in line for line in prepared.lines)


def test_mistakes_in_one_line(make_coco, tmp_path):
    with pytest.raises(UserError, match=r"none: no such file or folder; name a COCO file"):
        prepare(tmp_path / "none", tmp_path / "run")
    file = make_coco("one", [5])
    with pytest.raises(UserError, match=r"one\.json: holds one image; at least two are needed"):
        prepare(file, tmp_path / "run")
    away = tmp_path / "away.json"
    file.rename(away)
    with pytest.raises(UserError, match=r"away\.json: its images, such as 5\.png, are not beside it; name their folder with --images"):
        prepare(away, tmp_path / "run")
    make_coco("eins", range(3))
    make_coco("zwei", range(3))
    with pytest.raises(UserError, match="has the splits eins, zwei, of which none is called train"):
        prepare(tmp_path / "set", tmp_path / "run")


def test_images_that_are_all_copies_cannot_be_split(make_coco, tmp_path):
    file = make_coco("all", range(3))
    for copy in (1, 2):
        shutil.copy(file.parent.parent / "images/0.png", file.parent.parent / f"images/{copy}.png")
    with pytest.raises(UserError, match="copies of each other, so that none is left for validation"):
        prepare(file, tmp_path / "run")
