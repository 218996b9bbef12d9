"""Pre-annotations for CVAT, Label Studio and FiftyOne: values by hand, names that need escaping, and our own readers' view of them."""

import json
from xml.etree import ElementTree

import pytest
from PIL import Image

from ttfnet_tf.formats.convert import READERS
from ttfnet_tf.formats.records import Problems
from ttfnet_tf.inference.save.documents import About
from ttfnet_tf.inference.save.labelling import cvat, fiftyone, label_studio

# 20 x 10 pixels from (10, 4), with inclusive corners, in an image of 80 x 40.
CAT = {"box": [10.0, 4.0, 29.0, 13.0], "score": 0.75, "class_id": 3, "class_name": 'a <"cat"> & co'}
DOG = {"box": [50.0, 30.0, 59.0, 39.0], "score": 0.25, "class_id": 8, "class_name": "dog"}
ODD = "b/it's <odd> & é.png"


@pytest.fixture
def about(tmp_path):
    return About([CAT["class_name"], "dog"], [3, 8], str(tmp_path))


@pytest.fixture
def entries(tmp_path):
    for name in ("a.png", ODD):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("L", (80, 40)).save(tmp_path / name)
    size = {"height": 40, "width": 80}
    return [{"file": str(tmp_path / "a.png"), **size, "detections": [CAT, DOG]}, {"file": str(tmp_path / ODD), **size, "detections": []}]


def test_cvat(entries, about, tmp_path):
    (tmp_path / "found.xml").write_text(cvat(entries, about))
    root = ElementTree.parse(tmp_path / "found.xml").getroot()
    assert [node.text for node in root.findall("meta/task/labels/label/name")] == about.class_names
    assert [image.attrib for image in root.findall("image")] == [
        {"id": "0", "name": "a.png", "width": "80", "height": "40"},
        {"id": "1", "name": ODD, "width": "80", "height": "40"},
    ]
    box = root.find("image/box")
    assert {name: box.attrib[name] for name in ("xtl", "ytl", "xbr", "ybr")} == {
        "xtl": "10.00",
        "ytl": "4.00",
        "xbr": "30.00",
        "ybr": "14.00",
    }
    assert box.find("attribute").attrib == {"name": "score"}
    assert box.find("attribute").text == "0.7500"
    problems = Problems()
    data = READERS["cvat"](tmp_path / "found.xml", images=tmp_path, problems=problems)
    assert problems.lines == []
    assert [[(box.label, box.bbox) for box in image.boxes] for image in data.splits[0].images] == [
        [(CAT["class_name"], (10, 4, 20, 10)), ("dog", (50, 30, 10, 10))],
        [],
    ]


def test_label_studio(entries, about, tmp_path):
    tasks = json.loads(label_studio(entries, about))
    assert [task["data"]["image"] for task in tasks] == [
        "/data/local-files/?d=a.png",
        "/data/local-files/?d=b/it%27s%20%3Codd%3E%20%26%20%C3%A9.png",
    ]
    prediction = tasks[0]["predictions"][0]
    assert prediction["score"] == 0.5
    assert prediction["result"][0] == {
        **{"id": "box1", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "score": 0.75},
        **{"original_width": 80, "original_height": 40, "image_rotation": 0},
        "value": {"x": 12.5, "y": 10, "width": 25, "height": 25, "rotation": 0, "rectanglelabels": [CAT["class_name"]]},
    }
    assert tasks[1]["predictions"] == [{"model_version": "ttfnet", "score": 0.0, "result": []}]
    # What a labeller accepts becomes an annotation.
    accepted = [{"data": task["data"], "annotations": [{"result": task["predictions"][0]["result"]}]} for task in tasks]
    (tmp_path / "tasks.json").write_text(json.dumps(accepted))
    problems = Problems()
    data = READERS["labelstudio"](tmp_path / "tasks.json", problems=problems)
    assert problems.lines == []
    assert [(image.path.name, [box.bbox for box in image.boxes]) for image in data.splits[0].images] == [
        ("a.png", [(10, 4, 20, 10), (50, 30, 10, 10)]),
        (ODD.partition("/")[2], []),
    ]


def test_fiftyone(entries, about, tmp_path):
    content = json.loads(fiftyone(entries, about))
    assert content["classes"] == about.class_names
    assert list(content["labels"]) == [str(tmp_path / "a.png"), str(tmp_path / ODD)]
    assert content["labels"][str(tmp_path / "a.png")] == [
        {"label": 0, "bounding_box": [0.125, 0.1, 0.25, 0.25], "confidence": 0.75},
        {"label": 1, "bounding_box": [0.625, 0.75, 0.125, 0.25], "confidence": 0.25},
    ]


def test_names_that_no_xml_can_hold(about):
    entry = {"file": "a\udce9\x01.png", "height": 40, "width": 80, "detections": [{**DOG, "class_name": "d\x02g"}]}
    about = About(["d\x02g"], [8], None)
    for text in (cvat([entry], about), label_studio([entry], about), fiftyone([entry], about)):
        text.encode("utf-8")
    assert ElementTree.fromstring(cvat([entry], about)).find("image").attrib["name"] == "a  .png"
