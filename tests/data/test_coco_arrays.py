"""Annotations as arrays: the same as from the exact reader, whatever the form of the file."""

import json

import numpy as np
import pytest

from ttfnet_tf import json_parts
from ttfnet_tf.data import coco_arrays
from ttfnet_tf.data.annotated_images import AnnotatedImage, AnnotatedImages
from ttfnet_tf.data.box_rules import REASONS, geometry_fault, reasons_to_drop
from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.data.coco_arrays import read_coco_arrays
from ttfnet_tf.errors import UserError
from ttfnet_tf.json_text import parse_json, parse_plain_json

# What `geometry_fault` finds, in the words of a split.
WORDS = dict.fromkeys(("negative", "zero", "area"), "boxes without area")
WORDS.update(small="boxes below min_box_size", outside="boxes outside their image")


def reason_to_drop(annotation, size, *, crowd, min_box_size):
    """Why one box is not used, slowly; None for one that is."""
    if annotation.get("ignore"):
        return "boxes marked ignore"
    if annotation.get("iscrowd") and crowd == "background":
        return "crowd boxes"
    fault = geometry_fault(annotation["bbox"], annotation.get("area"), size, min_box_size)
    return None if fault is None else WORDS[fault]


def _drawn(seed=0, images=40, boxes=300):
    """A COCO file in which every rule for boxes has something to drop."""
    rng = np.random.default_rng(seed)
    annotations = []
    for number in rng.permutation(boxes).tolist():
        box = [round(float(v), 2) for v in rng.uniform([-20, -20, -1, -1], [120, 90, 30, 30])]
        more = {"area": rng.choice([-1.0, 0.0, 12.5])} if rng.random() < 0.3 else {"area": None} if rng.random() < 0.1 else {}
        flags = {key: rng.choice([0, 1, True, None]) for key in ("iscrowd", "ignore") if rng.random() < 0.2}
        segments = {"segmentation": [[1, 2, 3]]} if rng.random() < 0.5 else {"segmentation": {"counts": [3], "size": [4, 5]}}
        category = int(rng.choice([8, 3, 11]))
        annotations.append(
            {**segments, "id": number, "image_id": int(rng.integers(images)), "category_id": category, "bbox": box, **more, **flags}
        )
    sizes = rng.integers(20, 100, (images, 2)).tolist()
    return {
        "info": {"note": 'a text with "], [{" and },{ in it \\'},
        "images": [{"id": i, "file_name": f"a/{i} }},{{ ].jpg", "height": h, "width": w} for i, (h, w) in enumerate(sizes)],
        "annotations": annotations,
        "categories": [{"id": 11, "name": "c"}, {"id": 3, "name": "a"}, {"id": 8, "name": "b"}],
    }


def _text(content, **form):
    return json.dumps(content, default=lambda value: value.item(), **form)


FORMS = {
    "compact": {"separators": (",", ":")},
    "as Python writes it": {},
    "indented": {"indent": 2},
    "text beyond ASCII": {"ensure_ascii": False},
}


def _assert_equal(first, second):
    assert (first.names, first.categories) == (second.names, second.categories)
    for name in ("image_ids", "sizes", "image", "category", "bbox", "area", "iscrowd", "ignore"):
        assert getattr(first, name).dtype == getattr(second, name).dtype, name
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@pytest.fixture
def in_parts(monkeypatch):
    """Lists are cut after some hundred bytes, and the exact reader may not help."""
    monkeypatch.setattr(json_parts, "_PART", 700)
    monkeypatch.setattr(coco_arrays, "read_content", lambda path, data: pytest.fail("the exact reader was asked"))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("order", [("info", "images", "annotations", "categories"), ("categories", "annotations", "info", "images")])
def test_a_file_in_parts_is_what_json_reads(tmp_path, in_parts, form, order):
    content = _drawn()
    path = tmp_path / "a.json"
    path.write_text(_text({key: content[key] for key in order}, **form), encoding="utf-8")
    found, annotations = read_coco_arrays(path), json.loads(path.read_text())["annotations"]
    assert found.names == [image["file_name"] for image in content["images"]]
    assert found.categories == [(11, "c"), (3, "a"), (8, "b")]
    assert found.sizes.tolist() == [[image["height"], image["width"]] for image in content["images"]]
    assert found.bbox.tolist() == [one["bbox"] for one in annotations]
    assert found.image_ids[found.image].tolist() == [one["image_id"] for one in annotations]
    assert found.category.tolist() == [one["category_id"] for one in annotations]
    assert [None if np.isnan(area) else area for area in found.area] == [one.get("area") for one in annotations]
    for key in ("iscrowd", "ignore"):
        assert getattr(found, key).tolist() == [bool(one.get(key)) for one in annotations]


