"""YOLO: layouts, lines, and the line that each mistake gives."""

import pytest
from PIL import Image

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.data_yaml import data_yaml_text
from ttfnet_tf.formats.records import Problems
from ttfnet_tf.formats.yolo_labels import label_line
from ttfnet_tf.formats.yolo_reader import read_yolo


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "y").mkdir()
    return tmp_path / "y"


def _read(source, **options):
    problems = Problems()
    return read_yolo(source, problems=problems, **options), problems.lines


def _image(path, height=50, width=100, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height)).save(path, **options)


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _found(data):
    return {split.name: [image.path.name for image in split.images] for split in data.splits}


LINE = "1 0.3 0.5 0.4 0.2\n"  # of 100 x 50 pixels: x 10..50, y 20..30


def _check(data, names=("a", "b")):
    assert tuple(category.name for category in data.categories) == names
    assert [category.id for category in data.categories] == [0, 1]
    for split in data.splits:
        for image in split.images:
            assert image.size == (50, 100)
            assert [(box.label, box.bbox) for box in image.boxes] == [(1, (10, 20, 40, 10))]


@pytest.mark.parametrize("names", ["names: [a, b]", "names:\n  1: b\n  0: a", "nc: 2\nnames:\n- a\n- b"])
@pytest.mark.parametrize(
    ("yaml", "places"),
    [
        ("train: images/train\nval: images/val", ("images/{}", "labels/{}")),
        ("path: .\ntrain: images/train/\nval: images/val\ntest:", ("images/{}", "labels/{}")),
        ("path: ../datasets/gone\ntrain: images/train\nval: images/val", ("images/{}", "labels/{}")),
        ("train: ../train/images\nvalid: ../val/images", ("{}/images", "{}/labels")),
        ("train: [train/images]\nval: val/images", ("{}/images", "{}/labels")),
        ("path: sub\ntrain: images/train\nval: images/val", ("sub/images/{}", "sub/labels/{}")),
        ("train: train\nval: val", ("{}", "{}")),
    ],
)
def test_layouts_of_a_data_yaml(folder, yaml, places, names):
    for split in ("train", "val"):
        _image(folder / places[0].format(split) / f"{split}.jpg")
        _write(folder / places[1].format(split) / f"{split}.txt", LINE)
    _write(folder / "data.yaml", f"{yaml}\n{names}\n")
    for source in (folder, folder / "data.yaml"):
        data, lines = _read(source)
        assert lines == []
        assert _found(data) == {"train": ["train.jpg"], "val": ["val.jpg"]}
        _check(data)
    assert _found(_read(folder, split="val")[0]) == {"val": ["val.jpg"]}
    assert _found(_read(folder, split="valid")[0]) == {"val": ["val.jpg"]}


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (("images/train", "labels/train"), "train"),
        (("images/valid", "labels/valid"), "val"),
        (("test/images", "test/labels"), "test"),
        (("images", "labels"), "train"),
        ((".", "."), "train"),
    ],
)
def test_layouts_without_a_data_yaml(folder, places, expected):
    _image(folder / places[0] / "p.jpg")
    _write(folder / places[1] / "p.txt", LINE)
    data, lines = _read(folder, classes=["a", "b"])
    assert lines == []
    assert _found(data) == {expected: ["p.jpg"]}
    _check(data)
    _write(folder / "classes.txt", "a\nb\n")
    _check(_read(folder)[0])


def test_text_files_in_one_folder_and_images_in_another(folder, tmp_path):
    _image(tmp_path / "p/sub/p.jpg")
    _write(folder / "sub/p.txt", LINE)
    data, _ = _read(folder, images=tmp_path / "p", classes=["a", "b"], split="val")
    assert _found(data) == {"val": ["p.jpg"]}
    _check(data)


def test_lists_of_images(folder):
    for name in ("a", "b", "c"):
        _image(folder / "images" / f"{name}.jpg")
        _write(folder / "labels" / f"{name}.txt", LINE)
    _write(folder / "lists/train.txt", f"./../images/b.jpg\n\nimages/a.jpg\nimages/a.jpg\n{folder}/images/c.jpg\n")
    _write(folder / "data.yaml", "train: lists/train.txt\nnames: [a, b]")
    data, lines = _read(folder)
    assert lines == []
    assert _found(data) == {"train": ["b.jpg", "a.jpg", "c.jpg"]}
    _check(data)
    _write(folder / "lists/train.txt", "images/a.jpg\nimages/x.jpg\n")
    assert _read(folder)[1] == [f"{folder}/lists/train.txt:2: names images/x.jpg, but there is no such image"]

    (folder / "data.yaml").unlink()
    _write(folder / "train.txt", "images/b.jpg\n")
    assert _found(_read(folder, classes=["a", "b"])[0]) == {"train": ["b.jpg"]}


