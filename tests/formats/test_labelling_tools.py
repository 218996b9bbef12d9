"""Readers of labelme, CVAT, Label Studio, VIA and KITTI: every shape's box by hand, names, sizes, splits and what is skipped."""

import base64
import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.convert import READERS, convert
from ttfnet_tf.formats.detect_format import detect_format
from ttfnet_tf.formats.label_studio_brush import BrokenBrush, brush_mask
from ttfnet_tf.formats.labelled_images import name_in_url
from ttfnet_tf.formats.records import Problems
from ttfnet_tf.json_text import read_json


def image(path, height=60, width=80, orientation=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[274] = orientation
    Image.new("L", (width, height)).save(path, exif=exif)


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def read(kind, source, **options):
    """(boxes by image as (label, bbox, extra), notes, lines of problems)."""
    problems = Problems()
    data = READERS[kind](source, problems=problems, **options)
    found = {one.path.name: [(box.label, box.bbox, box.extra) for box in one.boxes] for split in data.splits for one in split.images}
    return found, dict(+data.notes), problems.lines


# labelme


def labelme(*shapes, name="a.png", size=(60, 80), **more):
    return {
        "version": "5.4.1",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": name,
        "imageHeight": size[0],
        "imageWidth": size[1],
        **more,
    }


def shape(label, points, kind=None, **more):
    return {"label": label, "points": points, **({} if kind is None else {"shape_type": kind}), **more}


def png(mask):
    buffer = io.BytesIO()
    Image.fromarray(np.asarray(mask, np.uint8) * 255).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def test_labelme_shapes(tmp_path):
    image(tmp_path / "a.png")
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:6] = True
    shapes = [
        shape("polygon", [[1, 2], [30, 5], [10, 20]]),
        shape("rectangle", [[30, 40], [10, 20]], "rectangle"),
        shape("circle", [[20, 20], [23, 24]], "circle"),
        shape("mask", [[5, 6], [10, 9]], "mask", mask=png(mask)),
        shape("turned", [[5, 0], [10, 5], [5, 10], [0, 5]], "rotation", difficult=True),
        shape("line", [[1, 1], [2, 2]], "line"),
        shape("point", [[1, 1]], "point"),
    ]
    write(tmp_path / "a.json", labelme(*shapes))
    assert read("labelme", tmp_path) == (
        {
            "a.png": [
                ("polygon", (1, 2, 29, 18), {}),
                ("rectangle", (10, 20, 20, 20), {}),
                ("circle", (15, 15, 10, 10), {}),
                ("mask", (7, 7, 4, 2), {}),
                ("turned", (0, 0, 10, 10), {"difficult": 1, "iscrowd": 1}),
            ]
        },
        {"lines, points and image tags have no area and are skipped": 2},
        [],
    )


def test_labelme_finds_images(tmp_path):
    image(tmp_path / "photos/a.png")
    image(tmp_path / "photos/b.jpg", orientation=6)
    write(tmp_path / "labels/a.json", labelme(name="..\\photos\\a.png"))
    write(tmp_path / "labels/b.json", labelme(name="C:/Users/me/old name.jpg", size=(80, 60)))  # as it is shown, turned
    write(tmp_path / "labels/c.json", labelme(name="c.png"))
    found, notes, lines = read("labelme", tmp_path)
    assert lines == []
    assert set(found) == {"a.png", "b.jpg", "c.png"}
    assert notes == {"images not found; their names and sizes are those of the annotations": 1}


def test_labelme_splits(tmp_path):
    for split, name in (("train", "a"), ("valid", "b")):
        image(tmp_path / split / f"{name}.png")
        write(tmp_path / split / f"{name}.json", labelme(shape("x", [[0, 0], [9, 9]], "rectangle"), name=f"{name}.png"))
    report = convert(tmp_path, tmp_path.parent / "out", overwrite=True)
    assert [path.name for path in report.files] == ["train.json", "val.json"]
    assert detect_format(tmp_path) == "labelme"


# CVAT


def cvat(inner, meta=""):
    return f'<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta>{meta}</meta>\n{inner}\n</annotations>\n'


def cvat_image(inner, name="a.png", more=""):
    return f'<image id="0" name="{name}" {more} width="80" height="60">\n{inner}\n</image>'