def test_unusual_files_are_read_by_the_exact_reader(tmp_path):
    """Another encoding, a mark, NaN in a field that nobody reads, a later key of the same name, flags and sides that are floats."""
    content = _drawn()
    plain, path = tmp_path / "plain.json", tmp_path / "a.json"
    plain.write_text(_text(content), encoding="utf-8")
    expected = read_coco_arrays(plain)
    with_nan = {**content, "info": {"score": float("nan")}}
    for data in (_text(content).encode("utf-16"), b"\xef\xbb\xbf" + plain.read_bytes(), _text(with_nan).encode()):
        path.write_bytes(data)
        _assert_equal(read_coco_arrays(path), expected)
    path.write_text('{"annotations": [{"id": "x"}], "images": 3, ' + _text(content)[1:])
    _assert_equal(read_coco_arrays(path), expected)
    for one in content["annotations"]:
        one.update({key: float(one[key]) for key in ("iscrowd", "ignore") if one.get(key) is not None})
    path.write_text(_text(content))
    _assert_equal(read_coco_arrays(path), expected)
    content["images"][0]["height"] += 0.5
    path.write_text(_text(content))
    found = read_coco_arrays(path)
    assert found.sizes[:2].tolist() == [[content["images"][k]["height"], content["images"][k]["width"]] for k in (0, 1)]
    assert type(found.sizes[1, 0]) is int


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"annotations": [', '"annotations": {}, "b": [', "is not a COCO instances file (it has no list 'annotations')"),
        ('"annotations": [', '"annotations": "", "b": [', "is not a COCO instances file (it has no list 'annotations')"),
        ('"images": [', '"images": {}, "b": [', "is not a COCO instances file (it has no list 'images')"),
        ('"annotations": [', '"annotations": [7, ', "annotation number 0 (from 0) is not an object: 7"),
        ('"id": 7, "image_id"', '"id": 8, "image_id"', "annotation id 8 is given twice"),
        (
            '"id": 7, "image_id"',
            '"id": 9007199254740993, "image_id"',
            "annotation number {n} (from 0) has id 9007199254740993, which is not",
        ),
        ('"id": 7, "image_id"', '"id": 18446744073709551616, "image_id"', "has id 18446744073709551616, which is not an integer"),
        ('"id": 7, "image_id"', '"id": true, "image_id"', "has id true, which is not an integer"),
        ('"note": "', '"note": "\\ud800', "has half a character (\\ud800 at line 1)"),
        ('"note": ', '"note": ' + "[" * 120 + "]" * 120 + ', "n": ', "is nested too deep"),
        ('"note": ', '"note": ' + "1" * 5000 + ', "n": ', "has a number of thousands of digits"),
        ('"name": "b"}]}', '"name": "b"}]} x', "is not JSON (Extra data at line 1)"),
        ('"name": "b"}]}', '"name": "b"}]', "is not JSON (Expecting ',' delimiter at line 1)"),
    ],
    ids=range(13),
)
def test_the_message_is_that_of_the_exact_reader(tmp_path, monkeypatch, old, new, message):
    monkeypatch.setattr(json_parts, "_PART", 700)
    path = tmp_path / "a.json"
    text = _text(_drawn())
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_coco_arrays(path)
    assert message.replace("annotation number {n} (from 0) ", "") in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")


def test_every_cut_text_is_refused():
    """No beginning of an object is taken for the whole."""
    text = _text(_drawn(images=2, boxes=3)).encode()
    for end in range(len(text)):
        with pytest.raises(ValueError):
            json_parts.read_in_parts(text[:end], {"images": list, "annotations": list})
    assert json_parts.read_in_parts(text, {}) == json.loads(text)


