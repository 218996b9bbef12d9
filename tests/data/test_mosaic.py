"""Mosaic and mixup: tiles, pixels and boxes by hand, and batches that do not depend on where a run begins, on workers or on the cache."""

import os

import cv2
import numpy as np
import pytest
from train_batches import BATCH, SIZE, assert_same, take, train

from ttfnet_tf import build
from ttfnet_tf.config import load_config
from ttfnet_tf.data import samples
from ttfnet_tf.data.annotated_images import AnnotatedImage
from ttfnet_tf.data.augment import Augmentation
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.mosaic import Tile, combine, draw_mosaic, make_mosaic, mix, place_boxes
from ttfnet_tf.data.pipeline import ImageNotes
from ttfnet_tf.training.build import mixing_of

IMAGES = 7
ALWAYS = Augmentation(mosaic=1.0, mixup=0.5, mixed_epochs=99, vertical_flip=0.5)


def _one(colour, boxes=(), labels=(), size=(16, 16)):
    return np.full((*size, 3), colour, np.uint8), np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int32)


def test_tiles_fill_the_mosaic_with_parts_of_their_images():
    scales, corners = [], set()
    for number in range(200):
        size = (64, 96) if number % 2 else (32, 32)
        tiles = draw_mosaic(size, np.random.default_rng(number))
        times = np.zeros(size, int)
        for tile in tiles:
            left, top, right, bottom = tile.place
            times[top:bottom, left:right] += 1
            x1, y1, x2, y2 = tile.part
            assert 0 <= x1 < x2 <= size[1]
            assert 0 <= y1 < y2 <= size[0]
            # One factor for both sides, up to the rounding of the part to whole pixels.
            ratio = (right - left) / (x2 - x1), (bottom - top) / (y2 - y1)
            assert abs((right - left) / ratio[1] - (x2 - x1)) <= 0.51 + 0.5 * (right - left) / (bottom - top)
            assert max(0.5, (right - left) / size[1]) * 0.95 <= ratio[0] <= 1.25 * 1.05
            scales.append(ratio[0])
        np.testing.assert_array_equal(times, 1)
        corners.add(tiles[0].place[:2] == (0, 0))
        x, y = max(tile.place[0] for tile in tiles), max(tile.place[1] for tile in tiles)
        assert 0.29 * size[1] <= x <= 0.71 * size[1]
        assert 0.29 * size[0] <= y <= 0.71 * size[0]
    assert min(scales) < 0.55
    assert max(scales) > 1.2
    assert corners == {True, False}  # the first image is not always at the top left


def test_a_mosaic_by_hand():
    """A part of the size of its place is copied, one of half of it is enlarged by OpenCV's rule."""
    first = _one(0, [[2, 3, 5, 7], [10, 10, 15, 15]], [1, 2])
    first[0][3:8, 2:6] = 200
    tiles = [
        Tile((1, 1, 7, 9), (0, 0, 6, 8)),
        Tile((0, 0, 10, 8), (6, 0, 16, 8)),
        Tile((4, 4, 7, 8), (0, 8, 6, 16)),
        Tile((6, 8, 16, 16), (6, 8, 16, 16)),
    ]
    others = [_one(50), _one(0, [[5, 5, 6, 6]], [0]), _one(90, [[0, 0, 15, 15]], [1])]
    others[1][0][4:8, 4:7] = np.arange(12, dtype=np.uint8).reshape(4, 3, 1)
    image, boxes, labels = make_mosaic([first, *others], tiles, (16, 16))
    expected = np.zeros((16, 16, 3), np.uint8)
    expected[2:7, 1:5] = 200
    expected[:8, 6:] = 50
    expected[8:, 6:] = 90
    expected[8:, :6] = cv2.resize(np.repeat(np.arange(12, dtype=np.uint8).reshape(4, 3, 1), 3, 2), (6, 8))
    np.testing.assert_array_equal(image, expected)
    # [2, 3, 5, 7] moves by (-1, -1); [10, 10, 15, 15] is not in its part; [5, 5, 6, 6] moves by (-4, -4), is doubled and moves by (0, 8);
    # of [0, 0, 15, 15] 10 x 8 of 16 x 16 px are visible: .3125.
    np.testing.assert_array_equal(boxes, [[1, 2, 4, 6], [2, 10, 4, 12], [6, 8, 15, 15]])
    np.testing.assert_array_equal(labels, [1, 0, 1])


