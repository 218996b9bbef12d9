"""`--fix` reads what can only mean one thing, in a part of the annotations as in all, and removes a box only if it can be none."""

import json
import unicodedata

import numpy as np
import pytest
from doctor import planted
from pycocotools import mask as coco_mask

from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.data.file_names import FolderIndex, file_name_fault
from ttfnet_tf.doctor.check import check_data
from ttfnet_tf.doctor.findings import Settings
from ttfnet_tf.doctor.fix import write_fixed
from ttfnet_tf.doctor.single_answers import box_of, box_of_shape, number_of, whole_number
from ttfnet_tf.errors import UserError

SETTINGS = Settings(image_size=planted.IMAGE_SIZE)


def boxes_of(content):
    """File name -> its boxes with their categories, sorted."""
    names = {one["id"]: one["file_name"] for one in content["images"]}
    found = {name: [] for name in names.values()}
    for one in content["annotations"]:
        found[names[one["image_id"]]].append((one["category_id"], [float(side) for side in one["bbox"]]))
    return {name: sorted(boxes) for name, boxes in found.items()}


def as_text(keys):
    return lambda one: one.update({key: str(one[key]) for key in keys})


def polygon(one):
    x, y, w, h = one.pop("bbox")
    one["segmentation"] = [[x, y, x + w, y], [x + w, y + h, x, y + h]]


def mask(compressed):
    def change(one):
        x, y, w, h = one.pop("bbox")
        pixels = np.zeros([planted.HEIGHT, planted.WIDTH], np.uint8, order="F")
        pixels[y : y + h, x : x + w] = 1
        runs = np.flatnonzero(np.diff(pixels.ravel(order="F"), prepend=0, append=0)).tolist()
        counts = np.diff([0, *runs, pixels.size]).tolist()
        if compressed:
            counts = coco_mask.encode(pixels)["counts"].decode()
        one["segmentation"] = {"size": [planted.HEIGHT, planted.WIDTH], "counts": counts}

    return change


def fractions(one):
    x, y, w, h = one["bbox"]
    one["bbox"] = [x / planted.WIDTH, y / planted.HEIGHT, w / planted.WIDTH, h / planted.HEIGHT]
    one["area"] /= planted.WIDTH * planted.HEIGHT


# What is done to an annotation; the cleaned file must have the boxes that were there before.
CHANGES = {
    "category as text": as_text(["category_id"]),
    "category as decimal": lambda one: one.update(category_id=float(one["category_id"])),
    "image as text": as_text(["image_id"]),
    "image as decimal": lambda one: one.update(image_id=float(one["image_id"])),
    "id as text": as_text(["id"]),
    "id and references as text": as_text(["id", "image_id", "category_id"]),
    "box as text": lambda one: one.update(bbox=[f" {side}.0" for side in one["bbox"]]),
    "box in a box": lambda one: one.update(bbox=[one["bbox"]]),
    "box as an object": lambda one: one.update(bbox=dict(zip(("x", "y", "width", "height"), one["bbox"]))),
    "box of nothing beside a polygon": polygon,
    "box of NaN beside a polygon": lambda one: (polygon(one), one.update(bbox=[float("nan")] * 4)),
    "mask": mask(compressed=False),
    "compressed mask": mask(compressed=True),
    "fractions": fractions,
    "area as text": as_text(["area"]),
    "crowd as text": as_text(["iscrowd"]),
    "crowd as a word": lambda one: one.update(iscrowd="false"),
}
# The same of an image; the annotations that belong to it do not change.
IMAGE_CHANGES = {
    "no size": lambda one, data: [one.pop(side) for side in ("width", "height")],
    "size as text": lambda one, data: one.update(width=str(one["width"]), height=str(one["height"])),
    "size of 0": lambda one, data: one.update(width=0, height=0),
    "id as text": lambda one, data: one.update(id=str(one["id"])),
    "id as decimal": lambda one, data: one.update(id=float(one["id"])),
    "upper case": lambda one, data: one.update(file_name=one["file_name"].upper()),
    "backslashes": lambda one, data: one.update(file_name=f".\\{one['file_name']}"),
    "folder of another machine": lambda one, data: one.update(file_name=f"C:\\data\\{one['file_name']}"),
    "an upload": lambda one, data: one.update(file_name=f"/data/upload/4/cb06e17a-{one['file_name']}"),
}


