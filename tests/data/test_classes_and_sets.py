"""Subsets and merges of classes, and several annotation files as one set: values worked out by hand."""

import json
import re
from collections import Counter

import numpy as np
import pytest

from ttfnet_tf.config import load_config
from ttfnet_tf.data.classes import category_map, choose_classes, class_groups
from ttfnet_tf.data.coco import ImageSet, load_coco, load_sets
from ttfnet_tf.doctor.quick import quick_check
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.coco_metrics import coco_evaluation, ground_truth, metrics_of
from ttfnet_tf.runs.run_folder import split_fingerprint


def _box(number, image, category, x=0):
    return {"id": number, "image_id": image, "category_id": category, "bbox": [x, 0, 10, 10], "area": 100, "iscrowd": 0}


def _content(categories, images, boxes):
    return {
        "images": [{"id": one, "file_name": f"{one}.jpg", "width": 64, "height": 64} for one in images],
        "annotations": [_box(number, *box) for number, box in enumerate(boxes)],  # one has the id 0
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
    }


# Image 3 has a car, a truck and a dog, image 12 two cats.
STREET = _content({1: "car", 4: "truck", 5: "dog", 9: "cat"}, [3, 12], [(3, 1, 1), (3, 4, 20), (3, 5, 40), (12, 9, 2), (12, 9, 30)])
# The same names with other ids, and a class of its own; image 3 is another one.
YARD = _content({1: "dog", 2: "car", 3: "hen"}, [3], [(3, 1, 5), (3, 2, 25), (3, 3, 45)])


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        (tmp_path / name).mkdir(exist_ok=True)
        file = tmp_path / f"{name}.json"
        file.write_text(json.dumps(content))
        return file

    return write


@pytest.fixture
def street(write):
    return write("street", STREET)


@pytest.fixture
def yard(write):
    return write("yard", YARD)


def _sets(*files, repeats=(1, 1, 1)):
    return [ImageSet(file, file.with_suffix(""), repeat) for file, repeat in zip(files, repeats)]


def _message(*arguments, **keywords):
    with pytest.raises(UserError) as error:
        load_sets(*arguments, **keywords)
    assert "\n" not in str(error.value)
    return str(error.value)


def _objects(split):
    """[(image id, class, x of the box)] in order."""
    return [(one.id, split.class_names[label], float(box[0])) for one in split.images for box, label in zip(one.boxes, one.labels)]


def test_a_subset_keeps_the_ids_of_the_file_and_counts_what_it_drops(street):
    split = load_coco(street, street.with_suffix(""), classes=["truck", "car"], training=True)
    assert (split.category_ids, split.class_names) == ([1, 4], ["car", "truck"])
    assert _objects(split) == [(3, "car", 1), (3, "truck", 20)]
    assert split.dropped == {"boxes of other classes (cat 2, dog 1)": 3, "images without a usable box": 1}
    assert "dropped: 3 boxes of other classes (cat 2, dog 1), 1 images without a usable box" in split.summary()
    assert quick_check(split, image_size=(64, 64)) == []  # what was asked for is no finding


def test_a_merge_has_the_id_of_its_first_class(street):
    split = load_coco(street, street.with_suffix(""), classes=["vehicle=truck", "vehicle=car", "pet=dog", "pet=cat"], training=True)
    assert (split.category_ids, split.class_names) == ([4, 5], ["vehicle", "pet"])
    assert _objects(split) == [(3, "vehicle", 1), (3, "vehicle", 20), (3, "pet", 40), (12, "pet", 2), (12, "pet", 30)]


def test_evaluation_keeps_images_without_the_classes_and_its_truth_has_the_merged_ones(street):
    split = load_coco(street, street.with_suffix(""), classes=["vehicle=car", "vehicle=truck"], training=False)
    assert [one.id for one in split.images] == [3, 12]
    truth = ground_truth(split).dataset
    assert [(one["image_id"], one["category_id"], one["bbox"][0]) for one in truth["annotations"]] == [(3, 1, 1), (3, 1, 20)]
    assert [one["id"] for one in truth["annotations"]] == [1, 2]
    assert truth["categories"] == [{"id": 1, "name": "vehicle"}]
    detections = [{"image_id": 3, "category_id": 1, "bbox": [x, 0, 10, 10], "score": 0.9} for x in (1, 20)]
    assert metrics_of(coco_evaluation(split, detections), split)[1] == {"vehicle": 1.0}
    # A box where the truth has a dog is a false positive: recall .5 at precision 1, so that 51 of 101 points count.
    detections[1]["bbox"][0] = 40
    assert metrics_of(coco_evaluation(split, detections), split)[1]["vehicle"] == pytest.approx(51 / 101)


@pytest.mark.parametrize(
    ("classes", "line"),
    [
        (["cra"], "there is no class 'cra' in {street}; did you mean 'cat' or 'car'?"),
        (["Truck"], "there is no class 'Truck' in {street}; did you mean 'truck'?"),
        (["vehicle=car", "vehicle=bus"], "there is no class 'bus' in {street}; it has 'car', 'cat', 'dog', 'truck'"),
    ],
)
def test_an_unknown_class_is_named_with_near_ones(street, classes, line):
    assert _message(_sets(street), classes=classes, training=True) == f"data.classes: {line.format(street=street)}"


