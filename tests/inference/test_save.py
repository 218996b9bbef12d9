"""What `ttfnet predict --save`, `--classes` and `--crops` write, on detections known by hand."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf import cli
from ttfnet_tf.cli.options import class_list
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference import drawings
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.image_files import find_images
from ttfnet_tf.inference.predict_images import Saving, predict_images
from ttfnet_tf.inference.save.crops import Crops, _folder_names
from ttfnet_tf.inference.save.documents import common_folder
from ttfnet_tf.inference.save.formats import FORMATS

NAMES, IDS = ["cat", "dog"], [3, 8]
SIZE = (40, 60)
CAT, DOG = (10.0, 4.0, 29.0, 13.0), (50.0, 30.0, 59.0, 39.0)  # 20 x 10 and 10 x 10 pixels, inclusive corners


def _found(count):
    return Detections(
        np.array([CAT, DOG][:count], np.float32).reshape(-1, 4),
        np.array([0.75, 0.5][:count]),
        np.array(IDS[:count]),
        tuple(NAMES[:count]),
        SIZE,
    )


def _detect(images, batch_size):
    """As many detections as the first pixel's red says."""
    return [_found(int(image[0, 0, 0])) for image in images]


@pytest.fixture
def photos(tmp_path):
    """Two folders with images of the same name."""
    files = []
    for folder, name, count in (("a", "x.png", 2), ("a", "empty.png", 0), ("b", "x.png", 1), ("b", "x.bmp", 1)):
        path = tmp_path / "photos" / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(count).integers(0, 255, (*SIZE, 3), np.uint8)
        pixels[0, 0, 0] = count
        Image.fromarray(pixels).save(path)
        files.append(path)
    return files


def _predict(files, folder, *formats, crops=None, detect=_detect):
    return predict_images(
        detect, files, folder, colour_of={3: 0, 8: 1}, class_names=NAMES, about={"run": "r"}, saving=Saving(formats, crops), batch_size=2
    )


def _names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_every_format_beside_the_drawings(photos, tmp_path):
    out = tmp_path / "out"
    assert _predict(photos, out, *FORMATS) == (4, 4)
    suffixes = ("coco.json", "csv", "cvat.xml", "fiftyone.json", "json", "jsonl", "labelstudio.json")
    fixed = [f"detections.{suffix}" for suffix in suffixes]
    labels = ["labels/classes.txt", "labels/empty.txt", "labels/x.txt", "labels/x_2.txt", "labels/x_3.txt"]
    assert _names(out) == sorted([*fixed, *labels, "empty.png", "x.bmp", "x.png", "x_2.png"])
    rows = list(csv.DictReader((out / "detections.csv").read_text().splitlines()))
    assert rows[1] == {
        **{"file": str(photos[0]), "x1": "50.00", "y1": "30.00", "x2": "59.00", "y2": "39.00"},
        **{"score": "0.5000", "class_id": "8", "class_name": "dog", "width": "60", "height": "40"},
    }
    assert [row["file"] for row in rows] == [str(photos[0])] * 2 + [str(photos[2]), str(photos[3])]
    lines = [json.loads(line) for line in (out / "detections.jsonl").read_text().splitlines()]
    record = json.loads((out / "detections.json").read_text())
    assert lines == [{key: image[key] for key in ("file", "height", "width", "detections")} for image in record["images"]]
    assert [(image["drawing"], image["labels"]) for image in record["images"]] == [
        ("x.png", "labels/x.txt"),
        ("empty.png", "labels/empty.txt"),
        ("x_2.png", "labels/x_2.txt"),
        ("x.bmp", "labels/x_3.txt"),
    ]
    # The cat: 20 x 10 pixels from (10, 4), so its centre is (20, 9) of 60 x 40.
    assert (out / "labels/x_2.txt").read_text() == f"0 {20 / 60:.8f} {9 / 40:.8f} {20 / 60:.8f} {10 / 40:.8f}\n"
    assert (out / "labels/empty.txt").read_text() == ""
    assert (out / "labels/classes.txt").read_text() == "cat\ndog\n"
    coco = json.loads((out / "detections.coco.json").read_text())
    assert [image["file_name"] for image in coco["images"]] == ["a/x.png", "a/empty.png", "b/x.png", "b/x.bmp"]
    assert coco["info"] == {"images": str(tmp_path / "photos")}
    assert coco["annotations"][1] == {
        **{"id": 2, "image_id": 1, "category_id": 8, "bbox": [50.0, 30.0, 10.0, 10.0], "area": 100.0, "iscrowd": 0, "score": 0.5}
    }


