"""Annotations: what is used, what is dropped and why, and the line that each wrong file gives."""

import json

import numpy as np
import pytest

from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.data.coco_file import read_coco
from ttfnet_tf.errors import UserError


def _image(identity, width=60, height=40, **more):
    return {"id": identity, "file_name": f"{identity}.jpg", "width": width, "height": height, **more}


def _box(identity, image=7, category=3, bbox=(1.0, 2.0, 10.0, 20.0), **more):
    return {"id": identity, "image_id": image, "category_id": category, "bbox": list(bbox), "area": bbox[2] * bbox[3], "iscrowd": 0, **more}


def _content(**changes):
    """A file with one image (id 7), one box and the categories 3 and 8."""
    content = {"images": [_image(7)], "annotations": [_box(1)], "categories": [{"id": 8, "name": "dog"}, {"id": 3, "name": "cat"}]}
    return {**content, **changes}


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "a.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return path

    return write


@pytest.fixture
def load(write, tmp_path):
    """load(content, training=True, ...) -> CocoSplit."""

    def load(content, *, training=True, **settings):
        return load_coco(write(content), tmp_path, training=training, **settings)

    return load


def test_boxes_are_inclusive_corners_and_labels_count_ascending_category_ids(load, tmp_path):
    split = load(_content(annotations=[_box(1, category=8), _box(2, category=3, bbox=(0.5, 4, 3, 2))]))
    (image,) = split.images
    assert (image.id, image.path, image.size) == (7, tmp_path / "7.jpg", (40, 60))
    np.testing.assert_array_equal(image.boxes, np.array([[1, 2, 10, 21], [0.5, 4, 2.5, 5]], np.float32))
    np.testing.assert_array_equal(image.labels, [1, 0])
    assert (image.boxes.dtype, image.labels.dtype) == (np.float32, np.int32)
    assert (split.category_ids, split.class_names, split.num_classes, split.max_boxes) == ([3, 8], ["cat", "dog"], 2, 2)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iscrowd": 1}, "crowd boxes"),
        ({"ignore": 1}, "boxes marked ignore"),
        ({"bbox": [1, 2, 0.9, 20]}, "boxes below min_box_size"),
        ({"bbox": [1, 2, 20, 0.9]}, "boxes below min_box_size"),
        ({"bbox": [1, 2, 0, 20]}, "boxes without area"),
        ({"bbox": [1, 2, 5, -3]}, "boxes without area"),
        ({"area": 0}, "boxes without area"),
        ({"bbox": [60, 2, 5, 5]}, "boxes outside their image"),
        ({"bbox": [2, -5, 5, 5]}, "boxes outside their image"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_unusable_boxes_are_dropped_and_counted(load, changes, reason, training):
    split = load(_content(annotations=[_box(1), {**_box(2), **changes}]), training=training)
    assert [len(image.boxes) for image in split.images] == [1]
    assert split.dropped == {reason: 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"bbox": [1, 2, 1, 1], "area": 1},  # one pixel is enough
        {"bbox": [59, 39, 50, 50]},  # one pixel inside
        {"bbox": [-4, -4, 5, 5]},
        {"area": None},  # area is optional
        {"iscrowd": False},
    ],
)
def test_usable_boxes_stay_as_they_are(load, changes):
    split = load(_content(annotations=[{**_box(1), **changes}]))
    x, y, width, height = {**_box(1), **changes}["bbox"]
    np.testing.assert_array_equal(split.images[0].boxes, np.array([[x, y, x + width - 1, y + height - 1]], np.float32))
    assert split.dropped == {}


def test_crowd_boxes_can_be_objects(load):
    assert len(load(_content(annotations=[_box(1, iscrowd=1)]), crowd="object").images[0].boxes) == 1


def test_min_box_size_is_a_setting(load):
    content = _content(annotations=[_box(1, bbox=(0, 0, 4, 9)), _box(2, bbox=(0, 0, 0.5, 9))])
    assert len(load(content, min_box_size=4.5, empty_images="keep").images[0].boxes) == 0
    assert len(load(content, min_box_size=0).images[0].boxes) == 2