def test_cvat_shapes(tmp_path):
    image(tmp_path / "images/a.png")
    shapes = """<box label="box" occluded="0" xtl="1.5" ytl="2" xbr="11" ybr="6" z_order="0"><attribute name="id">3</attribute></box>
        <box label="turned" occluded="1" xtl="10" ytl="10" xbr="30" ybr="20" rotation="90"></box>
        <polygon label="polygon" points="1.00,2.00;30.00,5.00;10.00,20.00"></polygon>
        <ellipse label="ellipse" cx="20" cy="20" rx="5" ry="3"></ellipse>
        <mask label="mask" rle="1, 2, 2, 1" left="5" top="6" width="3" height="2"></mask>
        <cuboid label="cuboid" xtl1="1" ytl1="2" xbl1="1" ybl1="9" xtr1="5" ytr1="2" xbr1="5" ybr1="9"
                xtl2="3" ytl2="1" xbl2="3" ybl2="8" xtr2="7" ytr2="1" xbr2="7" ybr2="8"></cuboid>
        <polyline label="line" points="1,2;3,4"></polyline><tag label="tag"></tag>"""
    write(tmp_path / "annotations.xml", cvat(cvat_image(shapes)))
    expected = [
        ("box", (1.5, 2, 9.5, 4), {}),
        ("turned", (15, 5, 10, 20), {"occluded": 1}),
        ("polygon", (1, 2, 29, 18), {}),
        ("ellipse", (15, 17, 10, 6), {}),
        ("mask", (6, 6, 2, 2), {}),  # .XX / ..X
        ("cuboid", (1, 1, 6, 8), {}),
    ]
    found, notes, lines = read("cvat", tmp_path / "annotations.xml")
    assert lines == []
    assert [(label, pytest.approx(bbox), extra) for label, bbox, extra in found["a.png"]] == expected
    assert notes == {"lines, points, tags and skeletons are skipped": 2}
    assert detect_format(tmp_path) == detect_format(tmp_path / "annotations.xml") == "cvat"


def test_cvat_subsets_are_splits(tmp_path):
    image(tmp_path / "images/Train/a.png")
    image(tmp_path / "images/Validation/a.png")
    box = '<box label="x" xtl="0" ytl="0" xbr="9" ybr="9"/>'
    both = cvat_image(box, more='subset="Train"') + cvat_image("", name="Validation/a.png", more='subset="Validation"')
    write(tmp_path / "annotations.xml", cvat(both))
    problems = Problems()
    data = READERS["cvat"](tmp_path, problems=problems)
    assert [(split.name, [one.path.parent.name for one in split.images]) for split in data.splits] == [
        ("train", ["Train"]),
        ("val", ["Validation"]),
    ]


def test_cvat_tracks(tmp_path):
    image(tmp_path / "images/frame_000001.jpg")
    boxes = "".join(
        f'<box frame="{frame}" outside="{outside}" keyframe="1" xtl="{frame}" ytl="2" xbr="{frame + 9}" ybr="5"/>'
        for frame, outside in ((1, 0), (2, 0), (3, 1))
    )
    size = "<task><original_size><width>80</width><height>60</height></original_size></task>"
    write(tmp_path / "annotations.xml", cvat(f'<track id="0" label="car">{boxes}</track>', size))
    found, notes, lines = read("cvat", tmp_path)
    assert lines == []
    assert found == {"frame_000001.jpg": [("car", (1, 2, 9, 3), {})], "frame_000002.png": [("car", (2, 2, 9, 3), {})]}
    assert notes == {"images not found; their names and sizes are those of the annotations": 1}


# Label Studio


def result(value, kind="rectanglelabels", label="cat", **more):
    return {"id": "r", "type": kind, "original_width": 80, "original_height": 60, "value": {**value, kind: [label]}, **more}


def task(*results, image_name="/data/upload/1/abcd1234-a.png", **more):
    return {"id": 1, "data": {"image": image_name}, "annotations": [{"id": 5, "result": list(results), **more}]}


# Of label-studio-sdk's encode_rle for 6 x 9 pixels: rows 2 to 4, columns 3 to 7, without the first of them.
BRUSH = [0, 0, 0, 216, 57, 27, 254, 87, 0, 191, 255, 124, 3, 9, 255, 223, 0, 194, 127, 248, 156, 0]