def test_our_own_readers_read_what_was_written(photos, tmp_path):
    """YOLO's labels become COCO, and COCO's file becomes the same labels."""
    out, images = tmp_path / "out", photos[0].parent
    _predict(photos[:2], out, "coco", "yolo", "none")

    def convert(source, name, *options):
        assert cli.main(["data", "convert", str(source), str(tmp_path / name), *options, "--images", str(images)]) == 0
        return tmp_path / name

    content = json.loads((convert(out / "labels", "back", "--from", "yolo") / "annotations/train.json").read_text())
    name_of = {one["id"]: one["name"] for one in content["categories"]}
    file_of = {one["id"]: Path(one["file_name"]).name for one in content["images"]}
    assert sorted(file_of.values()) == ["empty.png", "x.png"]
    found = [(file_of[one["image_id"]], name_of[one["category_id"]], np.round(one["bbox"], 3).tolist()) for one in content["annotations"]]
    assert found == [("x.png", "cat", [10, 4, 20, 10]), ("x.png", "dog", [50, 30, 10, 10])]
    labels = convert(out / "detections.coco.json", "labels", "--from", "coco", "--to", "yolo") / "labels"
    for name in ("x.txt", "empty.txt"):
        assert next(labels.rglob(name)).read_text() == (out / "labels" / name).read_text()


def test_pycocotools_reads_what_was_written(photos, tmp_path):
    from pycocotools.coco import COCO

    _predict(photos, tmp_path / "out", "coco", "none")
    file = tmp_path / "out/detections.coco.json"
    data = COCO(str(file))
    assert [data.imgs[number]["file_name"] for number in data.getImgIds(catIds=[8])] == ["a/x.png"]
    assert [one["score"] for one in data.loadAnns(data.getAnnIds(catIds=[3]))] == [0.75] * 3


def test_supervision_reads_what_was_written(photos, tmp_path):
    supervision = pytest.importorskip("supervision", exc_type=ImportError)
    _predict(photos, tmp_path / "out", "coco", "none")
    file = tmp_path / "out/detections.coco.json"
    read = supervision.DetectionDataset.from_coco(images_directory_path=str(tmp_path / "photos"), annotations_path=str(file))
    boxes = {Path(name).relative_to(tmp_path / "photos").as_posix(): one.xyxy.tolist() for name, one in read.annotations.items()}
    assert boxes["a/x.png"] == [[10, 4, 30, 14], [50, 30, 60, 40]]  # edges, where ours are the last pixels


def test_none_draws_nothing(photos, tmp_path):
    _predict(photos, tmp_path / "out", "none")
    assert _names(tmp_path / "out") == ["detections.json"]
    _predict(photos, tmp_path / "out", "none", "csv")  # an earlier call without drawings is known as one
    assert _names(tmp_path / "out") == ["detections.csv", "detections.json"]


def test_a_second_call_replaces_its_own_files_and_keeps_those_of_others(photos, tmp_path):
    out, crops = tmp_path / "out", tmp_path / "crops"
    (out / "labels").mkdir(parents=True)
    (out / "labels/x.txt").write_text("mine")
    (crops / "cat").mkdir(parents=True)
    (crops / "cat/x_1.png").write_text("mine")
    for _ in range(2):
        _predict(photos[:3], out, *FORMATS, crops=crops)
        assert sorted(path.name for path in (out / "labels").iterdir()) == ["classes.txt", "empty.txt", "x.txt", "x_2.txt", "x_3.txt"]
        assert _names(crops) == ["cat/x_1.png", "cat/x_1_2.png", "cat/x_1_3.png", "crops.jsonl", "dog/x_2.png"]
    assert (out / "labels/x.txt").read_text() == (crops / "cat/x_1.png").read_text() == "mine"
    _predict(photos[1:2], out, "none", crops=crops)  # the others are those of earlier calls
    assert "labels/x_2.txt" in json.loads((out / "detections.json").read_text())["earlier_drawings"]
    lines = [json.loads(line) for line in (crops / "crops.jsonl").read_text().splitlines()]
    assert lines == [{"crop": name, "earlier": True} for name in ("cat/x_1_2.png", "cat/x_1_3.png", "dog/x_2.png")]
    assert {"x_1_2.png", "x_1_3.png"} == drawings.outputs_in(crops / "cat")


@pytest.mark.parametrize("name", ["detections.csv", "detections.jsonl", "detections.coco.json", "labels/classes.txt"])
def test_files_of_others_are_refused_before_any_work(photos, tmp_path, name):
    (tmp_path / "out" / "labels").mkdir(parents=True)
    (tmp_path / "out" / name).write_text("mine")
    with pytest.raises(UserError, match="exists and was not written by ttfnet predict; name another folder with --out"):
        _predict(photos, tmp_path / "out", *FORMATS, detect=pytest.fail)
    assert _names(tmp_path / "out") == [name]


