"""Packed folders: what is in them, equality with files, kills, and damage."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from train_batches import BATCH, SIZE, assert_same, take, train

from ttfnet_tf import cli
from ttfnet_tf.data import packing
from ttfnet_tf.data.augment import Augmentation
from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.data.numpy_random import first_random
from ttfnet_tf.data.packed import PackedFolder
from ttfnet_tf.data.pipeline import ImageNotes, build_eval_dataset, steps_per_epoch
from ttfnet_tf.errors import UserError

# Formats, EXIF orientations, inks and depths, as the names say.
KINDS = ["a.jpg", "b.png", "c.bmp", "d.webp", "e_cmyk.jpg", "f_grey.jpg", *(f"turned_{k}.jpg" for k in range(2, 9)), "folder/g.jpg"]
KINDS.append("h_16.png")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """(annotations, folder of the images) of small images of every kind, one without boxes, one smaller than annotated."""
    root = tmp_path_factory.mktemp("data")
    (root / "images" / "folder").mkdir(parents=True)
    rng, images, annotations = np.random.default_rng(5), [], []
    for number, name in enumerate(KINDS):
        height, width = (48, 40) if number % 3 else SIZE  # the size of the input, too
        pixels = rng.integers(0, 256, (height // 8, width // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        picture, exif = Image.fromarray(pixels), Image.Exif()
        if "turned" in name:
            exif[274] = int(name[7])
        if "cmyk" in name:
            picture = picture.convert("CMYK")
        if "grey" in name:
            picture = picture.convert("L")
        if "_16" in name:
            picture = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
        picture.save(root / "images" / name, **({"exif": exif} if "turned" in name else {}))
        if exif.get(274, 1) >= 5:
            height, width = width, height
        images.append({"id": 100 + number, "file_name": name, "height": height, "width": width + (name == "b.png")})
        for _ in range(number % 4):
            box = [*rng.uniform(0, 20, 2).tolist(), *rng.uniform(3, 15, 2).tolist()]
            annotations.append({"id": len(annotations) + 1, "image_id": 100 + number, "category_id": 1 + len(annotations) % 3, "bbox": box})
    categories = [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}, {"id": 3, "name": "c"}]
    (root / "a.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return root / "a.json", root / "images"


@pytest.fixture(scope="module")
def packed(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("packed") / "train"
    packing.pack(*data, folder, shards=3)
    return folder


@pytest.fixture
def service(monkeypatch):
    """An address; what the workers would make is made here, in the same operations."""
    monkeypatch.setattr("ttfnet_tf.data.pipeline.check_service", lambda address: None)
    monkeypatch.setattr(tf.data.experimental.service, "distribute", lambda *_, **__: lambda dataset: dataset)
    return "grpc://localhost:1"


def _split(data, images=None, training=True):
    return load_coco(data[0], images or data[1], training=training, empty_images="keep")


def _python_functions(dataset):
    graph = tf.compat.v1.GraphDef.FromString(dataset._as_serialized_graph().numpy())
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    return [node.op for node in nodes if "PyFunc" in node.op]


@pytest.mark.parametrize("numbers", [(0, 0, 0), (7, 1, 2), (2**32 - 1, 2**31, 2**32 - 1), (2**32, 5, 6), (2**130 + 9, 3, 4)])
def test_first_number_of_numpys_generator(numbers):
    found = first_random(numbers[0], *(tf.constant([number], tf.int64) for number in numbers[1:]))
    assert found.numpy().tolist() == [np.random.default_rng(numbers).random()]


@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(flip=0.5), Augmentation(photometric=True, expand=0.5, min_iou_crop=True), Augmentation(affine=True, lighting=True)],
    ids=["the 1x recipes", "the 10x recipes", "centernet"],
)
@pytest.mark.parametrize("backend", ["device", "py_function"])
def test_an_epoch_of_training_equals_that_from_files(data, packed, augmentation, backend):
    files, shards = _split(data), _split(data, packed)
    assert files.summary() == shards.summary()
    steps = steps_per_epoch(len(files.images), BATCH)
    changes = {"augment": augmentation, "backend": backend, "start_step": steps - 1}  # ends one epoch, and resumes in the next
    assert_same(take(train(files, **changes), steps + 1), take(train(shards, **changes), steps + 1))


def test_evaluation_equals_that_from_files(data, packed):
    """The last batch has a row of padding."""
    files, shards = (_split(data, images, training=False) for images in (data[1], packed))
    notes = ImageNotes()
    datasets = [build_eval_dataset(split, image_size=SIZE, batch_size=BATCH, notes=notes) for split in (files, shards)]
    assert_same(*map(take, datasets))
    (line,) = notes.new_lines()
    assert line.endswith("b.png (image id 101): is 40x48, not 41x48 as annotated; its boxes may not fit")


def test_a_share_of_the_batch_equals_that_from_files(data, packed):
    assert_same(*(take(train(_split(data, images), num_shards=2, shard_index=1), 6) for images in (data[1], packed)))


ROWS = [(backend, keep_ratio, flip) for backend in ("device", "py_function") for keep_ratio in (False, True) for flip in (0.0, 0.5, 1.0)]
FIRST = (("device", True, 1.0),)  # the others in `make integration`


@pytest.mark.parametrize(
    ("backend", "keep_ratio", "flip"), [pytest.param(*row, marks=[pytest.mark.slow] * (row not in FIRST)) for row in ROWS]
)
def test_an_epoch_without_python_equals_that_from_files(data, packed, service, backend, keep_ratio, flip):
    """What the workers of tf.data service make."""
    steps = steps_per_epoch(len(KINDS), BATCH)
    changes = {"augment": Augmentation(flip=flip), "backend": backend, "start_step": steps - 1, "keep_ratio": keep_ratio}
    found = train(_split(data, packed), service=service, **changes)
    assert_same(take(train(_split(data), **changes), steps + 1), take(found, steps + 1))
    assert bool(_python_functions(found)) == (backend == "py_function")


@pytest.mark.slow
def test_the_service_gets_the_share_of_a_batch_and_notes_sizes(data, packed, service):
    notes = ImageNotes()
    changes = {"num_shards": 2, "shard_index": 1}
    found = take(train(_split(data, packed), service=service, notes=notes, **changes), 6)
    assert_same(take(train(_split(data), **changes), 6), found)
    assert list(notes.resized) == [101]


def test_what_tensorflow_decodes_differently_is_stored_as_png(data, packed):
    names = ("c.bmp", "d.webp")
    folder = PackedFolder(packed)
    for name in KINDS:
        content, original = (folder / name).read_bytes(), (data[1] / name).read_bytes()
        assert (content != original) == (name in names), name
        assert name not in names or content.startswith(b"\x89PNG")


def test_records_have_the_features_of_the_object_detection_api(data, packed):
    content = json.loads(data[0].read_text())
    found = {}
    for record in tf.data.TFRecordDataset(sorted(map(str, packed.glob("*.tfrecord")))):
        features = tf.train.Example.FromString(record.numpy()).features.feature
        found[features["image/filename"].bytes_list.value[0].decode()] = features
    assert list(found) == KINDS
    entry = content["images"][3]
    boxes = [one for one in content["annotations"] if one["image_id"] == entry["id"]]
    features = found[entry["file_name"]]
    assert features["image/source_id"].bytes_list.value == [b"103"]
    assert features["image/object/class/label"].int64_list.value == [one["category_id"] for one in boxes]
    right = [(one["bbox"][0] + one["bbox"][2]) / entry["width"] for one in boxes]
    np.testing.assert_allclose(features["image/object/bbox/xmax"].float_list.value, right, rtol=1e-6)


def test_annotations_may_be_others_than_those_that_were_packed(data, packed, tmp_path):
    content = json.loads(data[0].read_text())
    kept = content["images"][::3]
    ids = {image["id"] for image in kept}
    boxes = [one for one in content["annotations"] if one["image_id"] in ids]
    (tmp_path / "some.json").write_text(json.dumps({**content, "images": kept, "annotations": boxes}))
    fewer = (tmp_path / "some.json", data[1])
    assert_same(*(take(train(_split(fewer, images)), 3) for images in (data[1], packed)))


def test_an_image_that_was_not_packed_is_missing(data, packed, tmp_path):
    content = json.loads(data[0].read_text())
    content["images"].append({"id": 999, "file_name": "late.jpg", "height": 40, "width": 40})
    (tmp_path / "more.json").write_text(json.dumps(content))
    split = _split((tmp_path / "more.json", data[1]), packed)
    with pytest.raises(UserError, match=r"train/late\.jpg \(image id 999\): no such file"):
        train(split)
    files = _split((tmp_path / "more.json", data[1]))
    assert_same(*(take(train(one, broken_images="skip"), 8) for one in (files, split)))


def test_an_incomplete_folder_is_refused_and_completed_by_the_same_call(data, packed, tmp_path):
    """Broken off in the middle of a shard; `make kills` kills the command at every moment."""
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        packing.pack(*data, out, shards=3, on_image=_stop_after(8))
    assert sorted(path.name for path in out.glob("*.tfrecord")) == ["shard-00000-of-00003.tfrecord"]
    with pytest.raises(UserError, match="is not packed to the end"):
        PackedFolder(out)
    assert packing.pack(*data, out, shards=3).kept == 1
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {path.name: path.read_bytes() for path in packed.iterdir()}


def _stop_after(images):
    def on_image(done):
        if done == images:
            raise KeyboardInterrupt

    return on_image


def test_complete_shards_are_kept(data, packed, tmp_path, capsys):
    command = ["data", "pack", *map(str, data), "--out", str(packed), "--shards", "3"]
    before = {path.name: path.stat().st_mtime_ns for path in packed.glob("shard-*")}
    assert cli.main(command) == 0
    assert "15 images in 3 shards, 3 of them from before" in capsys.readouterr().out
    assert {path.name: path.stat().st_mtime_ns for path in packed.glob("shard-*")} == before


@pytest.fixture
def copy(packed, tmp_path):
    """A packed folder to damage."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in packed.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize("by_service", [True, False])