def test_boxes_of_which_less_than_a_quarter_is_visible_are_dropped():
    tile = Tile((10, 20, 50, 60), (100, 0, 140, 40))  # moves by (90, -20)
    boxes = np.array(
        [
            [7, 30, 10, 39],  # 1 of 4 columns
            [6, 30, 10, 39],  # 1 of 5
            [49, 59, 50, 60],  # 1 of 2 columns and 1 of 2 rows
            [49, 59, 51, 60],  # 1 of 3 columns and 1 of 2 rows
            [0, 30, 9, 39],  # ends before the part
            [20, 60, 29, 69],  # begins after it
            [0, 0, 200, 200],  # 1600 of 40401 px
        ],
        np.float32,
    )
    found, labels = place_boxes(boxes, np.arange(7), tile)
    np.testing.assert_array_equal(labels, [0, 2])
    np.testing.assert_array_equal(found, [[100, 10, 100, 19], [139, 39, 139, 39]])
    # A factor of .5: 5.5 of 10.5 columns of the moved box are visible.
    found, _ = place_boxes(np.array([[0, 20, 19, 29]], np.float32), np.arange(1), Tile((10, 20, 50, 60), (0, 0, 20, 20)))
    np.testing.assert_array_equal(found, [[0, 0, 4.5, 4.5]])
    assert found.dtype == np.float32


def test_a_blend_by_hand():
    image, boxes, labels = mix(_one(101, [[1, 2, 3, 4]], [5]), _one(200, [[0, 0, 9, 9]], [6]), 0.25)
    np.testing.assert_array_equal(image, np.full((16, 16, 3), 175))  # 25.25 + 150 = 175.25
    np.testing.assert_array_equal(boxes, [[1, 2, 3, 4], [0, 0, 9, 9]])
    np.testing.assert_array_equal(labels, [5, 6])


def _combined(seed, *, sample=None, other=lambda number: _one(10 * number, [[number, 0, 15, 15]], [number]), **changes):
    settings = {"mosaic": 0.5, "mixup": 0.5, "count": 9, "other": other, **changes}
    return combine(sample or _one(255, [[0, 0, 15, 15]], [99]), (16, 16), rng=np.random.default_rng(seed), **settings)


def test_each_comes_with_its_probability():
    """What an image was made of shows in the labels, where all boxes are kept."""
    numbers = {"none": 0, "mosaic": 0, "mixup": 0, "both": 0}
    for seed in range(400):
        image, _, labels = _combined(seed)
        colours = {int(colour) for colour in image[..., 0].ravel()}
        is_mosaic = len(colours) > 1
        is_blend = bool(len(labels) == 2 and labels[0] == 99) if not is_mosaic else not colours <= {*range(0, 90, 10), 255}
        numbers["both" if is_mosaic and is_blend else "mosaic" if is_mosaic else "mixup" if is_blend else "none"] += 1
    # 100 each, with a standard deviation of 9; a mosaic of equal images, or blended with one like it, is not seen as one.
    assert all(60 < count < 140 for count in numbers.values()), numbers
    for seed in range(20):
        sample = _one(255, [[0, 0, 15, 15]], [99])
        assert all(a is b for a, b in zip(_combined(seed, sample=sample, mosaic=0.0, mixup=0.0), sample))


def test_a_mosaic_is_made_of_what_was_drawn():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rng.random()
        numbers, tiles = rng.integers(9, size=3), draw_mosaic((16, 16), rng)
        image, _, _ = _combined(seed, mosaic=1.0, mixup=0.0)
        for colour, tile in zip((255, *(10 * numbers)), tiles):
            left, top, right, bottom = tile.place
            assert (image[top:bottom, left:right] == colour).all()
    assert len({tuple(np.random.default_rng(seed).integers(9, size=3)) for seed in range(10)}) == 10


def test_an_image_that_cannot_be_read_is_replaced_by_the_first():
    image, _, labels = _combined(3, mosaic=1.0, mixup=1.0, other=lambda number: None)
    assert (image == 255).all()
    assert set(labels) == {99}


def test_any_size_is_resized_first():
    image, boxes, _ = _combined(3, sample=_one(255, [[0, 0, 31, 7]], [99], size=(8, 32)), mosaic=0.0, mixup=1.0)
    assert image.shape == (16, 16, 3)
    np.testing.assert_array_equal(boxes[0], [0, 0, 15, 14])  # halves of 31, and 7 doubled