def cleaned(data, with_images=True):
    train, val = data.write()
    report = check_data(train, val, settings=SETTINGS, with_images=with_images)
    fixed = write_fixed(report.splits[0], data.folder / "fixed.json", SETTINGS)
    load_coco(fixed.out, train[1], training=True)
    assert check_data((fixed.out, train[1]), val, settings=SETTINGS).exit_code() == 0
    return json.loads(fixed.out.read_text()), fixed


@pytest.mark.parametrize("part", ["one", "half", "all"])
@pytest.mark.parametrize("name", CHANGES)
def test_no_box_is_lost(tmp_path, name, part):
    data = planted.clean(tmp_path / "data")
    before = boxes_of(data.train)
    annotations = data.train["annotations"]
    for one in {"one": annotations[4:5], "half": annotations[::2], "all": annotations}[part]:
        CHANGES[name](one)
    content, fixed = cleaned(data)
    found = boxes_of(content)
    assert {file: [category for category, _ in boxes] for file, boxes in found.items()} == {
        file: [category for category, _ in boxes] for file, boxes in before.items()
    }
    for file, boxes in before.items():
        np.testing.assert_allclose([box for _, box in found[file]], [box for _, box in boxes], atol=1e-9)
    assert not any(action == "removed" for action, _, _ in fixed.counts)


@pytest.mark.parametrize("part", ["one", "all"])
@pytest.mark.parametrize("name", IMAGE_CHANGES)
def test_no_image_is_lost(tmp_path, name, part):
    data = planted.clean(tmp_path / "data")
    before = boxes_of(data.train)
    for one in data.train["images"][1:2] if part == "one" else data.train["images"]:
        old = one["id"]
        IMAGE_CHANGES[name](one, data)
        for annotation in data.train["annotations"]:
            if annotation["image_id"] == old:
                annotation["image_id"] = one["id"]
    content, _ = cleaned(data)
    assert boxes_of(content) == before
    assert {(one["height"], one["width"]) for one in content["images"]} == {(planted.HEIGHT, planted.WIDTH)}


def test_an_image_that_was_renamed_is_looked_at(tmp_path):
    """Its file is opened under the new name: a size that contradicts the annotations is found, and a broken one dropped."""
    data = planted.clean(tmp_path / "data")
    data.image(0).update(file_name=data.image(0)["file_name"].upper(), width=640)
    data.image(1).update(file_name=data.image(1)["file_name"].upper())
    data.file("102.png").write_bytes(b"no image")
    content, fixed = cleaned(data)
    assert [(one["file_name"], one["width"]) for one in content["images"]] == [("101.png", 64), ("103.png", 64), ("104.png", 64)]
    assert fixed.counts["removed", "images", "image-broken"] == 1


def test_a_box_that_can_be_none_is_removed_and_said(tmp_path):
    data = planted.clean(tmp_path / "data")
    hopeless = [None, [1, 2, 3], "box", ["a", "b", "c", "d"], [1, 2, 3, float("inf")]]
    for one, box in zip(data.train["annotations"], hopeless):
        one["bbox"] = box
    _, fixed = cleaned(data)
    assert fixed.counts["removed", "annotations", "box-malformed"] == 4
    assert fixed.counts["removed", "annotations", "box-not-finite"] == 1
    assert "5 annotations that give no box are removed: if they were objects, these are background now" in fixed.lines()


def test_where_nothing_is_left_the_line_says_why(tmp_path):
    data = planted.clean(tmp_path / "data")
    for path in (data.folder / "images").glob("10*.png"):
        path.unlink()
    with pytest.raises(UserError) as caught:
        cleaned(data)
    assert str(caught.value).endswith(
        "nothing to train on is left once 16 entries are removed for image-missing (no such file or directory); "
        "fix it by hand (nothing was written)"
    )