def test_a_changed_byte_of_an_image_is_named_by_its_shard(data, copy, service, by_service):
    shard = copy / "shard-00001-of-00003.tfrecord"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    dataset = train(_split(data, copy), service=service if by_service else "")
    with pytest.raises(UserError, match=r"shard-00001-of-00003\.tfrecord: is damaged \(a checksum is wrong\)"):
        take(dataset, 4)


def test_a_shard_that_goes_away_is_named(data, copy, service):
    split = _split(data, copy)
    (copy / "shard-00001-of-00003.tfrecord").unlink()
    with pytest.raises(UserError, match=r"shard-00001-of-00003\.tfrecord: cannot be read \(No such file or directory\); workers of"):
        take(train(split, service=service), 4)


def _cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def _edit(change):
    def edit(path):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


def _set(field, value):
    return lambda content: content["images"][0].__setitem__(field, value)


FAULTS = {
    "a shard cut short": ("shard-00000-of-00003.tfrecord", _cut, "tfrecord: has "),
    "a shard is gone": ("shard-00000-of-00003.tfrecord", os.unlink, "tfrecord: cannot be read (No such file or directory)"),
    "its list is gone": ("shard-00002-of-00003.json", os.unlink, "shard-00002-of-00003.json: is missing or damaged"),
    "its list is cut short": ("shard-00002-of-00003.json", _cut, "shard-00002-of-00003.json: is missing or damaged"),
    "its list lacks an image": ("shard-00002-of-00003.json", _edit(lambda c: c["images"].pop()), "json: is missing or damaged"),
    "an image beyond the end": ("shard-00002-of-00003.json", _edit(_set(3, 2**50)), "json: is missing or damaged"),
    "an image of too many pixels": ("shard-00002-of-00003.json", _edit(_set(5, 2**40)), "json: is missing or damaged"),
    "a number as a name": ("shard-00002-of-00003.json", _edit(_set(0, 7)), "json: is missing or damaged"),
    "a shard without a size": ("index.json", _edit(lambda c: c["shards"][0].pop("bytes")), "index.json: is damaged"),
    "a later version": ("index.json", _edit(lambda c: c.update(version=2)), "index.json: is of version 2"),
    "no shards": ("index.json", _edit(lambda c: c.update(shards=None)), "index.json: is damaged"),
    "a shard elsewhere": ("index.json", _edit(lambda c: c["shards"][0].update(file="../x")), "index.json: is damaged"),
    "not to the end": ("index.json", _edit(lambda c: c.update(complete=False)), "is not packed to the end"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_damaged_folder_is_refused_in_one_line(data, copy, fault):
    name, change, line = FAULTS[fault]
    change(copy / name)
    with pytest.raises(UserError) as error:
        _split(data, copy)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_other_folders_are_refused(data, packed, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds other files, such as letter\.txt"):
        packing.pack(*data, tmp_path / "full")
    with pytest.raises(UserError, match="holds another pack"):
        packing.pack(*data, packed, shards=2)
    with pytest.raises(UserError, match="holds the images"):
        packing.pack(*data, data[1])
    assert os.listdir(tmp_path / "full") == ["letter.txt"]


@pytest.mark.parametrize(("content", "line"), [(b"not an image", "is not a readable image"), (None, "cannot be read")])
def test_an_image_that_cannot_be_packed_stops_in_one_line(write_coco, tmp_path, content, line):
    annotations, images = write_coco({7: (40, 40), 8: (40, 40)}, [], {3: "cat"})
    (images / "8.png").unlink() if content is None else (images / "8.png").write_bytes(content)
    with pytest.raises(UserError, match=rf"8\.png \(image id 8\): {line}"):
        packing.pack(annotations, images, tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").glob("*.tfrecord"))