def test_label_studio_shapes(tmp_path):
    image(tmp_path / "a.png")
    results = [
        result({"x": 10, "y": 10, "width": 50, "height": 50, "rotation": 0}),
        result({"x": 50, "y": 50, "width": 10, "height": 5, "rotation": 90}, label="turned"),
        result({"points": [[10, 10], [20, 10], [10, 30]]}, "polygonlabels", "polygon"),
        result({"x": 50, "y": 50, "radiusX": 10, "radiusY": 5, "rotation": 0}, "ellipselabels", "ellipse"),
        result({"x": 50, "y": 50, "width": 1}, "keypointlabels", "point"),
    ]
    write(tmp_path / "tasks.json", [task(*results)])
    found, notes, lines = read("labelstudio", tmp_path / "tasks.json")
    assert lines == []
    assert [(label, pytest.approx(bbox)) for label, bbox, _ in found["a.png"]] == [
        ("cat", (8, 6, 40, 30)),
        ("turned", (37, 30, 3, 8)),  # 8 x 3 pixels turned about (40, 30)
        ("polygon", (8, 6, 8, 12)),
        ("ellipse", (32, 27, 16, 6)),
    ]
    assert notes == {"points, choices and other results without area are skipped": 1}
    assert detect_format(tmp_path / "tasks.json") == "labelstudio"


def test_label_studio_brush(tmp_path):
    expected = np.zeros((6, 9), bool)
    expected[2:5, 3:8] = True
    expected[2, 3] = False
    assert np.array_equal(brush_mask(bytes(BRUSH), (6, 9)), expected)
    image(tmp_path / "a.png", 6, 9)
    brush = {**result({"rle": BRUSH, "format": "rle"}, "brushlabels"), "original_width": 9, "original_height": 6}
    write(tmp_path / "tasks.json", [task(brush)])
    assert read("labelstudio", tmp_path / "tasks.json")[0] == {"a.png": [("cat", (3, 2, 5, 3), {})]}


@pytest.mark.parametrize("cut", range(len(BRUSH) - 2))
def test_a_brush_that_is_cut_short(cut):
    with pytest.raises(BrokenBrush):
        brush_mask(bytes(BRUSH[:cut]), (6, 9))


