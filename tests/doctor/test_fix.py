"""`--fix`: the cleaned file passes the check, every change is listed, and no file is overwritten."""

import json
from collections import Counter

import numpy as np
import pytest
from doctor import planted
from PIL import Image

from ttfnet_tf.doctor.check import check_data
from ttfnet_tf.doctor.findings import Settings
from ttfnet_tf.doctor.fix import changes_path, refuse_existing, write_fixed
from ttfnet_tf.doctor.kinds import KINDS
from ttfnet_tf.errors import UserError
from ttfnet_tf.json_text import with_text

SETTINGS = Settings(image_size=planted.IMAGE_SIZE)
ALL = {**planted.PLANTS, **planted.WHOLE}
REFUSED = {"not-json", "not-coco", "section-missing", "section-empty", "nothing-to-use"}
# Warnings and notes that stay, because they have no single answer.
KEPT = {code for code, kind in KINDS.items() if kind.severity != "error"} - {
    "box-zero",
    "box-negative",
    "box-outside",
    "box-partly-outside",
    "box-twice",
    "area-zero",
    "area-too-large",
    "category-name-unprintable",
    "file-name-twice",
    "image-twice",
}


def fixed(data):
    """(cleaned content, list of changes, result of `write_fixed`, report about the cleaned file)."""
    train, val = data.write()
    before = train[0].read_bytes()
    report = check_data(train, val, settings=SETTINGS)
    out = data.folder / "fixed.json"
    result = write_fixed(report.splits[0], out, SETTINGS)
    assert train[0].read_bytes() == before
    changes = [json.loads(line) for line in changes_path(out).read_text().splitlines()]
    return json.loads(out.read_text()), changes, result, check_data((out, train[1]), val, settings=SETTINGS)


def undone(content, changes):
    """The cleaned file with its list of changes taken back: entries by section, in any order."""
    sections = {name: [json.dumps(one) for one in content[name]] for name in ("images", "annotations", "categories")}
    for one in reversed(changes):
        section, entry = sections[one["section"]], one["entry"]
        if one["action"] == "changed":
            section.remove(json.dumps({**entry, **one["to"]}))
        section.append(json.dumps(entry))
    return {name: Counter(section) for name, section in sections.items()}


def original(content):
    return {name: Counter(json.dumps(with_text(one)) for one in content[name]) for name in ("images", "annotations", "categories")}


@pytest.mark.parametrize("code", ALL)
def test_each_fault_is_fixed_or_refused(tmp_path, code):
    data = planted.clean(tmp_path / "data")
    ALL[code](data, 1, 900)
    if code in REFUSED:
        with pytest.raises(UserError, match=f"{code}.* has no single answer; fix it by hand \\(nothing was written\\)"):
            fixed(data)
        assert not (data.folder / "fixed.json").exists()
        assert not changes_path(data.folder / "fixed.json").exists()
        return
    content, changes, result, after = fixed(data)
    train = {finding.code for finding in after.splits[0].findings}
    assert (code in train) == (code in KEPT and code not in ("class-without-validation", "categories-differ"))
    assert not {finding.code for finding in after.splits[0].findings if finding.severity == "error"}
    assert undone(content, changes) == original(data.train)
    assert sum(result.counts.values()) == len(changes)
    assert bool(changes) == (code not in KEPT and code != "categories-differ")
    assert content["info"] == data.train["info"]


def test_everything_at_once(tmp_path):
    data = planted.clean(tmp_path / "data", images=len(planted.PLANTS) + 3)
    for k, plant in enumerate(planted.PLANTS.values()):
        plant(data, k, 900 + k)
    content, changes, result, after = fixed(data)
    assert after.exit_code() == 0
    assert {finding.code for finding in after.splits[0].findings} <= KEPT
    assert undone(content, changes) == original(data.train)
    assert f"the {len(changes)} removed or changed entries" in "\n".join(result.lines())
    assert "not fixed, for you to check: " in result.lines()[-1]


def fixed_image(tmp_path, change, k=1):
    """The cleaned entry of image k and its boxes after one change to a clean set."""
    data = planted.clean(tmp_path / "data")
    change(data, k, 900)
    name = data.image(k)["file_name"]
    content, changes, _, _ = fixed(data)
    (image,) = (one for one in content["images"] if one["file_name"] == name)
    boxes = [one for one in content["annotations"] if one["image_id"] == image["id"]]
    return image, boxes, changes


def test_a_box_over_the_border_is_clipped(tmp_path):
    _, boxes, changes = fixed_image(tmp_path, planted.box(bbox=[-6, 40, 20, 15], area=300))
    assert (boxes[0]["bbox"], boxes[0]["area"]) == ([0, 40, 14, 8], 112)  # of 64 x 48 px
    assert (changes[0]["code"], changes[0]["to"]) == ("box-partly-outside", {"bbox": [0, 40, 14, 8], "area": 112})
    assert (boxes[0]["more"], changes[0]["entry"]["bbox"]) == ([1], [-6, 40, 20, 15])


