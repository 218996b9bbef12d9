"""The synthetic data set: the same bytes, boxes that fit the pixels, ids with gaps, and folders that are not overwritten."""

import hashlib
import json
import time
from collections import Counter

import cv2
import numpy as np
import pytest

from ttfnet_tf import cli
from ttfnet_tf.boxes import xyxy_to_xywh
from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.data.shapes import CLASSES, DEFAULT_CLASSES, MAX_OBJECTS, draw_image, draw_shapes, shape_mask
from ttfnet_tf.errors import UserError


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """100 + 20 images of the default size."""
    folder = tmp_path_factory.mktemp("data") / "shapes"
    start = time.process_time()  # of the processor, whatever else the machine does
    draw_shapes(folder, train=100, val=20)
    assert time.process_time() - start < 10
    return folder


def _digest(folder):
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(str(path.relative_to(folder)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in files]


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        draw_shapes(tmp_path / name, train=3, val=2, size=(64, 96), seed=seed)
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b")
    images = [dict(_digest(tmp_path / name / "train")) for name in ("a", "c")]
    assert all(images[0][name] != images[1][name] for name in images[0])


def test_the_default_pixels_and_boxes_never_change(tmp_path):
    """A stored digest, so that published figures on drawn shapes can be repeated."""
    draw_shapes(tmp_path / "a", train=3, val=2, size=(64, 96), seed=1)
    digest = hashlib.sha256()
    for split in ("train", "val"):
        digest.update((tmp_path / f"a/annotations/{split}.json").read_bytes())
        for path in sorted((tmp_path / "a" / split).iterdir()):
            digest.update(cv2.imread(str(path)).tobytes())
    assert digest.hexdigest() == "e6071f9f498ac807a2af58fb006c583b49bdb8b6264aee0af573d5b40c0a8307"


def test_training_and_validation_images_differ(drawn):
    digests = [{digest for _, digest in _digest(drawn / split)} for split in ("train", "val")]
    assert (len(digests[0]), len(digests[1])) == (100, 20)
    assert not digests[0] & digests[1]


def test_a_larger_set_begins_with_the_smaller_one(tmp_path):
    draw_shapes(tmp_path / "a", train=2, val=1, size=(64, 64))
    draw_shapes(tmp_path / "b", train=4, val=1, size=(64, 64))
    assert _digest(tmp_path / "a" / "train") == _digest(tmp_path / "b" / "train")[:2]


def test_it_is_coco_with_gaps_in_the_ids(drawn):
    split = load_coco(drawn / "annotations/train.json", drawn / "train", training=True)
    assert split.category_ids == [1, 3, 4, 7]
    assert split.class_names == ["circle", "square", "triangle", "cross"]
    assert len(split.images) == 100
    assert split.dropped == {}
    counts = Counter(np.concatenate([image.labels for image in split.images]).tolist())
    assert min(counts.values()) > 40
    assert 1 <= min(len(image.boxes) for image in split.images) <= split.max_boxes <= MAX_OBJECTS


def test_classes_on_request_in_any_order(tmp_path):
    names = ["star", "cross", "circle", "triangle", "square"]
    draw_shapes(tmp_path / "a", train=40, val=1, size=(64, 64), classes=names)
    draw_shapes(tmp_path / "b", train=40, val=1, size=(64, 64), classes=sorted(names))
    assert _digest(tmp_path / "a") == _digest(tmp_path / "b")
    split = load_coco(tmp_path / "a/annotations/train.json", tmp_path / "a/train", training=True)
    assert split.category_ids == [1, 3, 4, 7, 9]
    assert split.class_names == [*DEFAULT_CLASSES, "star"]
    counts = Counter(np.concatenate([image.labels for image in split.images]).tolist())
    assert min(counts[number] for number in range(5)) > 15


def test_two_classes_are_drawn_and_listed_alone(tmp_path):
    draw_shapes(tmp_path / "a", train=10, val=1, size=(64, 64), classes=("star", "square"))
    content = json.loads((tmp_path / "a/annotations/train.json").read_text())
    assert [(one["id"], one["name"]) for one in content["categories"]] == [(3, "square"), (9, "star")]
    assert {one["category_id"] for one in content["annotations"]} == {3, 9}


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (("circle", "stars"), "shapes: no class 'stars'; name some of circle, square, triangle, cross, star"),
        (("star", "circle", "star"), "shapes: class 'star' is named twice; name it once"),
        ((), "shapes: no class is named; name some of circle, square, triangle, cross, star"),
    ],
)
def test_classes_that_cannot_be_drawn(tmp_path, classes, message):
    with pytest.raises(UserError) as caught:
        draw_shapes(tmp_path / "x", classes=classes)
    assert str(caught.value) == message
    assert not (tmp_path / "x").exists()


