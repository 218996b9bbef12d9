"""The labelling tools' own packages read what we write, and we read what they write; `make labelling` installs them.

Fifteen boxes of three classes in five images, with fractions of a pixel. A format or package that keeps fewer digits has its own tolerance.
"""

import importlib
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf.formats.convert import READERS, convert
from ttfnet_tf.formats.records import Problems
from ttfnet_tf.inference.save.documents import About
from ttfnet_tf.inference.save.labelling import cvat, fiftyone, label_studio
from ttfnet_tf.json_text import read_json

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # the warnings of others

NAMES = ["bolt", "nut", "washer"]
HEIGHT, WIDTH = 90, 160
SPLITS = {"train": ("0.png", "1.png", "2.png"), "val": ("3.png", "4.png")}
SINGLE = 1e-5  # float32, in pixels
SIX_DIGITS = 1e-3  # of a fraction of a side


def package(name):
    """The package, or the test is skipped."""
    try:
        return importlib.import_module(name)
    except ImportError:
        pytest.skip(f"needs {name}; make labelling")


@pytest.fixture(scope="module")
def boxes():
    """file name -> [(class name, x, y, width, height)], in pixels."""
    rng = np.random.default_rng(7)
    return {
        f"{number}.png": [
            (NAMES[(number + k) % 3], *(round(float(v), 2) for v in (rng.uniform(2, 90), rng.uniform(2, 50), *rng.uniform(8, 38, 2))))
            for k in range(3)
        ]
        for number in range(5)
    }