# In batches.


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Seven images of random pixels with 1 to 3 boxes each."""
    folder, images = tmp_path_factory.mktemp("images"), []
    for number in range(IMAGES):
        rng, path = np.random.default_rng(number), folder / f"{number}.png"
        cv2.imwrite(str(path), rng.integers(0, 255, (48, 40, 3), np.uint8))
        corner = rng.uniform(0, 20, (1 + number % 3, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(3, 18, corner.shape)], axis=1).astype(np.float32)
        images.append(AnnotatedImage(100 + number, path, (48, 40), boxes, rng.integers(0, 3, len(boxes)).astype(np.int32)))
    return folder, images


@pytest.fixture
def make_split(files, monkeypatch, tmp_path):
    """A function that makes an equal split anew, as another process would."""
    monkeypatch.setenv("TTFNET_CACHE", str(tmp_path))
    return lambda: CocoSplit(files[1], [2, 5, 9], ["a", "b", "c"], files[0] / "a.json", {})


def test_batches_do_not_depend_on_where_a_run_begins_on_workers_or_on_shards(make_split):
    straight = take(train(make_split(), augment=ALWAYS), 5)
    assert straight[0]["image"].shape == (BATCH, *SIZE, 3)
    assert straight[0]["boxes"].shape == (BATCH, 5 * 3, 4)
    assert max((batch["labels"] >= 0).sum(axis=1).max() for batch in straight) > 3  # more boxes than any image has
    assert_same(take(train(make_split(), augment=ALWAYS, start_step=3, workers=1), 2), straight[3:])
    halves = [take(train(make_split(), augment=ALWAYS, num_shards=2, shard_index=k), 1)[0] for k in (0, 1)]
    assert_same([{name: np.concatenate([half[name] for half in halves]) for name in halves[0]}], straight[:1])
    assert straight[0]["image"].tobytes() != take(train(make_split(), augment=ALWAYS, seed=4), 1)[0]["image"].tobytes()


@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_batches_with_the_cache_equal_those_without(make_split, monkeypatch, kind):
    split, read, reads = make_split(), samples._read, []
    expected = take(train(make_split(), augment=ALWAYS), 4)
    monkeypatch.setattr(samples, "_read", lambda *arguments: reads.append(arguments[1]) or read(*arguments))
    assert_same(take(train(split, augment=ALWAYS, cache=kind, workers=1), 4), expected)
    assert set(reads) == set(range(IMAGES))
    reads.clear()
    assert_same(take(train(split, augment=ALWAYS, cache=kind), 4), expected)
    assert reads == []


def test_the_last_epochs_are_those_without_mosaic_and_mixup(make_split):
    """Two steps make an epoch."""
    closing = Augmentation(mosaic=1.0, mixup=1.0, mixed_epochs=1)
    batches, plain = take(train(make_split(), augment=closing), 4), take(train(make_split(), augment=Augmentation()), 4)
    for step, (batch, expected) in enumerate(zip(batches, plain)):
        assert (batch["image"].tobytes() == expected["image"].tobytes()) == (step >= 2)
        np.testing.assert_array_equal(batch["image_id"], expected["image_id"])
    np.testing.assert_array_equal(batches[3]["boxes"][:, :3], plain[3]["boxes"])
    assert (batches[3]["labels"][:, 3:] == -1).all()
    assert_same(take(train(make_split(), augment=closing, start_step=2), 2), batches[2:])


def test_a_run_of_steps_or_minutes_mixes_until_it_is_told(make_split):
    of = lambda *overrides: load_config(os.devnull, ["augment.mosaic=1", "optim.schedule=trapezoid", *overrides])  # noqa: E731
    for config in (of("train.steps=30"), of("train.minutes=3")):
        assert build.augmentation_of(config).mixed_epochs > 10**6
        assert build.augmentation_of(config, mixes=False).mixed_epochs == 0
        assert mixing_of(config).ends_with_cooldown
    assert mixing_of(of("train.steps=30", "optim.cooldown=0.3")).cooldown_step == 21
    epochs = of("train.epochs=20", "augment.close=0.2")
    assert build.augmentation_of(epochs).mixed_epochs == build.augmentation_of(epochs, mixes=False).mixed_epochs == 16
    assert not mixing_of(epochs).ends_with_cooldown
    assert not mixing_of(load_config(os.devnull, ["train.steps=30"])).ends_with_cooldown
    # The shape of batches stays, so that the step is not traced again.
    shapes = [take(train(make_split(), augment=Augmentation(mosaic=1.0, mixed_epochs=k)), 1)[0]["boxes"].shape for k in (0, 9)]
    assert shapes == [(BATCH, 4 * 3, 4)] * 2


def test_a_broken_image_is_skipped_in_mosaics_too(files, make_split, tmp_path):
    split, notes = make_split(), ImageNotes()
    path = tmp_path / "broken.png"
    path.write_bytes(b"")
    images = [*files[1][:-1], AnnotatedImage(999, path, (48, 40), files[1][-1].boxes, files[1][-1].labels)]
    broken = CocoSplit(images, split.category_ids, split.class_names, split.annotations, {})
    batches = take(train(broken, augment=ALWAYS, broken_images="skip", notes=notes), 4)
    assert list(notes.broken) == [999]
    assert all(999 not in batch["image_id"] for batch in batches)
