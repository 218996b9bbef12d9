"""`data split` and `data merge`: every image is in one part, copies stay together, ids and names can be followed back."""

import json
import shlex
from itertools import chain

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf import cli
from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.merge_coco import merge_coco
from ttfnet_tf.formats.split_coco import split_coco

CLASSES = [{"id": 3, "name": "cat"}, {"id": 8, "name": "dog"}]


def pixels(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (16, 16), np.uint8)).resize((64, 64), Image.Resampling.BICUBIC)


def coco(images, annotations, categories=None, **more):
    """images: {id: file name}; annotations: (image id, category id)."""
    return {
        **more,
        "images": [{"id": one, "file_name": name, "width": 64, "height": 64} for one, name in images.items()],
        "annotations": [
            {"id": number, "image_id": image, "category_id": category, "bbox": [1, 2, 3, 4]}
            for number, (image, category) in enumerate(annotations, start=100)
        ],
        "categories": CLASSES if categories is None else categories,
    }


@pytest.fixture
def data(tmp_path):
    """all.json of 20 images in images/: ids 1 to 20, of which 1 to 4 are one image in two sizes and two formats; half have dogs."""
    (tmp_path / "images").mkdir()
    names = {}
    for number in range(1, 21):
        picture = pixels(0 if number <= 4 else number)
        names[number] = f"{number}.{'jpg' if number in (2, 4) else 'png'}"
        (picture.resize((32, 32)) if number in (3, 4) else picture).save(tmp_path / "images" / names[number])
    content = coco(names, [(number, 8 if number % 2 else 3) for number in names], info={"year": 2020})
    (tmp_path / "all.json").write_text(json.dumps(content))
    return tmp_path


def ids(path):
    return [image["id"] for image in json.loads(path.read_text())["images"]]


def test_parts_are_stratified_and_copies_stay_together(data):
    report = split_coco(data / "all.json", data / "images", data / "new", val=0.2, test=0.2)
    found = {name: ids(path) for name, path in report.files.items()}
    assert {name: len(one) for name, one in found.items()} == {"train": 12, "val": 4, "test": 4}
    assert sorted(chain(*found.values())) == list(range(1, 21))
    assert [name for name, one in found.items() if set(one) & {1, 2, 3, 4}] == ["train"]  # and so not alone in a part of 4
    for path in report.files.values():
        content = json.loads(path.read_text())
        classes = [one["category_id"] for one in content["annotations"]]
        assert abs(classes.count(3) - classes.count(8)) <= 2
        assert {one["image_id"] for one in content["annotations"]} == {image["id"] for image in content["images"]}
        assert content["categories"] == CLASSES
    assert report.lines[0] == "3 copies or near-copies of other images stay in the part of those"
    again = split_coco(data / "all.json", data / "images", data / "again", val=0.2, test=0.2)
    other = split_coco(data / "all.json", data / "images", data / "other", val=0.2, test=0.2, seed=1)
    assert {name: ids(path) for name, path in again.files.items()} == found
    assert {name: ids(path) for name, path in other.files.items()} != found


def test_folds(data):
    report = split_coco(data / "all.json", data / "images", data / "new", folds=4)
    assert list(report.files)[:3] == ["fold1/train", "fold1/val", "fold2/train"]
    held_out = [ids(report.files[f"fold{number}/val"]) for number in (1, 2, 3, 4)]
    assert sorted(chain(*held_out)) == list(range(1, 21))
    for number in (1, 2, 3, 4):
        assert sorted(ids(report.files[f"fold{number}/train"]) + held_out[number - 1]) == list(range(1, 21))
    assert sum(bool({1, 2, 3, 4} & set(one)) for one in held_out) == 1