def test_there_are_tiny_large_and_overlapping_objects(drawn):
    content = json.loads((drawn / "annotations/train.json").read_text())
    sides = [max(annotation["bbox"][2:]) for annotation in content["annotations"]]
    assert sum(side <= 16 for side in sides) > 5
    assert sum(side >= 80 for side in sides) > 5
    overlaps = 0
    for image in content["images"]:
        boxes = [a["bbox"] for a in content["annotations"] if a["image_id"] == image["id"]]
        for n, (x, y, w, h) in enumerate(boxes):
            overlaps += any(x < u + p and u < x + w and y < v + q and v < y + h for u, v, p, q in boxes[:n])
    assert overlaps > 20


def test_boxes_are_the_outermost_pixels_of_the_colours(drawn):
    """In images with one object the background is grey (saturation below 90) and the object is not (above 150)."""
    split = load_coco(drawn / "annotations/train.json", drawn / "train", training=True)
    lonely = [image for image in split.images if len(image.boxes) == 1]
    assert len(lonely) > 5
    for image in lonely:
        saturation = cv2.cvtColor(cv2.imread(str(image.path)), cv2.COLOR_BGR2HSV)[..., 1]
        assert not ((saturation > 90) & (saturation < 150)).any()
        rows, columns = np.nonzero(saturation > 120)
        np.testing.assert_array_equal(image.boxes[0], [columns.min(), rows.min(), columns.max(), rows.max()])


def _colour(pixels):
    """Name of the mean of [N, 3] pixels."""
    red, green, blue = pixels.mean(axis=0) > pixels.mean(axis=0).max() / 2
    return "blue" if blue else "yellow" if red and green else "red" if red else "green"


@pytest.mark.parametrize("seed", range(8))
def test_later_objects_cover_earlier_ones_but_leave_most_of_them(seed):
    image, shapes = draw_image(np.random.default_rng(seed), (96, 128))
    assert image.shape == (96, 128, 3)
    areas = [shape.box[2] * shape.box[3] for shape in shapes]
    for number, shape in enumerate(shapes):
        covered = np.zeros((96, 128), bool)
        for later in shapes[number + 1 :]:
            covered |= later.mask
        assert (shape.mask & ~covered).sum() >= 0.6 * shape.mask.sum()
        rows, columns = np.nonzero(shape.mask)
        corners = np.array([[columns.min(), rows.min(), columns.max(), rows.max()]])
        np.testing.assert_array_equal(xyxy_to_xywh(corners)[0], shape.box)
        assert (
            _colour(image[shape.mask & ~covered]) == {"circle": "red", "square": "green", "triangle": "blue", "cross": "yellow"}[shape.name]
        )
    assert areas[0] >= areas[-1] * 0.49  # larger first, up to the ratio of the sides


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("square", ["######"] * 6),
        ("circle", [".####.", "######", "######", "######", "######", ".####."]),
        ("triangle", ["......", "..##..", "..##..", ".####.", ".####.", "######"]),
        ("cross", ["..##..", "..##..", "######", "######", "..##..", "..##.."]),
    ],
)
def test_shapes_of_six_pixels(name, rows):
    np.testing.assert_array_equal(shape_mask(name, 6, 6), [[pixel == "#" for pixel in row] for row in rows])


def test_a_star_of_eleven_pixels():
    rows = [
        ".....#.....",
        ".....#.....",
        ".....#.....",
        "....###....",
        "###########",
        "..#######..",
        "...#####...",
        "...#####...",
        "...##.##...",
        "...#...#...",
        "..#.....#..",
    ]
    np.testing.assert_array_equal(shape_mask("star", 11, 11), [[pixel == "#" for pixel in row] for row in rows])