def test_label_studio_min_and_choices_of_annotations(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        image(tmp_path / name)
    region = {"x": 10, "y": 10, "width": 50, "height": 50, "rectanglelabels": ["cat"], "original_width": 80, "original_height": 60}
    write(tmp_path / "min.json", [{"image": "b.png", "id": 1, "label": [region], "annotator": 1}])
    assert read("labelstudio", tmp_path / "min.json")[0] == {"b.png": [("cat", (8, 6, 40, 30), {})]}
    assert detect_format(tmp_path / "min.json") == "labelstudio"

    box = {"x": 0, "y": 0, "width": 10, "height": 10}
    truth = {**task(result(box, label="other")), "data": {"image": "http://host:8080/data/b.png?token=1"}}
    truth["annotations"].append({"result": [result(box)], "ground_truth": True})
    none = {"id": 3, "data": {"image": "c.png"}, "annotations": [], "predictions": [{"result": [result(box)]}]}
    cancelled = {"id": 4, "data": {"image": "c.png"}, "annotations": [{"result": [], "was_cancelled": True}]}
    write(tmp_path / "tasks.json", [task(), truth, none, cancelled])
    found, notes, lines = read("labelstudio", tmp_path / "tasks.json")
    assert lines == []
    assert found == {"a.png": [], "b.png": [("cat", (0, 0, 8, 6), {})]}
    assert notes == {
        "tasks without an annotation are skipped": 2,
        "tasks have several annotations; the one marked as ground truth is used, else the first": 1,
    }


def test_label_studio_folder_of_tasks_and_annotations(tmp_path):
    """One file for each task, for each annotation with its task as cloud storages have them, and for each entry of JSON-MIN."""
    for name in ("a.png", "b.png", "c.png", "d.png"):
        image(tmp_path / name)
    box, other = {"x": 0, "y": 0, "width": 10, "height": 10}, {"x": 10, "y": 10, "width": 50, "height": 50}
    annotation = {"id": 5, "task": {"id": 2, "data": {"image": "s3://bucket/b.png"}}, "result": [result(box, label="wrong")]}
    truth = {**annotation, "id": 6, "ground_truth": True, "result": [result(other)]}
    plain = {**other, "rectanglelabels": ["dog"], "original_width": 80, "original_height": 60}
    entry = {"image": "c.png", "id": 1, "label": [plain], "annotator": 1, "annotation_id": 7}
    files = {
        "1.json": task(result(box)),
        "2.json": annotation,
        "3.json": truth,
        "4.json": entry,
        "5.json": {**entry, "annotation_id": 8, "label": []},
        "6.json": {"id": 9, "data": {"image": "d.png"}, "annotations": []},
    }
    for name, content in files.items():
        write(tmp_path / "tasks" / name, content)
        if name != "6.json":  # nothing in it is Label Studio's alone
            assert detect_format(tmp_path / "tasks" / name) == "labelstudio", name
    assert detect_format(tmp_path / "tasks") == "labelstudio"
    found, notes, lines = read("labelstudio", tmp_path / "tasks", images=tmp_path)
    assert lines == []
    assert found == {"a.png": [("cat", (0, 0, 8, 6), {})], "b.png": [("cat", (8, 6, 40, 30), {})], "c.png": [("dog", (8, 6, 40, 30), {})]}
    assert notes == {
        "tasks have several annotations; the one marked as ground truth is used, else the first": 2,
        "tasks without an annotation are skipped": 1,
    }
    write(tmp_path / "min.json", [entry, {**entry, "id": 2, "image": "d.png"}, {**entry, "label": []}])
    assert read("labelstudio", tmp_path / "min.json")[0].keys() == {"c.png", "d.png"}


def test_label_studio_folders_are_splits_and_a_mistake_names_its_file(tmp_path):
    box = {"x": 0, "y": 0, "width": 10, "height": 10}
    for split, name in (("train", "a"), ("val", "b")):
        image(tmp_path / f"{name}.png")
        write(tmp_path / split / f"{name}.json", task(result(box), image_name=f"{name}.png"))
    report = convert(tmp_path, tmp_path.parent / f"{tmp_path.name}-coco")
    assert [path.name for path in report.files] == ["train.json", "val.json"]
    assert read("labelstudio", tmp_path, split="val")[0].keys() == {"b.png"}
    about = {"task": {"id": 2, "data": {"image": "b.png"}}}
    write(tmp_path / "val/c.json", {**about, "result": [result(box)]})
    write(tmp_path / "val/d.json", {**about, "ground_truth": True, "result": [result({**box, "x": "left"})]})
    write(tmp_path / "val/e.json", "[")
    _, _, lines = read("labelstudio", tmp_path)
    assert lines == [
        f"{tmp_path}/val/e.json: is not JSON (Expecting value at line 1)",
        f'{tmp_path}/val/d.json: result[0].value.x: is "left"; expected a number',
    ]


def test_coco_with_words_of_label_studio_is_coco(tmp_path):
    write(tmp_path / "a.json", {"annotations": [{"annotator": 1, "lead_time": 2}], "images": [], "categories": []})
    assert detect_format(tmp_path / "a.json") == "coco"


def test_a_region_given_with_labels_and_without_is_one(tmp_path):
    image(tmp_path / "a.png")
    plain = {
        "id": "q",
        "type": "rectangle",
        "original_width": 80,
        "original_height": 60,
        "value": {"x": 0, "y": 0, "width": 10, "height": 10},
    }
    labels = {**plain, "type": "labels", "value": {**plain["value"], "labels": ["cat"]}}
    write(tmp_path / "tasks.json", [task(plain, labels)])
    assert read("labelstudio", tmp_path / "tasks.json")[0] == {"a.png": [("cat", (0, 0, 8, 6), {})]}


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("a.png", "a.png"),
        ("/data/upload/1/abcd1234-a.png", "upload/1/abcd1234-a.png"),
        ("/data/local-files/?d=photos/a%20b.png", "photos/a b.png"),
        ("s3://bucket/x/a.png", "x/a.png"),
        ("https://host/x/a%20b.png?token=3", "x/a b.png"),
        ("C:\\photos\\a.png", "C:\\photos\\a.png"),
        ("http://[", "http://["),
    ],
)
def test_names_in_urls(value, name):
    assert name_in_url(value) == name


# VIA


def via(*regions, name="a.png"):
    return {f"{name}123": {"filename": name, "size": 123, "regions": list(regions), "file_attributes": {}}}