def test_the_default_and_a_class_that_a_part_lacks(data):
    content = coco({number: f"{number}.png" for number in range(1, 21)}, [(1, 3), *((number, 8) for number in range(2, 21))])
    (data / "all.json").write_text(json.dumps(content))
    report = split_coco(data / "all.json", None, data / "new")
    assert [len(ids(path)) for path in report.files.values()] == [14, 6]  # a third at most: 6.3 of 19 dogs, .3 of one cat
    assert report.lines[0].startswith("images were not opened")
    assert [line.rpartition("; ")[2] for line in report.lines[1:]].count("none of cat") == 1


def test_the_command_prints_settings_and_replaces_its_own_files(data, capsys):
    command = f"data split {data}/all.json {data}/images --out {data}/new --val 0.5"
    assert cli.main(shlex.split(command)) == 0
    assert f"data.val.annotations={data}/new/val.json data.val.images={data}/images" in capsys.readouterr().out
    assert cli.main(shlex.split(f"{command} --seed 3")) == 0


def test_a_part_without_an_image_is_refused(data):
    content = coco({1: "1.png", 2: "2.jpg", 3: "3.png"}, [])
    (data / "all.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"all.json: no image is left for val, because it has 3, copies of which stay together"):
        split_coco(data / "all.json", data / "images", data / "new", val=0.4)
    assert not (data / "new").exists()


def test_merge(tmp_path):
    for folder in ("a", "b/photos"):
        (tmp_path / folder).mkdir(parents=True)
    first = coco({7: "1.png", 9: "2.png"}, [(7, 3), (9, 8)])
    second = coco({7: "1.png"}, [(7, 3), (7, 1)], [{"id": 1, "name": "dog"}, {"id": 3, "name": "bird", "supercategory": "animal"}])
    (tmp_path / "a.json").write_text(json.dumps(first))
    (tmp_path / "b.json").write_text(json.dumps(second))
    report = merge_coco([(tmp_path / "a.json", tmp_path / "a"), (tmp_path / "b.json", tmp_path / "b/photos")], tmp_path / "all.json")
    content = json.loads((tmp_path / "all.json").read_text())
    size = {"width": 64, "height": 64}
    assert content["images"] == [
        {"id": 1, "file_name": "a/1.png", **size, "old_id": 7, "old_file": "a.json"},
        {"id": 2, "file_name": "a/2.png", **size, "old_id": 9, "old_file": "a.json"},
        {"id": 3, "file_name": "b/photos/1.png", **size, "old_id": 7, "old_file": "b.json"},
    ]
    box = {"bbox": [1, 2, 3, 4]}
    assert content["annotations"] == [
        {"id": 1, "image_id": 1, "category_id": 3, **box, "old_id": 100},
        {"id": 2, "image_id": 2, "category_id": 8, **box, "old_id": 101},
        {"id": 3, "image_id": 3, "category_id": 9, **box, "old_id": 100},
        {"id": 4, "image_id": 3, "category_id": 8, **box, "old_id": 101},
    ]
    assert content["categories"] == [
        {"id": 3, "name": "cat", "supercategory": ""},
        {"id": 8, "name": "dog", "supercategory": ""},
        {"id": 9, "name": "bird", "supercategory": "animal"},
    ]
    assert report.images == tmp_path
    assert (
        report.lines[1] == f"{tmp_path}/a.json does not have the classes bird: objects of them in its images would be taught as background"
    )
    assert report.lines[2].startswith(f"{tmp_path}/b.json does not have the classes cat:")


def test_an_image_of_two_files_gets_the_boxes_of_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "images").mkdir()
    (tmp_path / "a.json").write_text(json.dumps(coco({1: "1.png", 2: "2.png"}, [(1, 3)])))
    (tmp_path / "b.json").write_text(json.dumps(coco({5: "./2.png", 6: "1.png"}, [(6, 8), (5, 8)])))
    assert cli.main(shlex.split("data merge a.json images b.json ./images --out all.json")) == 0
    content = json.loads((tmp_path / "all.json").read_text())
    assert [image["file_name"] for image in content["images"]] == ["1.png", "2.png"]
    assert [(one["image_id"], one["category_id"]) for one in content["annotations"]] == [(1, 3), (1, 8), (2, 8)]