def test_a_star_is_magenta():
    image, shapes = draw_image(np.random.default_rng(0), (96, 128), ["star"])
    assert {shape.name for shape in shapes} == {"star"}
    red, green, blue = image[shapes[-1].mask].mean(axis=0)
    assert red > 1.5 * green
    assert blue > 1.5 * green


def test_every_class_has_a_shape():
    assert all(shape_mask(name, 9, 9).any() for name in CLASSES)
    with pytest.raises(ValueError, match="no shape 'heart'"):
        shape_mask("heart", 3, 3)


def test_folders_are_not_overwritten(tmp_path):
    out = tmp_path / "shapes"
    draw_shapes(out, train=3, val=1, size=(32, 32))
    before = _digest(out)
    with pytest.raises(UserError) as caught:
        draw_shapes(out, train=1, val=1, size=(32, 32))
    assert str(caught.value) == f"{out}: holds drawn shapes already; name another folder or add --overwrite"
    assert _digest(out) == before
    draw_shapes(out, train=1, val=1, size=(32, 32), overwrite=True)
    assert [path.name for path in (out / "train").iterdir()] == ["000001.png"]


@pytest.mark.parametrize("with_shapes", [True, False])
def test_other_files_are_never_touched(tmp_path, with_shapes):
    out = tmp_path / "mine"
    if with_shapes:
        draw_shapes(out, train=1, val=1, size=(32, 32))
    out.mkdir(exist_ok=True)
    (out / "thesis.txt").write_text("years of work")
    before = _digest(out)
    with pytest.raises(UserError) as caught:
        draw_shapes(out, overwrite=True)
    assert str(caught.value) == f"{out}: holds other files (thesis.txt); name a new or empty folder"
    assert _digest(out) == before


def test_a_folder_of_another_data_set_is_not_ours(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "README.txt").write_text("photos")
    with pytest.raises(UserError, match="holds other files"):
        draw_shapes(tmp_path, overwrite=True)
    assert (tmp_path / "train").is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 0}, "shapes: train=0 must be 1 or more"),
        ({"val": -1}, "shapes: val=-1 must be 1 or more"),
        ({"size": (16, 64)}, "shapes: size=16 must be 32 or more"),
        ({"seed": -1}, "shapes: seed=-1 must be 0 or more"),
    ],
)
def test_numbers_out_of_range(tmp_path, arguments, message):
    with pytest.raises(UserError) as caught:
        draw_shapes(tmp_path / "x", **arguments)
    assert str(caught.value) == message


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as caught:
        draw_shapes(tmp_path / "file")
    assert str(caught.value) == f"{tmp_path}/file: is a file; name a new or empty folder"
    with pytest.raises(UserError, match=r"file/inner/README\.txt: cannot be written \(Not a directory\); name another folder$"):
        draw_shapes(tmp_path / "file" / "inner")


def test_the_command(tmp_path, capsys):
    arguments = ["shapes", str(tmp_path / "s"), "--train", "2", "--val", "1", "--size", "32", "64", "--seed", "5"]
    assert cli.main(["data", *arguments]) == 0
    content = json.loads((tmp_path / "s/annotations/train.json").read_text())
    assert [(image["height"], image["width"]) for image in content["images"]] == [(32, 64)] * 2
    objects = len(content["annotations"])
    assert capsys.readouterr().out == f"{tmp_path}/s: drew 2 training images with {objects} objects and 1 validation images\n"


def test_the_command_draws_the_named_classes(tmp_path, capsys):
    arguments = ["data", "shapes", str(tmp_path / "s"), "--train", "2", "--val", "1", "--size", "32", "64", "--classes", "star", "circle"]
    assert cli.main(arguments) == 0
    content = json.loads((tmp_path / "s/annotations/train.json").read_text())
    assert [one["name"] for one in content["categories"]] == ["circle", "star"]
    assert cli.main([*arguments, "star", "--overwrite"]) == 2
    assert capsys.readouterr().err == "ttfnet: shapes: class 'star' is named twice; name it once\n"
