"""The quick check: no line about a sound set, one line for each problem that spoils a run."""

import time
from pathlib import Path

import numpy as np
import pytest

from ttfnet_tf.data.coco import AnnotatedImage, CocoSplit
from ttfnet_tf.doctor.quick import quick_check

NAMES = ["cat", "dog", "fox"]


def split(objects, *, file="train.json", images=200, folder="a", dropped=None, size=(480, 640), names=NAMES):
    """Boxes [(image, label, [x1, y1, x2, y2])] in images with ids from 1 on."""
    made = []
    for number in range(images):
        own = [(label, box) for image, label, box in objects if image == number]
        boxes = np.array([box for _, box in own], np.float32).reshape(-1, 4)
        labels = np.array([label for label, _ in own], np.int32)
        made.append(AnnotatedImage(number + 1, Path(folder) / f"{number + 1}.jpg", size, boxes, labels))
    return CocoSplit(made, list(range(1, len(names) + 1)), list(names), Path(file), dropped or {})


def sound(count=60, **more):
    return [(k, k % 3, [10 + k, 20, 110 + k, 90]) for k in range(count)]


def test_a_sound_set_has_no_line():
    assert quick_check(split(sound()), split(sound(9), file="val.json", folder="b")) == []


CASES = {
    "class without boxes": (
        split([one for one in sound() if one[1] != 1]),
        None,
        "train.json: 1 of 3 classes have no training box: dog",
    ),
    "imbalance": (
        split(
            [(k % 200, 0, [k % 90, k // 90, 300, 300]) for k in range(500)]
            + [(0, 1, [5, 5, 99, 99]), (0, 1, [6, 6, 99, 99]), (1, 2, [5, 5, 99, 99])]
        ),
        None,
        "train.json: 2 classes have less than a hundredth of the 500 boxes of 'cat': fox 1, dog 2",
    ),
    "class without validation": (
        split(sound()),
        split([one for one in sound(9) if one[1] != 2], file="val.json", folder="b"),
        "train.json: 1 classes have no validation box, so no AP: fox",
    ),
    "one file in both": (
        split(sound(), images=60),
        split(sound(9), file="val.json", images=9),
        "train.json: 9 training images are also validation images, such as 1.jpg (image id 1): the AP measures memory",
    ),
    "dropped": (
        split(sound(), dropped={"crowd boxes": 20, "images without a usable box": 900}),
        None,
        "train.json: 20 of 80 boxes are dropped, so their objects become background",
    ),
    "outside": (
        split(sound() + [(7, 0, [-1, 5, 50, 50])]),
        None,
        "train.json: 1 of 61 boxes reach beyond their image, such as one in 8.jpg (image id 8)",
    ),
    "tiny": (
        split(sound() + [(7, 0, [5, 5, 5, 50])]),  # one of 640 px is .8 of 512
        None,
        "train.json: 1 of 61 boxes have a side below one pixel after resizing and are hardly detectable, such as one in 8.jpg (image id 8)",
    ),
    "repeated": (
        split([*sound(), *sound()[7:9]]),
        None,
        "train.json: 2 of 62 boxes are repeated with the same class, such as one in 8.jpg (image id 8)",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_each_case_has_its_line(name):
    train, val, line = CASES[name]
    assert quick_check(train, val) == [line]


@pytest.mark.parametrize(
    "more",
    [
        [(7, 0, [0, 0, 639, 479])],  # to the last pixel
        [(7, 0, [-0.4, 0, 639.4, 479])],  # annotators round
        [(7, 0, [17, 20, 117, 90])],  # another class on the box of image 7
        [(8, 1, [17, 20, 117, 90])],  # the box of image 7 in another
    ],
)
def test_what_is_fine(more):
    assert quick_check(split(sound() + more)) == []


def test_a_split_without_boxes():
    assert quick_check(split([]), split([])) == [
        "train.json: 3 of 3 classes have no training box: cat, dog, fox",
        "train.json: 200 training images are also validation images, such as 1.jpg (image id 1): the AP measures memory",
    ]


def test_a_tenth_of_coco_takes_a_fraction_of_a_second():
    rng = np.random.default_rng(0)
    images = []
    for number in range(11_700):
        corners = rng.integers(0, 300, (7, 2)).astype(np.float32)
        boxes = np.concatenate([corners, corners + 50], axis=1)
        images.append(AnnotatedImage(number, Path(f"{number}.jpg"), (480, 640), boxes, np.arange(7, dtype=np.int32)))
    train = CocoSplit(images, list(range(7)), list("abcdefg"), Path("train.json"), {})
    start = time.process_time()
    assert quick_check(train) == []
    assert time.process_time() - start < 1