def region(shape_attributes, **attributes):
    return {"shape_attributes": shape_attributes, "region_attributes": attributes}


def test_via_shapes(tmp_path):
    image(tmp_path / "a.png")
    regions = [
        region({"name": "rect", "x": 1, "y": 2, "width": 3, "height": 4}, type="cat"),
        region({"name": "circle", "cx": 20, "cy": 20, "r": 5}, type="dog", colour="red"),
        region({"name": "ellipse", "cx": 20, "cy": 20, "rx": 5, "ry": 3, "theta": math.pi / 2}, kind={"bird": True, "cat": False}),
        region({"name": "polygon", "all_points_x": [1, 30, 10], "all_points_y": [2, 5, 20]}, anything="polygon"),
        region({"name": "point", "cx": 1, "cy": 1}),
    ]
    expected = [("cat", (1, 2, 3, 4)), ("dog", (15, 15, 10, 10)), ("bird", (17, 15, 6, 10)), ("polygon", (1, 2, 29, 18))]
    as_object = via(*regions)
    as_object["a.png123"]["regions"] = {str(number): one for number, one in enumerate(regions)}
    for content in (via(*regions), as_object, {"_via_settings": {}, "_via_img_metadata": via(*regions), "_via_attributes": {}}):
        found, notes, lines = read("via", write(tmp_path / "via.json", content))
        assert lines == []
        assert [(label, pytest.approx(bbox)) for label, bbox, _ in found["a.png"]] == expected
        assert notes == {"lines and points have no area and are skipped": 1}
        assert detect_format(tmp_path / "via.json") == "via"


def via3(metadata, attributes=None, files=("a.png",), **more):
    classes = {"aname": "class", "anchor_id": "FILE1_Z0_XY1", "type": 4, "desc": "", "options": {"0": "cat", "1": "dog"}}
    return {
        "project": {"pid": "__VIA_PROJECT_ID__", "rev_timestamp": "1", "pname": "p", "vid_list": ["1"]},
        "config": {"file": {"loc_prefix": {"1": ""}}},
        "attribute": {"1": classes} if attributes is None else attributes,
        "file": {str(k): {"fid": k, "fname": name, "type": 2, "loc": 1, "src": name} for k, name in enumerate(files, start=1)},
        "metadata": {f"m{k}": {"vid": "1", "flg": 0, "z": [], "av": {"1": "0"}, **one} for k, one in enumerate(metadata)},
        "view": {str(k): {"fid_list": [str(k)]} for k in range(1, 1 + len(files))},
        **more,
    }


def test_via_3_shapes(tmp_path):
    for name in ("a.png", "photos/b.png"):
        image(tmp_path / name)
    regions = [
        {"xy": [2, 1, 2, 3, 4]},
        {"xy": [3, 20, 20, 5], "av": {"1": "1"}},
        {"xy": [4, 20, 20, 5, 3]},
        {"xy": [7, 1, 2, 30, 5, 10, 20]},
        {"xy": [1, 5, 5]},
        {"xy": [5, 1, 1, 9, 9]},
        {"xy": [6, 1, 1, 9, 9, 2, 3]},
        {"xy": [], "av": {"2": "of the whole image"}},
        {"xy": [2, 0, 0, 9, 9], "vid": "2"},
    ]
    content = via3(regions, files=("a.png", "b (1).png"))
    content["file"]["2"].update(fid=2, src="https://host/photos/b.png?token=1", loc=2)
    content["view"]["2"] = {"fid_list": [2]}
    found, notes, lines = read("via", write(tmp_path / "via.json", content))
    assert lines == []
    assert [(label, pytest.approx(bbox)) for label, bbox, _ in found["a.png"]] == [
        ("cat", (1, 2, 3, 4)),
        ("dog", (15, 15, 10, 10)),
        ("cat", (15, 17, 10, 6)),
        ("cat", (1, 2, 29, 18)),
    ]
    assert found["b.png"] == [("cat", (0, 0, 9, 9), {})]
    assert notes == {"lines and points have no area and are skipped": 3}
    assert detect_format(tmp_path / "via.json") == "via"


