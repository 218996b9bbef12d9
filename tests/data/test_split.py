"""Splitting a data set by a seed, on COCO dictionaries."""

from collections import Counter

import pytest

from ttfnet_tf.data.split import assign_parts, split_content, subset, validation_fraction


def _content(*classes_of_images):
    """Image k has id 10 + k and one annotation for each of its classes."""
    images = [{"id": 10 + k, "file_name": f"{k}.png", "height": 64, "width": 64} for k in range(len(classes_of_images))]
    pairs = [(10 + k, one) for k, classes in enumerate(classes_of_images) for one in classes]
    annotations = [{"id": n, "image_id": image, "category_id": one, "bbox": [0, 0, 9, 9]} for n, (image, one) in enumerate(pairs, start=1)]
    return {"images": images, "annotations": annotations, "categories": [{"id": k, "name": f"c{k}"} for k in (1, 2, 3)]}


def _counts(content):
    """Class -> images that show it."""
    return Counter(one for one, _ in {(a["category_id"], a["image_id"]) for a in content["annotations"]})


def test_every_image_is_in_one_part_with_its_annotations():
    content = _content([1], [1, 2], [], [3, 3], [2], [1])
    parts = split_content(content, [0.5, 0.5], seed=3)
    assert sorted(image["id"] for part in parts for image in part["images"]) == [10, 11, 12, 13, 14, 15]
    assert sorted(one["id"] for part in parts for one in part["annotations"]) == [1, 2, 3, 4, 5, 6, 7]
    for part in parts:
        assert {one["image_id"] for one in part["annotations"]} <= {image["id"] for image in part["images"]}
        assert part["categories"] == content["categories"]


@pytest.mark.parametrize("seed", range(5))
def test_classes_have_their_fraction_in_each_part(seed):
    """20 images of class 1, 8 of class 2, 4 of class 3, four without an object: a quarter of each is 5, 2, 1 and 1."""
    content = _content(*[[1]] * 20, *[[2]] * 8, *[[3]] * 4, *[[]] * 4)
    train, val = split_content(content, [0.75, 0.25], seed=seed)
    assert _counts(train) == {1: 15, 2: 6, 3: 3}
    assert _counts(val) == {1: 5, 2: 2, 3: 1}
    assert (len(train["images"]), len(val["images"])) == (27, 9)


def test_a_class_of_one_image_is_trained_on():
    train, val = split_content(_content(*[[1]] * 19, [1, 2]), [0.85, 0.15])
    assert _counts(train)[2] == 1
    assert len(val["images"]) == 3


def test_folds_hold_every_image_once():
    content = _content(*[[1]] * 9, *[[2]] * 6)
    folds = split_content(content, [1 / 3] * 3, seed=1)
    assert [_counts(fold) for fold in folds] == [{1: 3, 2: 2}] * 3


def test_copies_stay_together_also_by_others_between_them():
    content = _content(*[[1]] * 12)
    copies = [(10, 15), (15, 21), (12, 13)]
    for seed in range(8):
        part = assign_parts(content, [0.5, 0.5], seed=seed, copies=copies)
        assert part[10] == part[15] == part[21]
        assert part[12] == part[13]
        assert Counter(part.values()) == {0: 6, 1: 6}


def test_the_seed_decides():
    content = _content(*[[1]] * 30)
    assert assign_parts(content, [0.8, 0.2], seed=4) == assign_parts(content, [0.8, 0.2], seed=4)
    assert assign_parts(content, [0.8, 0.2], seed=4) != assign_parts(content, [0.8, 0.2], seed=5)


def test_subset_keeps_other_keys():
    content = {**_content([1], [2]), "info": {"year": 2026}}
    assert subset(content, [11]) == {**content, "images": content["images"][1:], "annotations": content["annotations"][1:]}


@pytest.mark.parametrize(("images", "expected"), [(3, 1), (30, 10), (60, 20), (100, 20), (200, 30), (20_000, 1000)])
def test_images_of_a_validation_set(images, expected):
    """15 %, at least 20 unless that is more than a third, at most 1000."""
    assert round(validation_fraction(images) * images) == expected


@pytest.mark.parametrize("fractions", [[], [1.0, 0.0], [0.5, 0.4]])
def test_fractions_add_up(fractions):
    with pytest.raises(ValueError, match="sum 1"):
        assign_parts(_content([1]), fractions)