@pytest.mark.parametrize(
    ("orientation", "box"),
    # A stored image of 64 x 48 px with a box at x 10..30, y 5..15, by the meaning of each orientation.
    [(5, [5, 10, 10, 20]), (6, [33, 10, 10, 20]), (7, [33, 34, 10, 20]), (8, [5, 34, 10, 20])],
)
def test_boxes_follow_an_image_that_exif_rotates(tmp_path, orientation, box):
    """Their pixels prove it: the box is white on black, and the decoded image must be white exactly there."""
    from ttfnet_tf.data.images import read_rgb

    def write(path, _):
        black = np.zeros((48, 64, 3), np.uint8)
        black[5:15, 10:30] = 255
        planted.saved(orientation=orientation, quality=100)(path, black)

    def change(data, k, free):
        planted.file(".jpg", write)(data, k, free)
        data.train["annotations"] = [one for one in data.train["annotations"] if one["image_id"] != data.image(k)["id"]]
        one = data.add_box(data.train, data.image(k)["id"], 1, [10, 5, 20, 10])
        one["segmentation"] = [[10, 5, 30, 5, 30, 15]]

    image, (one,), _ = fixed_image(tmp_path, change)
    assert (image["width"], image["height"], one["bbox"], one["area"]) == (48, 64, box, 200)
    assert (min(one["segmentation"][0][::2]), min(one["segmentation"][0][1::2])) == tuple(box[:2])
    rows, columns = np.nonzero(read_rgb(tmp_path / "data" / "images" / image["file_name"])[..., 1] > 127)
    assert [columns.min(), rows.min(), columns.max() + 1 - columns.min(), rows.max() + 1 - rows.min()] == box


def test_boxes_follow_an_image_that_was_resized(tmp_path):
    def change(data, k, free):
        Image.fromarray(planted.pixels(5, 24, 32)).save(data.file(data.image(k)["file_name"]))  # half of 64 x 48

    image, boxes, _ = fixed_image(tmp_path, change)
    assert (image["width"], image["height"]) == (32, 24)
    assert [one["bbox"] for one in boxes] == [[side / 2 for side in box] for box in planted.BOXES]
    assert boxes[0]["area"] == 75


def test_a_wrong_stated_size_is_corrected(tmp_path):
    image, boxes, changes = fixed_image(tmp_path, planted.image(width=640, height=50))
    assert (image["width"], image["height"]) == (64, 48)
    assert [one["bbox"] for one in boxes] == [list(box) for box in planted.BOXES]
    assert len(changes) == 1


def test_an_image_of_an_unexplained_size_is_dropped_with_its_boxes(tmp_path):
    data = planted.clean(tmp_path / "data")
    Image.fromarray(planted.pixels(5, 40, 40)).save(data.file(data.image(1)["file_name"]))
    _, changes, _, after = fixed(data)
    assert after.exit_code() == 0
    assert [(one["action"], one["code"], one["section"]) for one in changes] == [
        ("removed", "size-differs", section) for section in ("images", *["annotations"] * 3)
    ]


def test_ids_as_text_become_numbers_and_references_follow(tmp_path):
    def change(data, k, free):
        for one in data.boxes(k):
            one["image_id"] = "102"
        data.image(k)["id"] = "102"

    image, boxes, changes = fixed_image(tmp_path, change)
    assert (image["id"], len(boxes), len(changes)) == (102, 3, 4)


def test_two_entries_of_one_file_become_one(tmp_path):
    _, boxes, _ = fixed_image(tmp_path, planted.PLANTS["file-name-twice"])
    assert [one["bbox"] for one in boxes] == [*map(list, planted.BOXES), [5, 5, 20, 20]]


def test_two_files_of_one_id_are_dropped(tmp_path):
    data = planted.clean(tmp_path / "data")
    data.train["images"][2]["id"] = data.image(1)["id"]
    content, changes, _, _ = fixed(data)
    # The boxes of id 102 may belong to either image, and those of 103 to none.
    assert [one["id"] for one in content["images"]] == [101, 104]
    assert Counter(one["section"] for one in changes) == {"images": 2, "annotations": 6}


def test_two_categories_of_one_id_are_refused(tmp_path):
    data = planted.clean(tmp_path / "data")
    data.train["categories"].append({"id": 2, "name": "wolf"})
    with pytest.raises(UserError, match=r"train\.json: category-id-twice \(category id 2\) has no single answer"):
        fixed(data)


def test_fractions_and_corners_become_sides_in_pixels(tmp_path):
    for number, code in enumerate(("boxes-relative", "boxes-as-corners")):
        _, boxes, _ = fixed_image(tmp_path / str(number), planted.WHOLE[code])
        np.testing.assert_allclose([one["bbox"] for one in boxes], planted.BOXES, atol=1e-9)


@pytest.mark.parametrize("name", ["fixed.json", "fixed.json.changes.jsonl"])
def test_no_file_is_overwritten(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"{name} exists and is not overwritten; name a new file"):
        refuse_existing(tmp_path / "fixed.json")
    assert (tmp_path / name).read_text() == "mine"