def test_via_3_attributes(tmp_path):
    """Of a text, of a checkbox, and of several the one called class."""
    image(tmp_path / "a.png")
    text = {"aname": "Object", "type": 1, "options": {}}
    box = {"aname": "kind", "type": 2, "options": {"1": "cat", "2": "dog"}}
    colour = {"aname": "colour", "type": 1, "options": {}}
    rectangle = {"xy": [2, 0, 0, 9, 9]}
    for attributes, values, expected in (
        ({"1": text}, {"1": "egg"}, "egg"),
        ({"1": box}, {"1": "2"}, "dog"),
        ({"1": colour, "2": text}, {"1": "red", "2": "egg"}, "egg"),
    ):
        content = via3([{**rectangle, "av": values}], attributes)
        assert read("via", write(tmp_path / "via.json", content))[0] == {"a.png": [(expected, (0, 0, 9, 9), {})]}
    _, _, lines = read("via", write(tmp_path / "via.json", via3([{**rectangle, "av": {"1": "1,2"}}], {"1": box})))
    assert lines == [f'{tmp_path}/via.json: view["1"]: metadata.m0.av.kind: has 2 boxes ticked; a class is one']


# KITTI

CAR = "Car 0.25 1 -1.57 10.5 11 30 40 1.5 1.6 4 1 1 20 0.1"


def test_kitti(tmp_path):
    for name in ("000001", "000002"):
        image(tmp_path / f"training/image_2/{name}.png")
    write(
        tmp_path / "training/label_2/000001.txt",
        f"{CAR}\nVan 0 0 -10 0 0 9 9 1 1 1 1 1 1 1 0.9\nDontCare -1 -1 -10 1 1 5 5 -1 -1 -1 -1 -1 -1 -1\n",
    )
    write(tmp_path / "training/label_2/000002.txt", "")
    assert read("kitti", tmp_path) == (
        {"000001.png": [("Car", (10.5, 11, 19.5, 29), {"truncated": 0.25, "occluded": 1}), ("Van", (0, 0, 9, 9), {})], "000002.png": []},
        {"DontCare regions are dropped": 1},
        [],
    )
    assert read("kitti", tmp_path / "training/label_2")[0].keys() == {"000001.png", "000002.png"}
    assert detect_format(tmp_path) == "kitti"


def kitti_tree(tmp_path, lists, frames=("000001", "000002", "000003")):
    for frame in frames:
        image(tmp_path / f"training/image_2/{frame}.png")
        write(tmp_path / f"training/label_2/{frame}.txt", f"{CAR}\n")
    for name, text in lists.items():
        write(tmp_path / f"ImageSets/{name}.txt", text)


def test_kitti_lists_choose_the_files_of_a_split(tmp_path):
    image(tmp_path / "testing/image_2/000001.png")
    kitti_tree(tmp_path, {"train": "000003\n000001\n", "val": "000002\n\n", "trainval": "000001\n000002\n000003", "test": "000001\n"})
    assert detect_format(tmp_path) == "kitti"
    report = convert(tmp_path, tmp_path.parent / f"{tmp_path.name}-coco")
    assert [path.name for path in report.files] == ["train.json", "val.json"]
    names = [[one["file_name"] for one in read_json(path)["images"]] for path in report.files]
    assert names == [["000003.png", "000001.png"], ["000002.png"]]
    assert any(line == "1 split without labels is skipped (ImageSets/test.txt)" for line in report.lines)
    assert read("kitti", tmp_path, split="trainval")[0].keys() == {"000001.png", "000002.png", "000003.png"}
    assert read("kitti", tmp_path, split="val")[0].keys() == {"000002.png"}
    with pytest.raises(UserError, match=r"ImageSets/test.txt: names images without labels; choose another split"):
        read("kitti", tmp_path, split="test")
    with pytest.raises(UserError, match=r"ImageSets: has no split 'dev'; there are train, val, trainval"):
        read("kitti", tmp_path, split="dev")