@pytest.mark.parametrize(
    "text", ["NaN", "1e999", "18446744073709551616", '"\\ud800"', "[" * 101 + "]" * 101, "1" * 5000, "[1,]", "\ufeff1"]
)
def test_the_fast_parser_refuses_what_it_would_read_in_another_way(text):
    with pytest.raises(ValueError):
        parse_plain_json(text.encode("utf-8"))


@pytest.mark.parametrize(
    "text", ['{"a": 1, "a": 2}', "-0", "-0.0", "1.7976931348623157e308", '"\\ud83d\\ude00 \\u00e9"', "9007199254740993"]
)
def test_the_fast_parser_reads_as_json_does(text):
    assert repr(parse_plain_json(text.encode())) == repr(json.loads(text)) == repr(parse_json(text))


def test_rules_for_many_boxes_are_those_for_one(tmp_path):
    path = tmp_path / "a.json"
    content = _drawn(seed=3, boxes=2000)
    path.write_text(_text(content))
    found, sizes = read_coco_arrays(path), {image["id"]: (image["height"], image["width"]) for image in content["images"]}
    for crowd in ("background", "object"):
        reasons = reasons_to_drop(
            found.bbox, found.area, found.sizes[found.image], found.iscrowd, found.ignore, crowd=crowd, min_box_size=1.5
        )
        named = [None if number == 0 else REASONS[number - 1] for number in reasons.tolist()]
        expected = [reason_to_drop(one, sizes[one["image_id"]], crowd=crowd, min_box_size=1.5) for one in content["annotations"]]
        assert named == expected
        assert {None, *REASONS} - set(named) == ({"crowd boxes"} if crowd == "object" else set())


@pytest.mark.parametrize(("training", "empty"), [(True, "drop"), (True, "keep"), (False, "drop")])
def test_a_split_is_that_of_a_loop_over_images(tmp_path, training, empty):
    content = _drawn(seed=5)
    path = tmp_path / "a.json"
    path.write_text(_text(content))
    split = load_coco(path, tmp_path, training=training, empty_images=empty, min_image_size=32)
    images, dropped = [], {}
    for image in content["images"]:
        size, boxes, labels = (image["height"], image["width"]), [], []
        for one in content["annotations"]:
            if one["image_id"] == image["id"]:
                reason = reason_to_drop(one, size, crowd="background", min_box_size=1.0)
                if reason:
                    dropped[reason] = dropped.get(reason, 0) + 1
                else:
                    x, y, w, h = np.float32(one["bbox"])
                    boxes.append([x, y, x + w - 1, y + h - 1])
                    labels.append([3, 8, 11].index(one["category_id"]))
        reason = (
            "images below min_image_size" if min(size) < 32 else "images without a usable box" if not boxes and empty == "drop" else None
        )
        if training and reason:
            dropped[reason] = dropped.get(reason, 0) + 1
        else:
            images.append((image["id"], tmp_path / image["file_name"], size, np.float32(boxes).reshape(-1, 4), labels))
    assert list(split.dropped.items()) == list(dropped.items())
    assert len(split.images) == len(images)
    assert split.max_boxes == max(len(boxes) for *_, boxes, _ in images)
    for found, (identity, file, size, boxes, labels) in zip(split.images, images):
        assert (found.id, found.path, found.size, found.labels.tolist()) == (identity, file, size, labels)
        assert found.boxes.tobytes() == boxes.tobytes()
    assert (split.class_names, split.category_ids) == (["a", "b", "c"], [3, 8, 11])


def test_images_as_arrays_are_a_sequence(tmp_path):
    made = [
        AnnotatedImage(10 + k, tmp_path / f"{k}.png", (20 + k, 30), np.full((k, 4), k, np.float32), np.arange(k, dtype=np.int32))
        for k in range(5)
    ]
    images = AnnotatedImages.of(made)
    assert [image.id for image in images] == [10, 11, 12, 13, 14]
    assert images.counts.tolist() == [0, 1, 2, 3, 4]
    for found, expected in zip((*images, images[-1], *images[1:4:2]), (*made, made[4], made[1], made[3])):
        assert (found.id, found.path, found.size) == (expected.id, expected.path, expected.size)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.labels, expected.labels)
    assert images.file(3) == str(made[3].path)
    assert len(AnnotatedImages.of([])) == 0
    with pytest.raises(IndexError):
        images[5]