def test_a_validation_file_may_lack_a_part_of_a_merge_but_not_all_of_it(yard):
    split = load_sets(_sets(yard), classes=["vehicle=car", "vehicle=truck"], training=False)
    assert (split.category_ids, split.class_names) == ([2], ["vehicle"])
    assert "there is no class 'cat' in" in _message(_sets(yard), classes=["cat"], training=False)


def test_validation_classes_take_the_ids_of_training_by_name(yard):
    split = load_sets(_sets(yard), classes=["vehicle=car", "dog"], known=[(1, "vehicle"), (5, "dog")], training=False)
    assert (split.category_ids, split.class_names) == ([1, 5], ["vehicle", "dog"])
    assert _objects(split) == [(3, "dog", 5), (3, "vehicle", 25)]
    assert {one["category_id"] for one in ground_truth(split).dataset["annotations"]} == {1, 5}


def test_one_validation_file_without_a_choice_of_classes_is_matched_by_name_too(write):
    val = write("val", _content({1: "dog", 2: "car"}, [3], [(3, 1, 5), (3, 2, 25)]))
    split = load_sets(_sets(val), known=[(1, "car"), (3, "hen"), (5, "dog")], training=False)
    assert (split.category_ids, split.class_names) == ([1, 3, 5], ["car", "hen", "dog"])
    assert _objects(split) == [(3, "dog", 5), (3, "car", 25)]
    assert [one["category_id"] for one in ground_truth(split).dataset["annotations"]] == [5, 1]


def test_files_are_joined_by_the_names_of_classes_with_repeats(street, yard):
    split = load_sets(_sets(street, yard, repeats=(1, 2)), training=True)
    # dog and car have the ids of the first file; 3 is free, so hen keeps it.
    assert (split.category_ids, split.class_names) == ([1, 3, 4, 5, 9], ["car", "hen", "truck", "dog", "cat"])
    # The largest id has two digits, so the second file's ids begin at 100.
    yard_objects = [(103, "dog", 5), (103, "car", 25), (103, "hen", 45)]
    street_objects = [(3, "car", 1), (3, "truck", 20), (3, "dog", 40), (12, "cat", 2), (12, "cat", 30)]
    assert _objects(split) == street_objects + 2 * yard_objects
    assert [one.path for one in split.images][1:] == [street.with_suffix("") / "12.jpg", *2 * [yard.with_suffix("") / "3.jpg"]]
    assert [split.own_id(one.id) for one in split.images] == [(street, 3), (street, 12), (yard, 3), (yard, 3)]
    assert split.annotations.name == "street.json + yard.json x 2"
    assert quick_check(split, image_size=(64, 64)) == [
        f"{split.annotations}: {street} does not list 'hen', so objects of it there are background",
        f"{split.annotations}: {yard} does not list 'truck', 'cat', so objects of them there are background",
    ]


def test_an_id_that_is_taken_gives_way(write):
    first, second = write("a", _content({1: "car"}, [1], [(1, 1)])), write("b", _content({1: "hen"}, [1], [(1, 1)]))
    split = load_sets(_sets(first, second), training=True)
    assert list(zip(split.category_ids, split.class_names)) == [(1, "car"), (2, "hen")]
    assert _objects(split) == [(1, "car", 0), (11, "hen", 0)]


def test_the_truth_of_several_files_is_scored_as_one(street, yard):
    split = load_sets(_sets(street, yard), training=False)
    truth = ground_truth(split)
    found = [{key: one[key] for key in ("image_id", "category_id", "bbox")} | {"score": 0.5} for one in truth.dataset["annotations"]]
    assert Counter(one["image_id"] for one in found) == {3: 3, 12: 2, 103: 3}
    assert metrics_of(coco_evaluation(split, found), split)[0]["AP"] == 1.0
    assert metrics_of(coco_evaluation(split, found[:-1]), split)[1] == pytest.approx({"car": 1, "hen": 0, "truck": 1, "dog": 1, "cat": 1})


def test_a_validation_class_that_training_lacks_is_refused(street, yard):
    known = [(1, "car"), (5, "dog")]
    line = _message(_sets(yard, street), known=known, training=False)
    assert line.startswith(f"{yard}: has the class 'hen', which the model is not trained on; it has 'car', 'dog'; name")
    assert _message(_sets(yard), known=known, classes=["hen"], training=False).startswith("data.classes: the model is not trained on 'hen'")


def test_ids_that_are_too_large_to_combine(write, yard):
    large = write("large", _content({1: "car"}, [2**52], [(2**52, 1)]))
    assert f"image ids up to {2**52} are too large to combine 2 files" in _message(_sets(large, yard), training=True)


def test_a_packed_folder_stands_alone(street, yard, monkeypatch):
    monkeypatch.setattr("ttfnet_tf.data.coco.PackedFolder", type(yard))  # every folder counts as packed
    assert "is packed, and data.train with several files or repeat takes folders of image files" in _message(
        _sets(street, yard), training=True
    )