def test_kitti_test_lists(tmp_path):
    """Of a data set of one's own it is a split; one that names images of another list is about KITTI's testing folder."""
    kitti_tree(tmp_path, {"train": "000001\n", "test": "000002\n"})
    assert read("kitti", tmp_path)[0].keys() == {"000001.png", "000002.png"}
    write(tmp_path / "ImageSets/test.txt", "000001\n000002\n")
    assert read("kitti", tmp_path)[0].keys() == {"000001.png"}
    image(tmp_path / "testing/image_2/000009.png")
    write(tmp_path / "testing/label_2/000009.txt", f"{CAR}\n")
    write(tmp_path / "ImageSets/test.txt", "000009\n")
    assert read("kitti", tmp_path, split="test")[0].keys() == {"000009.png"}
    write(tmp_path / "ImageSets/val.txt", "000003\n000009\n")
    _, _, lines = read("kitti", tmp_path)
    assert lines == [f'{tmp_path}/ImageSets/val.txt:2: names "000009", of which {tmp_path}/training/label_2 has no label file']


# all


def test_a_data_set_of_each_tool_becomes_coco(tmp_path):
    """The same two boxes from every format; ids of classes are those of the alphabet."""
    image(tmp_path / "images/a.png")
    boxes = {"dog": (8, 6, 40, 30), "cat": (16, 12, 8, 6)}
    points = {name: [[x, y], [x + w, y + h]] for name, (x, y, w, h) in boxes.items()}
    percent = {name: {"x": x / 0.8, "y": y / 0.6, "width": w / 0.8, "height": h / 0.6} for name, (x, y, w, h) in boxes.items()}
    sources = {
        "labelme": write(tmp_path / "lm/a.json", labelme(*(shape(name, at, "rectangle") for name, at in points.items()))),
        "cvat": write(
            tmp_path / "a.xml",
            cvat(
                cvat_image("".join(f'<box label="{n}" xtl="{a}" ytl="{b}" xbr="{c}" ybr="{d}"/>' for n, ((a, b), (c, d)) in points.items()))
            ),
        ),
        "labelstudio": write(tmp_path / "ls.json", [task(*(result(value, label=name) for name, value in percent.items()))]),
        "via": write(
            tmp_path / "via.json",
            via(*(region({"name": "rect", "x": x, "y": y, "width": w, "height": h}, label=n) for n, (x, y, w, h) in boxes.items())),
        ),
        "via 3": write(
            tmp_path / "via3.json",
            via3([{"xy": [2, x, y, w, h], "av": {"1": str(k)}} for k, (x, y, w, h) in ((1, boxes["dog"]), (0, boxes["cat"]))]),
        ),
        "labelstudio folder": write(
            tmp_path / "tasks/1.json", task(*(result(value, label=name) for name, value in percent.items()))
        ).parent,
        "kitti": write(
            tmp_path / "k/a.txt", "".join(f"{n} 0 0 0 {a} {b} {c} {d} 0 0 0 0 0 0 0\n" for n, ((a, b), (c, d)) in points.items())
        ).parent,
    }
    for kind, source in sources.items():
        convert(source, tmp_path / "out" / kind, from_format=kind.split()[0], images=tmp_path / "images")
        content = read_json(tmp_path / "out" / kind / "annotations/train.json")
        assert [(one["category_id"], one["bbox"]) for one in content["annotations"]] == [(2, [8, 6, 40, 30]), (1, [16, 12, 8, 6])], kind
        assert content["images"] == [{"id": 1, "file_name": "a.png", "height": 60, "width": 80}]


def test_images_turned_by_exif_need_boxes_of_the_image_as_it_is_shown(tmp_path):
    image(tmp_path / "a.jpg", orientation=6)
    write(tmp_path / "a.json", labelme(name="a.jpg"))
    _, _, lines = read("labelme", tmp_path)
    sizes = f'"a.jpg" is 80 x 60 pixels in the annotations, but {tmp_path}/a.jpg has 60 x 80'
    assert lines == [f"{tmp_path}/a.json: {sizes}; the boxes would be in wrong places"]


def test_a_broken_image_is_skipped_alone(tmp_path):
    for name in ("a.png", "b.png"):
        image(tmp_path / name)
    write(tmp_path / "a.json", labelme(shape("cat", [[0, 0], [9, 9]], "rectangle")))
    write(tmp_path / "b.json", labelme(shape("", [[0, 0], [9, 9]], "rectangle"), name="b.png"))
    with pytest.raises(UserError, match=r"b.json: shapes\[0\].label: is \"\"; expected a text; fix it, or add --skip-broken"):
        convert(tmp_path, tmp_path.parent / "new")
    report = convert(tmp_path, tmp_path.parent / "new", skip_broken=True)
    assert "1 images (0 without a box), 1 boxes" in report.lines[0]
