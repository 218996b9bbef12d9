"""Conversions end to end: files in OUT, round trips, refused sources."""

import json
import time

import numpy as np
import pytest
import yaml
from PIL import Image

from ttfnet_tf import cli, progress
from ttfnet_tf.boxes import xyxy_to_xywh
from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.coco_metrics import coco_metrics
from ttfnet_tf.formats import output_folder
from ttfnet_tf.formats.convert import READERS, convert
from ttfnet_tf.formats.detect_format import FORMATS


def _image(path, height, width):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (width, height)).save(path)


def _voc(path, height, width, objects):
    """objects: (name, xmin, ymin, xmax, ymax)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    boxes = "".join(
        f"<object><name>{name}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>\n"
        for name, a, b, c, d in objects
    )
    size = f"<size><width>{width}</width><height>{height}</height></size>"
    path.write_text(f"<annotation><filename>{path.stem}.png</filename>{size}\n{boxes}</annotation>\n")


def _files(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def _load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def _random_corners(rng, height, width):
    """Inclusive 1-based corners; among them the whole image, single pixels in the corners, and boxes along each border."""
    fixed = [(1, 1, width, height), (1, 1, 1, 1), (width, height, width, height), (1, 1, 1, height), (1, height, width, height)]
    xs, ys = np.sort(rng.integers(1, width + 1, (40, 2))), np.sort(rng.integers(1, height + 1, (40, 2)))
    return fixed + [(int(x1), int(y1), int(x2), int(y2)) for (x1, x2), (y1, y2) in zip(xs, ys)]


def test_every_format_has_a_reader():
    assert tuple(READERS) == FORMATS


def test_voc_to_coco_to_yolo_to_coco_keeps_every_box(tmp_path):
    rng = np.random.default_rng(3)
    sizes = {"000005": (375, 500), "000012": (333, 499), "002007": (1, 1), "009999": (1080, 1921), "009998": (3000, 4007)}
    corners = {stem: _random_corners(rng, *size) for stem, size in sizes.items()}
    for stem, size in sizes.items():
        _image(tmp_path / "voc" / f"{stem}.png", *size)
        _voc(tmp_path / "voc" / f"{stem}.xml", *size, [(f"c{n % 3}", *box) for n, box in enumerate(corners[stem])])
    convert(tmp_path / "voc", tmp_path / "a")
    convert(tmp_path / "a", tmp_path / "b", images=tmp_path / "voc")
    convert(tmp_path / "b", tmp_path / "c")
    back = _load(tmp_path / "c/annotations/train.json")

    assert {image["id"]: (image["height"], image["width"]) for image in back["images"]} == {int(s): size for s, size in sizes.items()}
    assert [(c["id"], c["name"]) for c in back["categories"]] == [(1, "c0"), (2, "c1"), (3, "c2")]
    for stem, boxes in corners.items():
        found = [a for a in back["annotations"] if a["image_id"] == int(stem)]
        assert [a["category_id"] for a in found] == [n % 3 + 1 for n in range(len(boxes))]
        # By hand: the pixels of VOC, counted from 0 as `boxes` does.
        expected = xyxy_to_xywh(np.array(boxes) - 1)
        np.testing.assert_allclose([a["bbox"] for a in found], expected, atol=1e-3, rtol=0)


def test_yolo_with_six_decimals_round_trips(tmp_path):
    """Boxes with fractions, written with six decimals as other programs do, come back as the same fractions."""
    rng = np.random.default_rng(5)
    low = rng.uniform(0, 0.9, (200, 2))
    high = low + rng.uniform(0.001, 1, (200, 2)) * (1 - low)
    fractions = np.round(np.concatenate([(low + high) / 2, high - low], axis=1), 6)
    _image(tmp_path / "y/images/a.png", 1079, 1923)
    (tmp_path / "y/labels").mkdir()
    (tmp_path / "y/labels/a.txt").write_text("".join(f"1 {a:.6f} {b:.6f} {c:.6f} {d:.6f}\n" for a, b, c, d in fractions))
    convert(tmp_path / "y", tmp_path / "coco", classes=["x", "y"])
    convert(tmp_path / "coco", tmp_path / "back")
    lines = [line.split() for line in (tmp_path / "back/labels/train/a.txt").read_text().splitlines()]
    assert {line[0] for line in lines} == {"1"}
    np.testing.assert_allclose(np.array(lines, float)[:, 1:], fractions, atol=1e-7, rtol=0)


def test_ids_with_gaps_come_back_from_yolo(tmp_path, write_coco):
    annotations, images = write_coco(
        {7: (40, 60), 9: (32, 32), 800: (64, 64)}, [(7, 8, [1, 2, 10, 20]), (800, 3, [0, 0, 64, 64])], {3: "cat", 8: "dog"}
    )
    convert(annotations, tmp_path / "yolo", images=images, split="val")
    (tmp_path / "yolo/images/val/7.png").rename(tmp_path / "yolo/images/val/seven.png")  # not a number: the record numbers the others
    (tmp_path / "yolo/labels/val/7.txt").rename(tmp_path / "yolo/labels/val/seven.txt")
    convert(tmp_path / "yolo", tmp_path / "coco")
    content = _load(tmp_path / "coco/annotations/val.json")
    assert {image["file_name"]: image["id"] for image in content["images"]} == {"9.png": 9, "800.png": 800, "seven.png": 801}
    assert [(c["id"], c["name"]) for c in content["categories"]] == [(3, "cat"), (8, "dog")]
    assert [(a["image_id"], a["category_id"], a["bbox"], a["area"]) for a in content["annotations"]] == [
        (800, 3, [0, 0, 64, 64], 4096),
        (801, 8, [1, 2, 10, 20], 200),
    ]


def test_the_result_is_read_by_the_loader(tmp_path):
    _image(tmp_path / "voc/a.png", 48, 64)
    _voc(tmp_path / "voc/a.xml", 48, 64, [("dog", 3, 5, 12, 44), ("cat", 1, 1, 64, 48)])
    _image(tmp_path / "voc/b.png", 48, 64)
    _voc(tmp_path / "voc/b.xml", 48, 64, [])
    report = convert(tmp_path / "voc", tmp_path / "out", split="val")
    assert report.files == [tmp_path / "out/annotations/val.json"]
    assert f"data.val.images={tmp_path / 'voc'}" in report.lines[-1]
    split = load_coco(report.files[0], tmp_path / "voc", training=False)
    assert split.class_names == ["cat", "dog"]
    assert [image.path.is_file() for image in split.images] == [True, True]
    np.testing.assert_array_equal(split.images[0].boxes, [[2, 4, 11, 43], [0, 0, 63, 47]])
    np.testing.assert_array_equal(split.images[0].labels, [1, 0])
    assert len(split.images[1].boxes) == 0
    training = load_coco(report.files[0], tmp_path / "voc", empty_images="keep", training=True)
    assert [image.id for image in training.images] == [1, 2]


def test_coco_to_yolo_writes_files_by_hand(tmp_path, write_coco):
    annotations, images = write_coco(
        {1: (50, 100), 2: (50, 100)},
        [
            (1, 9, [10, 20, 40, 10]),
            (1, 4, [-10, 0, 20, 10]),  # its centre lies on the border: YOLO can hold it
            (1, 4, [-50, 0, 200, 10]),  # twice as wide as the image
            (1, 4, [90, 40, 40, 40]),  # its centre lies outside
            (1, 4, [200, 0, 10, 10]),
            (1, 4, [5, 5, 0, 10]),
            (1, 4, [5, 5, 5, 5], {"iscrowd": 1}),
            (1, 4, [5, 5, 5, 5], {"ignore": 1}),
        ],
        {9: "a: b", 4: "no"},
    )
    report = convert(annotations, tmp_path / "out", images=images, split="val2017")
    assert (tmp_path / "out/labels/val2017/1.txt").read_text().splitlines() == [
        "1 0.30000000 0.50000000 0.40000000 0.20000000",
        "0 0.00000000 0.10000000 0.20000000 0.20000000",
        "0 0.50000000 0.10000000 1.00000000 0.20000000",
        "0 0.95000000 0.90000000 0.10000000 0.20000000",
    ]
    assert (tmp_path / "out/labels/val2017/2.txt").read_text() == ""
    assert yaml.safe_load((tmp_path / "out/data.yaml").read_text()) == {
        "val": "images/val2017",
        "nc": 2,
        "names": {0: "no", 1: "a: b"},
    }
    link = tmp_path / "out/images/val2017/1.png"
    assert link.is_symlink()
    assert link.read_bytes() == (images / "1.png").read_bytes()
    notes = "\n".join(report.lines)
    for line in (
        "2 boxes are clipped",
        "2 boxes without area inside",
        "2 boxes marked crowd (as difficult ones of VOC) or ignore are dropped",
        "4 boxes reach beyond their image",
    ):
        assert line in notes
    convert(annotations, tmp_path / "copied", images=images, copy=True)
    assert not (tmp_path / "copied/images/data/1.png").is_symlink()
    assert (tmp_path / "copied/images/data/1.png").is_file()


def test_coco_without_images_gives_labels_only(tmp_path, write_coco):
    annotations, images = write_coco({1: (50, 100)}, [(1, 4, [0, 0, 50, 50])], {4: "a"})
    (images / "1.png").unlink()
    report = convert(annotations, tmp_path / "out")
    assert "no image was found" in report.lines[-1]
    assert (tmp_path / "out/labels/data/1.txt").is_file()


def test_images_with_one_stem_cannot_become_yolo(tmp_path):
    for name in ("a.jpg", "a.png"):
        _image(tmp_path / "c" / name, 8, 8)
    (tmp_path / "c/boxes.csv").write_text("filename,class,xmin,ymin,xmax,ymax\na.jpg,x,0,0,4,4\na.png,x,0,0,4,4\n")
    with pytest.raises(UserError, match=r"a\.png: would share the label file labels/train/a\.txt"):
        convert(tmp_path / "c/boxes.csv", tmp_path / "out", to_format="yolo")
    assert not (tmp_path / "out").exists()


def test_file_names_cannot_leave_the_folder(tmp_path, write_coco):
    annotations, images = write_coco({1: (8, 8), 2: (8, 8)}, [(1, 4, [0, 0, 4, 4])], {4: "a"})
    content = _load(annotations)
    content["images"][0]["file_name"] = "../data/1.png"
    content["images"][1]["file_name"] = str(images / "2.png")
    annotations.write_text(json.dumps(content))
    before = sorted(tmp_path.rglob("*"))
    convert(annotations, tmp_path / "out", images=images)
    new = [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*")) if path not in before and not path.is_dir()]
    names = ["converted.json", "data.yaml", "images/data/2.png", "images/data/data/1.png", "labels/data/2.txt", "labels/data/data/1.txt"]
    assert new == [f"out/{name}" for name in names]


def test_difficult_objects_do_not_count_in_an_evaluation(tmp_path):
    """A detection of the other object alone reaches AP 1."""
    _image(tmp_path / "voc/a.png", 100, 100)
    _voc(tmp_path / "voc/a.xml", 100, 100, [("dog", 1, 1, 20, 20), ("dog", 51, 51, 80, 80)])
    text = (tmp_path / "voc/a.xml").read_text()
    (tmp_path / "voc/a.xml").write_text(
        text.replace("<name>dog</name><bndbox><xmin>51", "<name>dog</name><difficult>1</difficult><bndbox><xmin>51")
    )
    report = convert(tmp_path / "voc", tmp_path / "out")
    split = load_coco(report.files[0], tmp_path / "voc", training=False)
    np.testing.assert_array_equal(split.images[0].boxes, [[0, 0, 19, 19]])
    assert split.dropped == {"crowd boxes": 1}
    detections = [{"image_id": 1, "category_id": 1, "bbox": box, "score": s} for box, s in (([0, 0, 20, 20], 0.5), ([50, 50, 30, 30], 0.9))]
    assert coco_metrics(split, detections)[0]["AP"] == pytest.approx(1.0)
    convert(report.files[0], tmp_path / "yolo", images=tmp_path / "voc")
    assert len((tmp_path / "yolo/labels/train/a.txt").read_text().splitlines()) == 1


@pytest.fixture
def small(tmp_path):
    """A folder with two images, the second of which has two mistakes."""
    _image(tmp_path / "voc/a.png", 48, 64)
    _voc(tmp_path / "voc/a.xml", 48, 64, [("dog", 3, 5, 12, 44)])
    _voc(tmp_path / "voc/b.xml", 48, 64, [("dog", 3, 5, 2, 44), ("dog", "x", 5, 2, 44)])
    return tmp_path / "voc"


def test_mistakes_are_counted_and_can_be_skipped(tmp_path, small, capsys):
    out = tmp_path / "out"
    assert cli.main(["data", "convert", str(small), str(out)]) == 2
    assert capsys.readouterr().err == (
        f"ttfnet: {small}/b.xml:2: xmax 2 of object 'dog' lies before xmin 3 (1 more problem in this data set); "
        "fix it, or add --skip-broken to skip such images\n"
    )
    assert not out.exists()
    assert cli.main(["data", "convert", str(small), str(out), "--skip-broken"]) == 0
    printed = capsys.readouterr().out
    assert "1 images (0 without a box), 1 boxes" in printed
    assert f"skipped images with 2 mistakes, listed in {out}/skipped.txt; the first: {small}/b.xml:2" in printed
    assert (out / "skipped.txt").read_text() == (
        f"{small}/b.xml:2: xmax 2 of object 'dog' lies before xmin 3\n{small}/b.xml:3: xmin of object 'dog' is 'x', not a number\n"
    )
    assert [image["file_name"] for image in _load(out / "annotations/train.json")["images"]] == ["a.png"]
    (small / "a.xml").unlink()
    with pytest.raises(UserError, match=r"b\.xml:2: .*; no image is left to convert"):
        convert(small, tmp_path / "other", skip_broken=True)


def test_only_own_results_are_replaced(tmp_path, small):
    out = tmp_path / "out"
    before = _files(small)
    convert(small, out, skip_broken=True, to_format="yolo")
    with pytest.raises(UserError, match=r"out: holds a converted data set already; name another folder or add --overwrite"):
        convert(small, out, skip_broken=True)
    (small / "b.xml").unlink()
    convert(small, out, overwrite=True)
    assert sorted(_files(out)) == ["annotations/train.json", "converted.json"]
    (out / "annotations/mine.json").write_text("{}")
    kept = _files(out)
    with pytest.raises(UserError, match=r"out: holds other files \(annotations/mine\.json\); name a new or empty folder"):
        convert(small, out, overwrite=True)
    assert _files(out) == kept
    assert _files(small) == {name: content for name, content in before.items() if name != "b.xml"}
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: is a file"):
        convert(small, tmp_path / "file")


def test_an_interrupted_conversion_can_be_repeated(tmp_path, small, monkeypatch):
    (small / "b.xml").unlink()

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(output_folder, "place_image", stop)
        with pytest.raises(KeyboardInterrupt):
            convert(small, tmp_path / "out", to_format="yolo")
    convert(small, tmp_path / "out", to_format="yolo", overwrite=True)
    assert (tmp_path / "out/images/train/a.png").is_file()


def test_a_result_cannot_be_its_own_source(tmp_path, small):
    (small / "b.xml").unlink()
    convert(small, tmp_path / "out", to_format="yolo")
    with pytest.raises(UserError, match="which is the source"):
        convert(tmp_path / "out", tmp_path / "out", overwrite=True)
    assert (tmp_path / "out/labels/train/a.txt").read_text() != ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["{tmp}/gone"], "{tmp}/gone: no such file or folder"),
        (["{tmp}"], "{tmp}: looks like no known format; name its format with --from " + "|".join(FORMATS)),
        (["{tmp}/notes.md"], "{tmp}/notes.md: is of an unknown format; name its format with --from " + "|".join(FORMATS)),
        (["{tmp}/both"], "{tmp}/both: looks like voc and yolo; name its format with --from " + "|".join(FORMATS)),
        (["{tmp}/tables"], "{tmp}/tables: holds CSV files; name one of them as SOURCE, e.g. {tmp}/tables/a.csv"),
        (["{tmp}/voc", "--images", "{tmp}/gone"], "--images {tmp}/gone: is not a folder"),
        (["{tmp}/voc", "--classes", "a,a"], "--classes a,a: must be different names, separated by commas"),
        (["{tmp}/voc", "--split", "a/b"], "--split a/b: must be a plain name such as train"),
        (["{tmp}/voc", "--from", "csv"], "{tmp}/voc: holds no table for train, val or test; name one CSV file as SOURCE"),
        (["{tmp}/voc", "--from", "coco"], "{tmp}/voc: holds no JSON file"),
        (["{tmp}/voc", "--from", "yolo", "--classes", "a"],
         "{tmp}/voc: split 'train' has 1 images and no label file; expected such as {tmp}/voc/a.txt"),
        (["{tmp}/coco.json", "--to", "coco"], "{tmp}/coco.json: is coco already; choose another format with --to"),
        (["{tmp}/coco.json"], "{tmp}/coco.json: is not JSON (Expecting value at line 1); name a COCO instances JSON"),
        (["{tmp}/empty", "--from", "voc"], "{tmp}/empty: holds no XML file"),
        (["{tmp}/notes.md", "--from", "voc"], "{tmp}/notes.md: is not a folder; name the folder of VOC's XML files"),
        (["{tmp}/no_object"], "{tmp}/no_object: holds no object, so its classes are unknown; name them with --classes a,b,c"),
    ],
)  # fmt: skip
def test_wrong_arguments(tmp_path, small, capsys, arguments, line):
    (small / "b.xml").unlink()
    (tmp_path / "both/labels").mkdir(parents=True)
    _voc(tmp_path / "both/a.xml", 8, 8, [])
    _voc(tmp_path / "no_object/a.xml", 8, 8, [])
    (tmp_path / "empty").mkdir()
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/a.csv").write_text("a")
    (tmp_path / "coco.json").write_text("x")
    (tmp_path / "notes.md").write_text("x")
    if arguments == ["{tmp}"]:
        arguments = ["{tmp}/empty"]
        line = line.replace("{tmp}", "{tmp}/empty", 1)
    source, *options = [argument.replace("{tmp}", str(tmp_path)) for argument in arguments]
    assert cli.main(["data", "convert", source, str(tmp_path / "out"), *options]) == 2
    assert capsys.readouterr().err == f"ttfnet: {line.replace('{tmp}', str(tmp_path))}\n"
    assert not (tmp_path / "out").exists()


def test_coco_files_of_a_folder(tmp_path, write_coco):
    for folder in ("train", "valid"):
        annotations, images = write_coco({1: (50, 100)}, [(1, 4, [0, 0, 50, 50])], {4: "a"}, folder=folder)
        annotations.rename(images / "_annotations.coco.json")
    (tmp_path / "all").mkdir()
    for folder in ("train", "valid"):
        (tmp_path / folder).rename(tmp_path / "all" / folder)
    convert(tmp_path / "all", tmp_path / "out")
    content = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert (content["train"], content["val"]) == ("images/train", "images/val")
    assert (tmp_path / "out/images/val/1.png").resolve() == (tmp_path / "all/valid/1.png").resolve()
    convert(tmp_path / "all", tmp_path / "one", split="val")
    assert [path.name for path in (tmp_path / "one/labels").iterdir()] == ["val"]
    with pytest.raises(UserError, match=r"all: has no split 'test'; there are train, val"):
        convert(tmp_path / "all", tmp_path / "two", split="test")


@pytest.mark.slow
def test_twenty_thousand_boxes_take_a_second_or_two(tmp_path, capsys, monkeypatch):
    """VOC is the slowest of the formats; 500 images with 40 boxes each."""
    monkeypatch.setattr(progress, "BRIEF_SECONDS", 0.0)  # else they are done before progress is printed
    rng = np.random.default_rng(0)
    for number in range(500):
        _voc(tmp_path / "voc" / f"{number}.xml", 375, 500, [("a", *box) for box in _random_corners(rng, 375, 500)[5:]])
    start = time.process_time()
    assert cli.main(["data", "convert", str(tmp_path / "voc"), str(tmp_path / "out")]) == 0
    assert time.process_time() - start < 6
    captured = capsys.readouterr()
    assert "500 images (0 without a box), 20000 boxes" in captured.out
    assert "XML files 500/500" in captured.err