def test_groups_read_what_settings_hold():
    assert class_groups(["a=x", "b", "a=y=z"]) == {"a": ["x", "y=z"], "b": ["b"]}


def test_equal_names_in_one_file_become_one_class_when_classes_are_matched_by_name(tmp_path):
    categories = [(7, "car"), (2, "car"), (3, "dog")]
    chosen = choose_classes([(tmp_path, categories)], {"car": ["car"]})
    assert chosen == [(2, "car")]
    assert category_map(categories, {"car": ["car"]}, chosen) == {7: 2, 2: 2}


def test_the_fingerprint_covers_every_file_and_its_repeat(write_yaml, street, yard, tmp_path):
    def fingerprint(second, repeat):
        text = f"data: {{train: [{{annotations: {street}, images: A}}, {{annotations: {second}, images: B, repeat: {repeat}}}]}}"
        return split_fingerprint(load_config(write_yaml("a.yaml", text)).data.train)

    copy = tmp_path / "copy.json"
    copy.write_bytes(yard.read_bytes())
    assert fingerprint(yard, 2) == fingerprint(copy, 2)
    assert len({fingerprint(yard, 2), fingerprint(yard, 3), fingerprint(street, 2), fingerprint(tmp_path / "gone.json", 2)}) == 4
    assert fingerprint(tmp_path / "gone.json", 2) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{vehicle: [car, truck], person: person}", ["vehicle=car", "vehicle=truck", "person"]),
        ("[person, car]", ["person", "car"]),
        ("{a: b=c}", ["a=b=c"]),
        ("[]", []),
    ],
)
def test_classes_in_files_and_on_the_command_line(write_yaml, text, expected):
    assert load_config(write_yaml("a.yaml", f"data: {{classes: {text}}}")).data.classes == expected
    assert load_config(write_yaml("b.yaml", ""), [f"data.classes={text}"]).data.classes == expected


def test_a_list_of_files_takes_the_place_of_one_and_the_other_way_round(write_yaml):
    write_yaml("base.yaml", "data: {train: {annotations: a.json, images: A}}")
    several = write_yaml(
        "b.yaml", "base: base.yaml\ndata: {train: [{annotations: b.json, images: ~/B}, {annotations: c.json, images: C, repeat: 3}]}"
    )
    train = load_config(several).data.train
    assert (train.annotations, train.images, [one.repeat for one in train.sets]) == ("", "", [1, 3])
    assert not train.sets[0].images.startswith("~")
    one = load_config(several, ["data.train.annotations=d.json", "data.train.images=D"]).data.train
    assert (one.annotations, one.images, one.sets) == ("d.json", "D", [])
    alone = load_config(several, ["data.train=[{annotations: e.json, images: E}]"]).data.train
    assert (alone.annotations, alone.images, alone.sets) == ("e.json", "E", [])


WRONG = [
    ("data.train=[]", "data.train=[] names no annotation file"),
    ("data.train=[a.json]", "data.train[0]=a.json must have keys"),
    ("data.train=[{annotations: a.json}]", "data.train[0]: has no images"),
    ("data.train=[{annotations: a.json, images: A, repeat: 0}]", "data.train[0].repeat=0 must lie in 1..1000"),
    ("data.train=[{annotations: a.json, images: A, repeat: x}]", "data.train[0].repeat=x must be an integer, such as 1"),
    ("data.train=[{annotations: a.json, image: A}]", "data.train[0]: unknown key 'image'; did you mean 'images'?"),
    ("data.val=[{annotations: a.json, images: A, repeat: 2}]", "data.val[0].repeat=2: an evaluation takes each image once"),
    ("data.train={annotations: a.json, sets: [{annotations: b.json, images: B}]}", "data.train: has both sets and annotations"),
    ("data.train.sets=3", "data.train.sets=3 must be a list"),
    ("data.classes={a: []}", "data.classes: a=[] must be a class of the files, or a list of some"),
    ("data.classes={a=b: c}", "data.classes: a=b holds a '='"),
    ("data.classes={a: {b: c}}", "data.classes: a={'b': c} must be a class of the files"),
    ("data.classes=[a, b=a]", "data.classes=['a', 'b=a'] must name each class of the files once"),
    ("data.classes=['=a']", "data.classes=['=a'] must be a list of classes or NAME=CLASS_OF_THE_FILES"),
    ("data.classes=car", "data.classes=car must be a list"),
]


@pytest.mark.parametrize(("override", "expected"), WRONG)
def test_wrong_sets_and_classes(write_yaml, override, expected):
    with pytest.raises(UserError, match=re.escape(expected)):
        load_config(write_yaml("a.yaml", ""), [override])


def test_images_of_a_joined_set_are_cut_like_any_other(street, yard):
    images = load_sets(_sets(street, yard), training=True).images
    assert [one.id for one in images[1:]] == [12, 103]
    np.testing.assert_array_equal(images.counts, [3, 2, 3])