@pytest.fixture(scope="module")
def images(boxes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for name in boxes:
        Image.new("RGB", (WIDTH, HEIGHT), (40, 60, 80)).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def coco(boxes, images, tmp_path_factory):
    """A COCO folder of two splits, made without our writers."""
    folder = tmp_path_factory.mktemp("coco")
    (folder / "annotations").mkdir()
    for split, names in SPLITS.items():
        annotations = [
            {"id": 3 * i + k, "image_id": i, "category_id": NAMES.index(label) + 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for i, name in enumerate(names, start=1)
            for k, (label, *box) in enumerate(boxes[name])
        ]
        content = {
            "images": [{"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH} for i, name in enumerate(names, start=1)],
            "annotations": annotations,
            "categories": [{"id": k, "name": name} for k, name in enumerate(NAMES, start=1)],
        }
        (folder / f"annotations/{split}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def yolo(coco, images, tmp_path):
    """The same as our YOLO folder."""
    convert(coco, tmp_path / "yolo", from_format="coco", to_format="yolo", images=images, copy=True)
    return tmp_path / "yolo"


@pytest.fixture(scope="module")
def detections(boxes, images):
    """What a detector hands to the writers: inclusive corners, a score for each box."""
    entries = []
    for name, rows in boxes.items():
        found = [
            {
                "box": [x, y, x + width - 1, y + height - 1],
                "score": 0.9 - 0.1 * k,
                "class_id": NAMES.index(label) + 1,
                "class_name": label,
            }
            for k, (label, x, y, width, height) in enumerate(rows)
        ]
        entries.append({"file": str(images / name), "height": HEIGHT, "width": WIDTH, "detections": found})
    return entries, About(NAMES, [1, 2, 3], str(images))


def assert_same(found, expected, atol):
    """Both are {file name: [(class name, x, y, width, height)]}, rows in any order."""
    assert set(found) == set(expected)
    for name, rows in expected.items():
        one, other = sorted(found[name]), sorted(rows)
        assert [row[0] for row in one] == [row[0] for row in other], name
        np.testing.assert_allclose([row[1:] for row in one], [row[1:] for row in other], atol=atol, rtol=0, err_msg=name)


def of_coco(*files):
    """The boxes of COCO files."""
    found = {}
    for content in map(read_json, files):
        classes = {one["id"]: one["name"] for one in content["categories"]}
        names = {one["id"]: re.split("[/=]", one["file_name"])[-1] for one in content["images"]}
        found |= {name: [] for name in names.values()}
        for one in content["annotations"]:
            found[names[one["image_id"]]].append((classes[one["category_id"]], *one["bbox"]))
    return found


def of_ours(source, kind, **options):
    """The boxes that our reader finds."""
    problems = Problems()
    data = READERS[kind](source, problems=problems, **options)
    assert problems.lines == []
    names = {one.label: one.name for one in data.categories}
    return {one.path.name: [(names[box.label], *box.bbox) for box in one.boxes] for split in data.splits for one in split.images}


def of_datumaro(dataset):
    """The boxes of a Datumaro data set."""
    datumaro = package("datumaro")
    labels = dataset.categories()[datumaro.AnnotationType.label]
    return {
        f"{item.id.rpartition('/')[2]}.png": [
            (labels[one.label].name, *one.get_bbox()) for one in item.annotations if one.type == datumaro.AnnotationType.bbox
        ]
        for item in dataset
    }


@pytest.mark.parametrize(
    ("theirs", "ours", "atol"),
    [
        ("coco_instances", "coco", 1e-9),
        ("cvat", "cvat", 1e-9),
        ("voc", "voc", 1 + SINGLE),  # whole pixels from 1 in VOC, edges of the box in Datumaro
        ("yolo", "yolo", SIX_DIGITS),
        ("yolo_ultralytics", "yolo", SIX_DIGITS),
        ("kitti_detection", "kitti", 0.01),
    ],
)
def test_we_read_what_datumaro_writes(theirs, ours, atol, boxes, images, tmp_path):
    datumaro = package("datumaro")
    items = [
        datumaro.DatasetItem(
            id=name.removesuffix(".png"),
            subset="train" if name in SPLITS["train"] else "val",
            media=datumaro.Image.from_file(path=str(images / name)),
            annotations=[datumaro.Bbox(*box, label=NAMES.index(label)) for label, *box in rows],
        )
        for name, rows in boxes.items()
    ]
    dataset = datumaro.Dataset.from_iterable(items, categories=NAMES, media_type=datumaro.Image)
    dataset.export(str(tmp_path / "theirs"), theirs, save_media=True)
    assert_same(of_ours(tmp_path / "theirs", ours), boxes, atol)


def test_we_read_what_labelme_writes(boxes, images, tmp_path):
    labelme = package("labelme")
    for name, rows in boxes.items():
        shapes = [
            {
                "label": label,
                "points": [[x, y], [x + w, y + h]],
                "shape_type": "rectangle",
                "group_id": None,
                "flags": {},
                "description": "",
            }
            for label, x, y, w, h in rows
        ]
        labelme.LabelFile().save(str(tmp_path / name.replace(".png", ".json")), shapes, name, HEIGHT, WIDTH)
    assert_same(of_ours(tmp_path, "labelme", images=images), boxes, 1e-9)


@pytest.mark.parametrize(("ours", "theirs"), [("coco", "coco_instances"), ("yolo", "yolo")])
def test_datumaro_reads_our_data_sets(ours, theirs, boxes, images, yolo, tmp_path):
    datumaro, source = package("datumaro"), yolo
    if ours == "coco":
        source = tmp_path / "coco"
        convert(yolo, source, from_format="yolo", to_format="coco")
        for split in SPLITS:
            (source / "images").mkdir(exist_ok=True)
            (source / "images" / split).symlink_to(yolo / "images" / split)
            (source / f"annotations/{split}.json").rename(source / f"annotations/instances_{split}.json")
    assert_same(of_datumaro(datumaro.Dataset.import_from(str(source), theirs)), boxes, SINGLE)


def test_datumaro_reads_our_cvat_drafts(detections, boxes, images, tmp_path):
    datumaro = package("datumaro")
    (tmp_path / "annotations.xml").write_text(cvat(*detections))
    (tmp_path / "images").symlink_to(images)
    assert_same(of_datumaro(datumaro.Dataset.import_from(str(tmp_path), "cvat")), boxes, 0.011)  # two decimals of each corner


@pytest.fixture
def accepted(detections, tmp_path):
    """(Label Studio's converter, file of tasks whose drafts a labeller has accepted)."""
    converter = package("label_studio_sdk.converter")
    values = "".join(f'<Label value="{name}"/>' for name in NAMES)
    interface = f'<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image">{values}</RectangleLabels></View>'
    package("label_studio_sdk.label_interface").LabelInterface(interface).validate()
    tasks = json.loads(label_studio(*detections))
    for number, task in enumerate(tasks):
        task["id"] = number
        task["annotations"] = [{"id": number, "result": task["predictions"][0]["result"], "completed_by": {"email": "a@b.c"}}]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    return converter.Converter(interface, project_dir=str(tmp_path), download_resources=False), tmp_path / "tasks.json"


def test_label_studio_reads_our_drafts(accepted, boxes, images, tmp_path):
    """Its converter makes COCO of them."""
    converter, tasks = accepted
    converter.convert_to_coco(str(tasks), str(tmp_path / "out"), output_image_dir=str(images), is_dir=False)
    assert_same(of_coco(tmp_path / "out/result.json"), boxes, SINGLE)


def test_we_read_what_label_studio_exports(accepted, boxes, images, tmp_path):
    """YOLO files of its converter; the images come from where they are."""
    converter, tasks = accepted
    out = tmp_path / "out"
    converter.convert_to_yolo(
        str(tasks), str(out), output_image_dir=str(out / "images"), output_label_dir=str(out / "labels"), is_dir=False
    )
    for file in list((out / "labels").glob("*.txt")):
        file.rename(file.with_name(file.name.rpartition("=")[2]))  # it keeps the query of the image's address in the name
    for file in images.iterdir():
        shutil.copy(file, out / "images")
    assert_same(of_ours(out, "yolo"), boxes, SINGLE)


def test_fiftyone_reads_our_detections(detections, boxes, tmp_path):
    """By its importer alone; a data set of it needs a database server."""
    importers = package("fiftyone.utils.data.importers")
    (tmp_path / "found.json").write_text(fiftyone(*detections))
    found = {}
    with importers.FiftyOneImageDetectionDatasetImporter(labels_path=str(tmp_path / "found.json")) as importer:
        for path, _, labels in importer:
            assert sorted(one.confidence for one in labels.detections) == pytest.approx([0.7, 0.8, 0.9])
            found[path.rpartition("/")[2]] = [
                (one.label, *np.multiply(one.bounding_box, [WIDTH, HEIGHT, WIDTH, HEIGHT])) for one in labels.detections
            ]
    assert_same(found, boxes, SINGLE)


@pytest.mark.parametrize("ours", ["coco", "yolo"])
def test_supervision_reads_our_data_sets(ours, boxes, yolo, tmp_path):
    supervision = package("supervision")
    convert(yolo, tmp_path / "coco", from_format="yolo", to_format="coco")
    found = {}
    for split in SPLITS:
        if ours == "yolo":
            dataset = supervision.DetectionDataset.from_yolo(
                str(yolo / "images" / split), str(yolo / "labels" / split), str(yolo / "data.yaml")
            )
        else:
            dataset = supervision.DetectionDataset.from_coco(str(yolo / "images" / split), str(tmp_path / f"coco/annotations/{split}.json"))
        for path, _, annotations in dataset:
            rows = np.concatenate([annotations.xyxy[:, :2], annotations.xyxy[:, 2:] - annotations.xyxy[:, :2]], axis=1)
            found[path.rpartition("/")[2]] = [(dataset.classes[k], *row) for k, row in zip(annotations.class_id, rows)]
    assert_same(found, boxes, 1.0 + SINGLE if ours == "yolo" else SINGLE)  # of YOLO it keeps whole pixels of each corner