def test_training_drops_small_and_empty_images(load):
    content = _content(
        images=[_image(7), _image(2, height=31), _image(5), _image(4), _image(9, width=32, height=32)],
        annotations=[_box(1), _box(2, image=2), _box(3, image=4, iscrowd=1), _box(4, image=9)],
    )
    split = load(content)
    assert [image.id for image in split.images] == [7, 9]
    assert split.dropped == {"images below min_image_size": 1, "crowd boxes": 1, "images without a usable box": 2}
    assert split.summary().endswith(
        "a.json: 2 images, 2 boxes, 2 classes; dropped: 1 images below min_image_size, 2 images without a usable box, 1 crowd boxes"
    )
    kept = load(content, empty_images="keep", min_image_size=0)
    assert [image.id for image in kept.images] == [7, 2, 5, 4, 9]
    assert [image.boxes.shape for image in kept.images] == [(1, 4), (1, 4), (0, 4), (0, 4), (1, 4)]


def test_evaluation_keeps_every_image(load):
    content = _content(images=[_image(7), _image(2, height=1), _image(5)], annotations=[])
    assert [image.id for image in load(content, training=False).images] == [7, 2, 5]


def test_annotation_id_0_is_renamed_in_memory(write):
    """COCOeval writes the id of the matched annotation and reads 0 as "no match"."""
    coco = read_coco(write(_content(annotations=[_box(0), _box(4)])))
    assert sorted(coco.anns) == [4, 5]


def test_pycocotools_prints_nothing(load, capsys):
    load(_content())
    assert capsys.readouterr() == ("", "")


