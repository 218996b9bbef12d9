"""Class-balanced sampling: factors by hand, counts of each epoch against a loop, and batches that resume."""

from collections import Counter

import cv2
import numpy as np
import pytest
import tensorflow as tf
from train_batches import assert_same, take, train

from ttfnet_tf.data.annotated_images import AnnotatedImage
from ttfnet_tf.data.augment import Augmentation
from ttfnet_tf.data.balance import ClassBalance, balance_of, class_factors, describe_balance, image_factors
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.order import balanced
from ttfnet_tf.data.pipeline import ImageNotes

LABELS = ([0, 1, 1], [0], [0, 0], [0], [])  # of five images; class 2 has no object


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    folder, images = tmp_path_factory.mktemp("images"), []
    for number, labels in enumerate(LABELS):
        path = folder / f"{number}.png"
        cv2.imwrite(str(path), np.random.default_rng(number).integers(0, 255, (40, 40, 3), np.uint8))
        boxes = np.tile(np.float32([5, 5, 20, 20]), [len(labels), 1])
        images.append(AnnotatedImage(100 + number, path, (40, 40), boxes, np.array(labels, np.int32)))
    return CocoSplit(images, [2, 5, 9], ["a", "b", "c"], folder / "a.json", {})


def test_factors_by_hand(split):
    # Class 0 is in 4 of 5 images, class 1 in 1 of 5, whatever the number of its objects.
    np.testing.assert_allclose(class_factors(split.images, 3, 0.8), [1, 2, 1])
    np.testing.assert_allclose(class_factors(split.images, 3, 0.2), [1, 1, 1])
    np.testing.assert_allclose(class_factors(split.images, 3, 1.0), [1.25**0.5, 5**0.5, 1])
    np.testing.assert_allclose(image_factors(split.images, np.array([1.0, 2.0, 1.0])), np.array([2, 1, 1, 1, 1]) * 5 / 6)


def _entries(factors, offset):
    """The image of each entry, by a walk along the cumulated factors."""
    found, image, end = [], 0, factors[0]
    for k in range(len(factors)):
        while k + offset >= end and image < len(factors) - 1:
            image += 1
            end += factors[image]
        found.append(image)
    return found


def test_each_epoch_has_every_image_about_as_often_as_its_factor():
    factors = np.array([2.3, 0.4, 1.0, 0.2, 1.1])
    balance, total = ClassBalance(factors, seed=7), np.zeros(5)
    of_epoch = tf.function(lambda epoch: balanced(balance, epoch, tf.constant([3, 0, 4, 1, 2], tf.int64)), autograph=False)
    for epoch in range(300):
        offset = np.random.default_rng((7, epoch, 5)).random()
        index, copy = of_epoch(tf.constant(epoch, tf.int64))
        expected = _entries(factors, offset)
        np.testing.assert_array_equal(index, np.array(expected)[[3, 0, 4, 1, 2]])
        assert [balance.image(epoch, k) for k in range(5)] == expected
        np.testing.assert_array_equal(copy, np.array([expected[:k].count(expected[k]) for k in range(5)])[[3, 0, 4, 1, 2]])
        counts = np.bincount(expected, minlength=5)
        assert (np.abs(counts - factors) < 1).all()
        total += counts
    np.testing.assert_allclose(total / 300, factors, atol=0.1)  # .5 / sqrt(300) is .03


def test_a_threshold_of_0_is_off(split):
    assert balance_of(split, 0.0, 3) is None
    assert_same(take(train(split, class_balance=0.0), 2), take(train(split), 2))


def test_batches_resume_and_copies_of_an_image_differ(split):
    settings = {"batch_size": 5, "class_balance": 0.8, "augment": Augmentation(lighting=True, mosaic=0.5, mixed_epochs=99)}
    batches = take(train(split, **settings), 8)  # an epoch each
    assert_same(take(train(split, start_step=5, workers=1, **settings), 3), batches[5:])
    counts = [Counter(batch["image_id"].tolist()) for batch in batches]
    assert all(count[100] in (1, 2) and max(count[k] for k in range(101, 105)) == 1 for count in counts)  # 1.67 and .83 on average
    assert sum(count[100] for count in counts) > 10
    for batch in batches:
        copies = [image.tobytes() for image, image_id in zip(batch["image"], batch["image_id"]) if image_id == 100]
        assert len(set(copies)) == len(copies)
    assert len({tuple(sorted(count)) for count in counts}) > 2  # not the same images are missing each time


def test_a_broken_image_gives_its_place_to_the_next(split, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"")
    images = [*(split.images[k] for k in range(4)), AnnotatedImage(999, tmp_path / "broken.png", (40, 40), *split.images.objects(4))]
    broken, notes = CocoSplit(images, split.category_ids, split.class_names, split.annotations, {}), ImageNotes()
    batches = take(train(broken, class_balance=0.8, batch_size=5, broken_images="skip", notes=notes), 8)
    assert list(notes.broken) == [999]
    assert all(999 not in batch["image_id"] for batch in batches)


def test_what_it_does_in_words(split):
    assert describe_balance(split, 0.8) == "data.class_balance=0.8: images are seen 0.83 to 1.7 times an epoch, those with b most often"
    assert describe_balance(split, 0.2) == "data.class_balance=0.2 changes nothing: every class is in at least this fraction of the images"