def test_lists_as_cvat_writes_them(folder):
    """The folder data/ in front is where Darknet would look."""
    for split, name in (("train", "a"), ("valid", "b")):
        _image(folder / f"obj_{split}_data/{name}.jpg")
        _write(folder / f"obj_{split}_data/{name}.txt", LINE)
        _write(folder / f"{split}.txt", f"data/obj_{split}_data/{name}.jpg\n")
    _write(folder / "obj.names", "a\nb\n")
    _write(folder / "obj.data", "classes = 2\ntrain = data/train.txt\nnames = data/obj.names\nbackup = backup/\n")
    data, lines = _read(folder)
    assert lines == []
    assert _found(data) == {"train": ["a.jpg"], "val": ["b.jpg"]}
    _check(data)


def test_names_are_taken_as_written_and_numbers_keep_their_gaps(folder):
    _image(folder / "images/p.jpg")
    _write(folder / "labels/p.txt", "7 0.5 0.5 1 1\n")
    _write(folder / "data.yaml", "train: images\nnames: {0: no, 7: 007, 9: 1e3}")
    data, lines = _read(folder)
    assert lines == []
    assert [(c.id, c.name) for c in data.categories] == [(0, "no"), (7, "007"), (9, "1e3")]
    assert data.splits[0].images[0].boxes[0].bbox == (0, 0, 100, 50)


def test_empty_and_missing_label_files_are_images_without_objects(folder):
    for name, text in (("a", LINE), ("b", "\n"), ("c", None)):
        _image(folder / "images" / f"{name}.jpg")
        if text is not None:
            _write(folder / "labels" / f"{name}.txt", text)
    _write(folder / "labels/unused.txt", LINE)
    _write(folder / "labels/classes.txt", "a\nb\n")
    data, lines = _read(folder)
    assert lines == []
    assert [len(image.boxes) for image in data.splits[0].images] == [1, 0, 0]
    assert data.notes["images without a label file have no objects"] == 1
    assert data.notes["label files without an image are skipped"] == 1


def test_ids_are_the_numbers_of_the_images(folder):
    for name in ("000000000139", "000000000042"):
        _image(folder / "images" / f"{name}.jpg")
    _write(folder / "labels/000000000042.txt", LINE)
    data, _ = _read(folder, classes=["a", "b"])
    assert [image.id for image in data.splits[0].images] == [42, 139]


def test_polygons_become_bounding_boxes(folder):
    _image(folder / "images/p.jpg")
    _write(folder / "labels/p.txt", "0 0.1 0.4 0.5 0.5 0.3 0.6\n1 0.1 0.2 0.3 0.2 0.3 0.8 0.1 0.8\n")
    data, _ = _read(folder, classes=["a", "b"])
    assert [(box.label, box.bbox) for box in data.splits[0].images[0].boxes] == [(0, (10, 20, 40, 10)), (1, (10, 10, 20, 30))]
    assert data.notes["polygons: only their bounding boxes are kept"] == 2


def test_keypoints_are_not_a_polygon(folder):
    _image(folder / "images/p.jpg")
    _write(folder / "labels/p.txt", "1 0.3 0.5 0.4 0.2 0.9 0.9 2 0.1 0.1 2\n")
    _write(folder / "data.yaml", "train: images\nnames: [a, b]\nkpt_shape: [2, 3]")
    data, lines = _read(folder)
    assert lines == []
    _check(data)
    assert data.notes["lines with keypoints: only their boxes are kept"] == 1


def test_fractions_are_of_the_image_after_exif_rotation(folder):
    exif = Image.Exif()
    exif[274] = 8
    _image(folder / "images/p.jpg", height=100, width=50, exif=exif)
    _write(folder / "labels/p.txt", LINE)
    _check(_read(folder, classes=["a", "b"])[0])


MISTAKES = [
    ("dog 0.5 0.5 1 1", "'dog' is not a number; expected class cx cy w h"),
    ("0 0.5 0.5 1", "has 4 numbers; expected 5 (class cx cy w h), or a class and a polygon of 3 points or more"),
    ("0 0.5 0.5 1 1 0.9", "has 6 numbers; expected 5 (class cx cy w h), or a class and a polygon of 3 points or more"),
    ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "has 8 numbers; expected 5 (class cx cy w h), or a class and a polygon of 3 points or more"),
    ("2 0.5 0.5 1 1", "class 2 is not in names, which has 0 to 1"),
    ("-1 0.5 0.5 1 1", "class -1 is not in names, which has 0 to 1"),
    ("0.5 0.5 0.5 1 1", "class 0.5 is not in names, which has 0 to 1"),
    ("0 50 25 40 10", "50 lies outside 0..1: expected fractions of the image, not pixels"),
    ("0 0.5 0.5 nan 1", "nan lies outside 0..1: expected fractions of the image, not pixels"),
    ("0 0.5 0.5 -0.005 1", "width -0.005 and height 1 must not be negative"),
]