def test_without_images_and_their_folder_a_missing_size_is_refused(tmp_path):
    data = planted.clean(tmp_path / "data")
    data.image(1).pop("width")
    (train, _), _ = data.write()
    report = check_data((train, tmp_path / "none"), settings=SETTINGS, with_images=False)
    with pytest.raises(UserError, match=r"image-without-size .* has no single answer"):
        write_fixed(report.splits[0], data.folder / "fixed.json", SETTINGS)
    content, _ = cleaned(data, with_images=False)
    assert len(content["images"]) == 4


def test_numbers():
    assert [whole_number(value) for value in ("4", " 4 ", "4.0", 4.0, 4, "4e0")] == [4] * 6
    wrong = [True, None, "x", "4.5", 4.5, "", "nan", "inf", float("nan"), 10**400, "9" * 5000, [4], {}]
    assert [value for value in wrong if whole_number(value) is not None] == []
    assert (number_of("4.5"), number_of("-1e3")) == (4.5, -1000)


def test_masks_are_read_as_pycocotools_reads_them():
    random = np.random.default_rng(0)
    for density in (0.01, 0.3, 0.9) * 20:
        pixels = np.asfortranarray(random.random(random.integers(1, 40, 2)) < density, np.uint8)
        encoded = coco_mask.encode(pixels)
        box = box_of_shape({"size": list(pixels.shape), "counts": encoded["counts"].decode()}, pixels.shape)
        assert box == (coco_mask.toBbox(encoded).tolist() if pixels.any() else None)


@pytest.mark.parametrize(
    "shape",
    [
        {"size": [4, 4], "counts": [3, 2]},  # too short
        {"size": [4, 4], "counts": [20, -8, 4]},
        {"size": [4, 4], "counts": "~~~~" * 100},
        {"size": [4, 4], "counts": "\x7f"},
        {"size": [4, 4], "counts": "o" * 10_000},
        {"size": [2**40, 2**40], "counts": [1]},
        {"size": [4, 4], "counts": None},
        {"size": "4", "counts": [16]},
        {"counts": [16]},
        [[1, 2, 3]],
        [[1, 2, 1, 2]],
        [[1, 2, "x", 4, 5, 6]],
        [[1, 2, float("nan"), 4, 5, 6]],
        [[]],
        [],
        "polygon",
    ],
    ids=range(16),
)
def test_a_damaged_shape_gives_no_box(shape):
    assert box_of({"segmentation": shape}) is None


def test_names_that_no_file_can_have():
    assert file_name_fault("a\0.png") == "has a NUL character"
    assert file_name_fault("x" * 300 + ".png") == "is longer than a file name can be"
    assert file_name_fault("ü" * 140 + ".png") == "is longer than a file name can be"  # 284 bytes
    assert file_name_fault("x/" * 2100) == "is longer than a file name can be"
    assert [file_name_fault(name) for name in ("a.png", "ü" * 100, "/".join(["x" * 200] * 10), "a\nb.png")] == [None] * 4


def test_a_file_is_found_by_a_name_that_is_nearly_its_own(tmp_path):
    composed = unicodedata.normalize("NFC", "café.png")
    for name in ("deep/a.png", "deep/b.PNG", composed, "one/twice.png", "two/twice.png", "._hidden.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    index = FolderIndex(tmp_path)
    assert index.find("deep\\a.png") == ("deep/a.png", "its name has \\ where this system has /")
    assert index.find("Deep/b.png") == ("deep/b.PNG", "upper and lower case differ")
    decomposed = unicodedata.normalize("NFD", composed)
    assert index.find(decomposed) == (composed, "the same letters, composed in one name and decomposed in the other")
    assert index.find("/home/me/a.png") == ("deep/a.png", "it lies in another folder")
    assert [index.find(name) for name in ("twice.png", "other.png", "hidden.png", "", "..")] == [None] * 5