def test_crops_are_the_pixels_of_the_boxes(photos, tmp_path):
    _predict(photos[:3], tmp_path / "out", "none", crops=tmp_path / "crops")
    pixels = np.asarray(Image.open(photos[0]))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "crops/cat/x_1.png")), pixels[4:14, 10:30])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "crops/dog/x_2.png")), pixels[30:40, 50:60])
    lines = [json.loads(line) for line in (tmp_path / "crops/crops.jsonl").read_text().splitlines()]
    assert [line["crop"] for line in lines] == ["cat/x_1.png", "dog/x_2.png", "cat/x_1_2.png"]
    assert lines[1] == {
        **{"crop": "dog/x_2.png", "file": str(photos[0])},
        **{"box": list(DOG), "score": 0.5, "class_id": 8, "class_name": "dog"},
    }


@pytest.mark.parametrize(
    ("box", "shape"),
    [((-5, -5, 2, 3), (4, 3)), ((58, 38, 90, 90), (2, 2)), ((7.4, 3.6, 7.4, 3.6), (1, 1)), ((-9, 0, -3, 5), None), ((70, 0, 80, 5), None)],
)
def test_a_crop_ends_at_the_border(tmp_path, box, shape):
    crops = Crops(tmp_path, NAMES, IDS)
    crops.add(np.zeros((*SIZE, 3), np.uint8), "x.jpg", [{"box": box, "score": 0.5, "class_id": 3, "class_name": "cat"}], "x.jpg")
    crops.finish()
    assert [np.asarray(Image.open(path)).shape[:2] for path in tmp_path.glob("cat/*.jpg")] == ([shape] if shape else [])


def test_classes_whose_names_are_no_folders():
    assert _folder_names(["a/b", "a:b", "..", "Cat", "cat", "x" * 300], [1, 2, 3, 4, 5, 6]) == [
        "a_b",
        "a_b_2",
        "class_3",
        "Cat",
        "cat_5",
        "x" * 60,
    ]


def test_results_are_on_the_disk_while_the_call_runs(photos, tmp_path, monkeypatch):
    """Seen from the second batch, when the first is done; then the call is killed, and the same command completes it."""
    out, crops, seen = tmp_path / "out", tmp_path / "crops", []

    def detect(images, batch_size):
        if (out / "detections.csv").exists() and (out / "detections.csv").read_text().count("\n") > 1:
            seen.extend(_names(out))
            assert (out / "detections.csv").read_text().count("\n") == 3
            assert (out / "detections.jsonl").read_text().count("\n") == 2
            assert json.loads((out / "detections.json").read_text())["unfinished"]
            assert len(json.loads((out / "detections.coco.json").read_text())["images"]) >= 1
            raise SystemExit(9)
        return _detect(images, batch_size)

    with monkeypatch.context() as patch:
        patch.setattr("ttfnet_tf.inference.predict_images._Results.finish", lambda *_: None)  # as a kill has it
        with pytest.raises(SystemExit):
            _predict(photos, out, *FORMATS, crops=crops, detect=detect)
    assert {"labels/x.txt", "x.png", ".drawings.jsonl"} <= set(seen)
    (crops / "crops.jsonl").write_text((crops / "crops.jsonl").read_text() + '{"crop": "cat/ha')
    _predict(photos, out, *FORMATS, crops=crops)
    _predict(photos, tmp_path / "straight", *FORMATS, crops=tmp_path / "straight_crops")
    for one, other in ((out, tmp_path / "straight"), (crops, tmp_path / "straight_crops")):
        assert {name: (one / name).read_bytes() for name in _names(one)} == {name: (other / name).read_bytes() for name in _names(other)}


def test_no_output_is_taken_as_a_source(photos, tmp_path):
    root = tmp_path / "photos"
    _predict(photos, root / "a", *FORMATS, crops=root / "a" / "crops")
    for name, line in (("film", '{"frame": 0, "time": 0.0, "detections": []}\n'), ("other", "{}\n"), ("empty", "")):
        (root / f"{name}.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(500))
        (root / f"{name}.jsonl").write_text(line)
    found = find_images([f"{root}/**/*"])
    assert sorted(map(str, found.images)) == sorted(map(str, photos))
    assert "1 annotated video" in found.notes[0]
    assert "8 drawings" in found.notes[0]  # four, and four crops
    assert [path.name for path in find_images([f"{root}/*"]).videos] == ["empty.mp4", "other.mp4"]


def test_names_of_classes_on_the_command_line():
    assert class_list(["a, b", '"c,d",e', "f g"]) == ("a", "b", "c,d", "e", "f g")
    assert class_list([]) == ()


def test_the_folder_of_all_images(tmp_path):
    assert common_folder([tmp_path / "a/x.png", tmp_path / "a/b/y.png"]) == str(tmp_path / "a")
    assert common_folder([Path("x.png")]) == str(Path.cwd())
    assert common_folder([tmp_path / "x.png", "s3://bucket/y.png"]) is None