@pytest.mark.parametrize(("text", "line"), MISTAKES)
def test_mistakes_name_file_and_line(folder, text, line):
    for name, content in (("bad", f"{LINE}\n{text}\n"), ("good", LINE)):
        _image(folder / "images" / f"{name}.jpg")
        _write(folder / "labels" / f"{name}.txt", content)
    data, lines = _read(folder, classes=["a", "b"])
    assert lines == [f"{folder}/labels/bad.txt:3: {line}"]
    assert _found(data) == {"train": ["good.jpg"]}


def test_a_class_and_numbers_may_be_written_as_floats(folder):
    _image(folder / "p.jpg")
    _write(folder / "p.txt", "1.0 3e-1 .5 0.40 0.2 \n")
    _check(_read(folder, classes=["a", "b"])[0])


def test_damaged_images_and_texts(folder):
    for name in ("a", "b", "c"):
        _image(folder / f"{name}.jpg")
        _write(folder / f"{name}.txt", LINE)
    (folder / "a.jpg").write_text("no image")
    (folder / "b.txt").write_bytes(b"1 0.3\n\xff\n")
    data, lines = _read(folder, classes=["a", "b"])
    assert lines == [f"{folder}/a.jpg: is not a readable image", f"{folder}/b.txt:2: is not UTF-8 text"]
    assert _found(data) == {"train": ["c.jpg"]}


WRONG_YAML = [
    ("train: [images\nnames: [a]", ":2: is not YAML (expected ',' or ']', but got ':')"),
    ("- a", ": is not a data.yaml; expected keys such as train, val and names"),
    ("names: [a, b]", ": has none of the keys train, val and test"),
    ("names: a\ntrain: images", ":1: names must be a list, or a map from numbers to names"),
    ("train: images\nnames:\n  a: 0", ":3: names must be a list, or a map from numbers to names"),
    ("train: images\nnc: 3\nnames: [a, b]", ":2: nc is 3, but there are 2 names"),
    ("names: [a, b]\ntrain: {a: 1}", ":2: train must be a folder, a text file or a list of them"),
    ("names: [a, b]\ntrain: empty", ":2: train has no images in {folder}/empty"),
    ("names: [a, b]\ntrain: gone/x",
     ":2: train is gone/x, but there is no {folder}/gone/x; fix it, or name the folder of the data set with --images"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), WRONG_YAML)
def test_wrong_data_yaml(folder, text, line):
    _image(folder / "images/p.jpg")
    (folder / "empty").mkdir()
    _write(folder / "data.yaml", text)
    with pytest.raises(UserError) as caught:
        _read(folder)
    assert str(caught.value) == f"{folder}/data.yaml{line.replace('{folder}', str(folder))}"


def test_class_names_are_required_and_must_agree(folder):
    _image(folder / "p.jpg")
    _write(folder / "p.txt", LINE)
    with pytest.raises(UserError, match=r"has no class names; add names to a data\.yaml, or --classes a,b,c"):
        _read(folder)
    _write(folder / "classes.txt", "a\nb\n")
    with pytest.raises(UserError, match=r"--classes b,a: the data set has names of its own \(a, b\)"):
        _read(folder, classes=["b", "a"])


def test_label_lines_by_hand():
    assert label_line(2, (10, 20, 40, 10), (50, 100)) == ("2 0.30000000 0.50000000 0.40000000 0.20000000", False)
    assert label_line(0, (0, 0, 100, 50), (50, 100)) == ("0 0.50000000 0.50000000 1.00000000 1.00000000", False)
    assert label_line(0, (95, 0, 20, 50), (50, 100)) == ("0 0.97500000 0.50000000 0.05000000 1.00000000", True)
    assert label_line(0, (101, 0, 20, 50), (50, 100)) == (None, False)
    assert label_line(0, (5, 5, 0, 5), (50, 100)) == (None, False)


def test_keys_of_a_data_yaml():
    text = data_yaml_text(["é"], {"val2017": "images/val2017", "train": "images/train", "trainval": "images/trainval"})
    assert text == "train: images/train\nval: images/val2017\ntrainval: images/trainval\nnc: 1\nnames:\n  0: é\n"


def test_the_size_of_a_file_of_another_format_is_not_looked_for(tmp_path):
    """Only the formats that are read; Pillow knows sixty others."""
    from ttfnet_tf.formats.source_files import image_size

    Image.new("RGB", (40, 30)).save(tmp_path / "a.png", "JPEG2000")
    with pytest.raises(UserError, match=r"a\.png: is not a readable image$"):
        image_size(tmp_path / "a.png")
    Image.new("RGB", (40, 30)).save(tmp_path / "b.png", "TIFF", tiffinfo={274: 6})
    assert image_size(tmp_path / "b.png") == (40, 30)