NOT_COCO = "{path}: is not a COCO instances file "
WRONG_FILES = {
    "empty": ("", "{path}: is not JSON (Expecting value at line 1); name a COCO instances JSON"),
    "cut short": ('{"images": [\n{"id": 1', "{path}: is not JSON (Expecting ',' delimiter at line 2); name a COCO instances JSON"),
    "results": ([{"image_id": 1}], NOT_COCO + "(it holds a list, not an object)"),
    "text": ('"hello"', NOT_COCO + "(it holds a str, not an object)"),
    "no images": ({"annotations": [], "categories": []}, NOT_COCO + "(it has no list 'images')"),
    "captions": ({"annotations": [], "images": []}, NOT_COCO + "(it has no list 'categories')"),
    "annotations no list": (_content(annotations={}), NOT_COCO + "(it has no list 'annotations')"),
    "zero categories": (_content(categories=[], annotations=[]), "{path}: its list 'categories' is empty"),
    "zero images": (_content(images=[], annotations=[]), "{path}: its list 'images' is empty"),
    "image no object": (_content(images=["7.jpg"]), '{path}: image number 0 (from 0) is not an object: "7.jpg"'),
    "image without id": (_content(images=[{"file_name": "a"}]), "{path}: image number 0 (from 0) has id null, which is not an integer"),
    "image id is text": (_content(images=[_image("x7")]), '{path}: image number 0 (from 0) has id "x7", which is not an integer'),
    "negative image id": (_content(images=[_image(-7)]), "{path}: image id -7 is negative; ids must be 0 or more"),
    "image id twice": (_content(images=[_image(7), _image(7)]), "{path}: image id 7 is given twice"),
    "annotation id twice": (_content(annotations=[_box(1), _box(1)]), "{path}: annotation id 1 is given twice"),
    "annotation without id": (
        _content(annotations=[_box(1), {"image_id": 7}]),
        "{path}: annotation number 1 (from 0) has id null, which is not an integer",
    ),
    "category id twice": (_content(categories=[{"id": 3, "name": n} for n in "ab"]), "{path}: category id 3 is given twice"),
    "category without name": (_content(categories=[{"id": 3}]), "{path}: category id 3 has no name"),
    "image without file": (_content(images=[{"id": 7, "width": 60, "height": 40}]), "{path}: image id 7 has no file_name"),
    "image without size": (
        _content(images=[{"id": 7, "file_name": "7.jpg"}]),
        "{path}: image id 7 (7.jpg) has no width and height in pixels",
    ),
    "image of size 0": (_content(images=[_image(7, width=0)]), "{path}: image id 7 (7.jpg) has no width and height in pixels"),
    "unknown image": (
        _content(annotations=[_box(4, image=12)]),
        "{path}: annotation id 4 belongs to image id 12, which is not in 'images'",
    ),
    "no image": (
        _content(annotations=[{"id": 4, "category_id": 3, "bbox": [1, 2, 3, 4]}]),
        "{path}: annotation id 4 belongs to image id null, which is not in 'images'",
    ),
    "unknown category": (
        _content(annotations=[_box(4, category=1)]),
        "{path}: annotation id 4 has category id 1, which is not in 'categories' (known: 3, 8)",
    ),
    "category is a list": (
        _content(annotations=[_box(4, category=[3])]),
        "{path}: annotation id 4 has category id [3], which is not in 'categories' (known: 3, 8)",
    ),
    "box of three": (
        _content(annotations=[{**_box(4), "bbox": [1, 2, 3]}]),
        "{path}: annotation id 4 has bbox [1, 2, 3], which is not four finite numbers x, y, width, height",
    ),
    "no box": (
        _content(annotations=[{"id": 4, "image_id": 7, "category_id": 3}]),
        "{path}: annotation id 4 has bbox null, which is not four finite numbers x, y, width, height",
    ),
    "NaN box": (
        _content(annotations=[{**_box(4), "bbox": [1, 2, float("nan"), 4]}]),
        "{path}: annotation id 4 has bbox [1, 2, NaN, 4], which is not four finite numbers x, y, width, height",
    ),
    "infinite box": (
        _content(annotations=[{**_box(4), "bbox": [1, 2, 3, float("inf")]}]),
        "{path}: annotation id 4 has bbox [1, 2, 3, Infinity], which is not four finite numbers x, y, width, height",
    ),
    "box of text": (
        _content(annotations=[{**_box(4), "bbox": [1, 2, "3", 4]}]),
        '{path}: annotation id 4 has bbox [1, 2, "3", 4], which is not four finite numbers x, y, width, height',
    ),
    "area of text": (_content(annotations=[_box(4, area="big")]), '{path}: annotation id 4 has area "big", which is not a finite number'),
    "nothing to train on": (
        _content(annotations=[_box(1, iscrowd=1)]),
        "{path}: 0 images, 0 boxes, 2 classes; dropped: 1 crowd boxes, 1 images without a usable box; no image is left to train on",
    ),
}


@pytest.mark.parametrize(("content", "message"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_wrong_file_gives_one_line(load, tmp_path, content, message):
    with pytest.raises(UserError) as caught:
        load(content)
    assert str(caught.value) == message.format(path=tmp_path / "a.json")


def test_missing_or_unreadable_file(tmp_path):
    with pytest.raises(UserError) as caught:
        load_coco(tmp_path / "no.json", tmp_path, training=True)
    assert str(caught.value) == f"{tmp_path}/no.json: cannot be read (No such file or directory); name a COCO instances JSON"
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\); name a COCO instances JSON$"):
        load_coco(tmp_path, tmp_path, training=True)
    image = tmp_path / "image.jpg"
    image.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(UserError, match=r"image\.jpg: is not UTF-8 text; name a COCO instances JSON$"):
        load_coco(image, tmp_path, training=True)


@pytest.mark.parametrize(("training", "key"), [(True, "data.train"), (False, "data.val")])
def test_missing_folder_names_its_setting(write, tmp_path, training, key):
    path = write(_content())
    with pytest.raises(UserError) as caught:
        load_coco(path, tmp_path / "no", training=training)
    assert str(caught.value) == f"{tmp_path}/no: is not a folder; set {key}.images to the folder of the images of {path}"
    with pytest.raises(UserError, match=f"^{key}.images is empty; name the folder of the images of .*a.json$"):
        load_coco(path, "", training=training)
    with pytest.raises(UserError, match=f"^{key}.annotations is empty; name a COCO instances JSON$"):
        load_coco("", tmp_path, training=training)
