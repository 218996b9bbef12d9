"""Training tiles: grid and boxes by hand, what an epoch holds, and the same samples by every way that reads them."""

import json
from collections import Counter

import cv2
import numpy as np
import pytest
from train_batches import assert_same, take, train

from ttfnet_tf.boxes import tiles_of
from ttfnet_tf.data import packing, samples
from ttfnet_tf.data.augment import Augmentation
from ttfnet_tf.data.coco import ImageSet, load_coco, load_sets
from ttfnet_tf.data.image_cache import cache_of
from ttfnet_tf.data.packed_pipeline import PackedRows, note_sizes
from ttfnet_tf.data.pipeline import ImageNotes, check_files, iterate, steps_per_epoch
from ttfnet_tf.data.tiles import clip_to_tiles, describe_tiles, tiled
from ttfnet_tf.doctor.quick import quick_check
from ttfnet_tf.errors import UserError
from ttfnet_tf.inspect.microscope import choose_images
from ttfnet_tf.methods.ttfnet import ttfnet

# One image of 100 x 170 px (height x width), and one that is no larger than a tile. Tiles of 80 px begin at x = 0, 45 and 90, which is
# three of them, spread evenly over 170 px, and at y = 0 and 20.
SIZES, TILE = {7: (100, 170), 9: (60, 80)}, 80
CATEGORIES = {3: "cat", 8: "dog"}


@pytest.fixture
def data(write_coco):
    """A function: objects -> (annotations, folder)."""
    return lambda objects, **more: write_coco(SIZES, objects, CATEGORIES, **more)


def _split(paths, tile=TILE, overlap=0.0, **rules):
    loaded = load_coco(*paths, training=True, **rules)
    return tiled(loaded, tile, overlap, **rules)


def test_grid_and_clipped_boxes_by_hand(data):
    objects = [(7, 3, [10, 5, 20, 10]), (7, 8, [100, 85, 30, 10]), (9, 3, [70, 50, 20, 20])]  # the last one leaves its image
    split = _split(data(objects), empty_images="keep")
    views = [[0, 0, 80, 80], [45, 0, 125, 80], [90, 0, 170, 80], [0, 20, 80, 100], [45, 20, 125, 100], [90, 20, 170, 100], [0, 0, 80, 60]]
    assert split.images.tiles.views.tolist() == views
    assert split.images.ids.tolist() == [7] * 6 + [9]
    assert split.images.sizes.tolist() == [[80, 80]] * 6 + [[60, 80]]
    found = [(boxes.tolist(), labels.tolist()) for boxes, labels in map(split.images.objects, range(7))]
    # The dog is x 100..129, y 85..94: cut to x 55..79 in the tile at 45 (25 of 30 px), whole at 90, below the upper row.
    assert found == [
        ([[10, 5, 29, 14]], [0]),
        ([], []),
        ([], []),
        ([], []),
        ([[55, 65, 79, 74]], [1]),
        ([[10, 65, 39, 74]], [1]),
        ([[70, 50, 89, 69]], [0]),  # a whole image is left to the rules of the resize, as without tiles
    ]
    assert split.summary().endswith("7 tiles of 2 images, 4 boxes, 2 classes; dropped: nothing")


def test_tiles_without_a_box_are_dropped(data):
    split = _split(data([(7, 3, [10, 5, 20, 10]), (9, 3, [1, 1, 20, 20])]))
    assert split.images.tiles.views.tolist() == [[0, 0, 80, 80], [0, 0, 80, 60]]
    assert split.dropped == {"tiles without a usable box": 5}
    assert quick_check(split, None, image_size=(64, 64)) == quick_check(
        load_coco(split.annotations, split.images.folder, training=True), None, image_size=(64, 64)
    )


def test_which_cut_boxes_are_kept():
    views = np.array([[0, 0, 100, 100], [100, 0, 200, 100]])
    boxes = np.float32(
        [
            [90, 10, 129, 19],  # 10 of 40 px are in the first tile: a quarter
            [91, 10, 130, 19],  # 9 of 40
            [50, 50, 349, 59],  # wider than a tile: half of a tile's width, then all of it
            [76, 50, 375, 59],  # 24 of 100
            [99, 0, 101, 2],  # 1 of 3 px
        ]
    )
    kept, clipped = clip_to_tiles(boxes, views, 1.0)
    assert kept.T.tolist() == [[True, True], [False, True], [True, True], [False, True], [True, True]]
    assert clipped[0, 0].tolist() == [90, 10, 99, 19]
    assert clipped[1, [0, 2]].tolist() == [[0, 10, 29, 19], [0, 50, 99, 59]]
    kept, _ = clip_to_tiles(boxes, views, 2.0)
    assert kept[:, 4].tolist() == [False, True]  # a side of one pixel is left in the first tile
    whole, _ = clip_to_tiles(np.float32([[5, 5, 5, 9]]), views, 3.0)
    assert whole.tolist() == [[True], [False]]  # a side that no tile cuts is that of the annotation


@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.5])
def test_no_object_is_lost(overlap):
    rng, tile, limit = np.random.default_rng(0), 96, np.float32([999, 699, 999, 699])
    sides = 1 + rng.exponential(60, (300, 2))
    corners = rng.uniform(0, [999, 699], (300, 2))
    boxes = np.clip(np.concatenate([corners, corners + sides - 1], axis=1), 0, limit).astype(np.float32)
    kept, clipped = clip_to_tiles(boxes, tiles_of((700, 1000), tile, overlap), 1.0)
    assert kept.any(axis=0).all()
    assert ((clipped >= 0) & (clipped <= tile - 1)).all()
    small = (boxes[:, 2:] - boxes[:, :2] + 1 <= int(tile * overlap)).all(axis=1)
    own, shown = ((one[..., 2:] - one[..., :2] + 1).prod(axis=-1) for one in (boxes, clipped))
    np.testing.assert_allclose((shown * kept).max(axis=0)[small], own[small], atol=1e-2)  # whole in one of them
    assert small.any() == (overlap > 0)


@pytest.fixture
def split(data):
    return _split(data([(7, 3, [10, 5, 20, 10]), (7, 8, [60, 25, 90, 60]), (9, 3, [7, 5, 20, 20])]))


def _as_files(split, folder):
    """The same samples from one file for each tile, without any tile."""
    folder.mkdir()
    images, annotations = [], []
    for index in range(len(split.images)):
        left, top, right, bottom = split.images.tiles.views[index].tolist()
        cv2.imwrite(str(folder / f"{index}.png"), cv2.imread(split.images.file(index))[top:bottom, left:right])
        images.append({"id": index, "file_name": f"{index}.png", "height": bottom - top, "width": right - left})
        for box, label in zip(*split.images.objects(index)):
            bbox = [*box[:2].tolist(), *(box[2:] - box[:2] + 1).tolist()]
            number = len(annotations) + 1
            annotations.append({"id": number, "image_id": index, "category_id": split.category_ids[label], "bbox": bbox})
    categories = [{"id": number, "name": name} for number, name in CATEGORIES.items()]
    (folder / "a.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return load_coco(folder / "a.json", folder, training=True)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"cache": "ram", "augment": Augmentation(mosaic=0.7, mixed_epochs=9), "class_balance": 0.5},
        pytest.param({"keep_ratio": True}, marks=pytest.mark.slow),
        pytest.param({"augment": Augmentation(photometric=True, expand=0.5, min_iou_crop=True)}, marks=pytest.mark.slow),
        pytest.param({"augment": Augmentation(mosaic=0.7, mixed_epochs=9)}, marks=pytest.mark.slow),
        pytest.param({"class_balance": 0.5}, marks=pytest.mark.slow),
        pytest.param({"cache": "ram"}, marks=pytest.mark.slow),
    ],
    ids=lambda settings: "-".join(settings) or "flip",
)
def test_samples_equal_those_of_files_that_are_cut_beforehand(split, tmp_path, settings):
    count = 2 * steps_per_epoch(len(split.images), 4)
    found, expected = take(train(split, **settings), count), take(train(_as_files(split, tmp_path / "cut"), **settings), count)
    for one, other in zip(found, expected):
        assert set(one.pop("image_id").tolist()) <= {7, 9}
        other.pop("image_id")
    assert_same(found, expected)


def test_an_epoch_is_all_tiles_in_the_order_of_the_seed_and_resumes(split):
    number = len(split.images)
    batches = take(train(split, batch_size=1), 2 * number)
    epochs = [Counter(image.tobytes() for batch in half for image in batch["image"]) for half in (batches[:number], batches[number:])]
    assert steps_per_epoch(number, 1) == number == 7
    assert [int(batch["image_id"][0]) for batch in batches[:number]].count(7) == 6
    plain = [
        image.tobytes() for batch in take(train(split, batch_size=1, augment=Augmentation(flip=0)), number) for image in batch["image"]
    ]
    assert len(set(plain)) == number  # each tile once
    assert epochs[0].total() == epochs[1].total() == number
    assert_same(take(train(split, batch_size=1, start_step=number + 2, workers=1), 3), batches[number + 2 : number + 5])


@pytest.mark.slow
def test_back_ends_give_the_same_samples(split):
    reference = take(train(split), 3)
    for backend in ("py_function", "graph"):
        batches = [{name: batch[name] for name in reference[0]} for batch in take(train(split, backend=backend), 3)]
        assert_same(batches, reference)


def test_packed_images_give_the_same_samples(split, tmp_path):
    packing.pack(split.annotations, split.images.folder, tmp_path / "packed")
    packed = _split((split.annotations, tmp_path / "packed"))
    assert_same(take(train(packed), 3), take(train(split), 3))
    rows = PackedRows(packed, (32, 64))
    for index in range(len(packed.images)):  # as the workers of a tf.data service make them
        row = rows.row(np.int64(index), np.bool_(False))
        pixels, boxes = samples.resize(
            split.images.part(index, cv2.imread(split.images.file(index))[..., ::-1]), split.images.objects(index)[0], (32, 64)
        )
        np.testing.assert_array_equal(row["image"], pixels)
        np.testing.assert_array_equal(row["boxes"][: len(boxes)], boxes)


def test_with_a_cache_each_image_is_decoded_once(split, monkeypatch):
    reads, read = [], samples._read
    monkeypatch.setattr(samples, "_read", lambda *arguments: reads.append(arguments[1]) or read(*arguments))
    take(train(split, cache="ram", batch_size=1, workers=1), len(split.images))
    assert len(reads) == 2
    assert len(cache_of(split, "ram", (32, 64))) == len(split.images)


@pytest.mark.slow
def test_caches_of_other_tiles_are_other_files(split, tmp_path, monkeypatch):
    monkeypatch.setenv("TTFNET_CACHE", str(tmp_path / "cache"))
    other = _split((split.annotations, split.images.folder), tile=79)
    assert len(other.images) == len(split.images)
    expected = [take(train(one), 2) for one in (split, other)]
    assert_same([batch for one in (split, other) for batch in take(train(one, cache="disk"), 2)], expected[0] + expected[1])


def test_an_image_of_another_size_than_annotated_is_named(split):
    file = split.images.file(0)
    cv2.imwrite(file, np.zeros((170, 100, 3), np.uint8))
    line = f"{file} (image id 7): is 100x170, not 170x100 as annotated, so its tiles do not fit"
    with pytest.raises(UserError) as error:
        list(iterate(train(split).take(3)))
    assert str(error.value) == f"{line}; fix or remove it, or set data.broken_images=skip"
    notes = ImageNotes()
    batches = take(train(split, broken_images="skip", notes=notes), 3)
    assert {int(one) for batch in batches for one in batch["image_id"]} == {9}
    assert notes.broken == {7: line}


def test_a_service_refuses_such_an_image(split, tmp_path):
    file = split.images.file(0)
    cv2.imwrite(file, np.zeros((170, 100, 3), np.uint8))
    packing.pack(split.annotations, split.images.folder, tmp_path / "packed")
    with pytest.raises(UserError, match="so its tiles do not fit"):
        note_sizes(_split((split.annotations, tmp_path / "packed")), ImageNotes())


def test_missing_files_are_counted_once(split):
    (split.images.folder / "7.png").unlink()
    with pytest.raises(UserError) as error:
        check_files(split, "raise")
    assert "7.png (image id 7): no such file" in str(error.value)
    check_files(split, "skip")
    (split.images.folder / "9.png").unlink()
    del split.__dict__["missing_images"]
    with pytest.raises(UserError, match=r"7\.png \(image id 7\) and 1 more of 2: no such file"):
        check_files(split, "skip")


def test_files_of_a_set_that_is_repeated(split):
    sets = [ImageSet(split.annotations, split.images.folder, repeat=2)]
    repeated = tiled(load_sets(sets, training=True), TILE, 0.0)
    number = len(split.images)
    assert len(repeated.images) == 2 * number
    assert repeated.images.num_files == 4
    assert list(repeated.images.of_same_file(number + 1)) == list(range(number, number + 6))
    assert len(repeated.images[number:].tiles.views) == number


def test_names_and_choices_of_tiles(split):
    assert [split.images.shown_name(index) for index in (0, 4, 6)] == ["7-0-0", "7-45-20", "9"]
    assert choose_images(split, [9, 7], 1) == [6, 0, 1, 2, 3, 4, 5]


def test_what_it_does_in_words(split):
    assert describe_tiles(split, 80, cached=True) == "data.tile=80: an epoch is 7 tiles of 2 images; each image is decoded once"
    assert describe_tiles(split, 80, cached=False).endswith("decoded for each of its tiles; data.cache=disk does it once")
    plain = _split((split.annotations, split.images.folder), tile=170)
    assert plain.images.tiles is None
    assert describe_tiles(plain, 170, cached=True) == "data.tile=170 changes nothing: no training image is larger"


def test_no_tile_is_left(write_coco):
    # Tiles end and begin at x = 80, in the middle of the box: 4 px of its width are in each.
    paths = write_coco({1: (80, 160)}, [(1, 3, [76, 10, 8, 20])], CATEGORIES)
    assert len(_split(paths, min_box_size=4).images) == 2
    with pytest.raises(
        UserError, match=r"data\.tile=80 leaves no tile with a usable box; set data\.empty_images=keep to train on empty ones"
    ):
        _split(paths, min_box_size=8)


@pytest.mark.slow
def test_small_objects_of_a_large_image_are_all_in_an_epoch(tmp_path):
    """3,000 x 2,000 px with 300 objects of 6 to 20 px: each is whole in a tile, on its own pixels."""
    rng, image = np.random.default_rng(3), np.zeros((2000, 3000, 3), np.uint8)
    places = rng.permutation(60 * 40)[:300]
    annotations = []
    for number, place in enumerate(places.tolist(), start=1):
        width, height = rng.integers(6, 21, 2).tolist()
        x, y = 50 * (place % 60) + int(rng.integers(0, 29)), 50 * (place // 60) + int(rng.integers(0, 29))
        image[y : y + height, x : x + width] = (number % 256, 255, number // 256)  # RGB: the number of the object
        annotations.append({"id": number, "image_id": 1, "category_id": 1, "bbox": [x, y, width, height]})
    cv2.imwrite(str(tmp_path / "1.png"), image[..., ::-1])
    content = {"images": [{"id": 1, "file_name": "1.png", "height": 2000, "width": 3000}], "annotations": annotations}
    (tmp_path / "a.json").write_text(json.dumps({**content, "categories": [{"id": 1, "name": "dot"}]}))
    split = tiled(load_coco(tmp_path / "a.json", tmp_path, training=True), 512, 0.2)
    assert split.images.tiles.views[:, :2].max(axis=0).tolist() == [3000 - 512, 2000 - 512]
    settings = {"image_size": (512, 512), "method": ttfnet(image_size=(512, 512), num_classes=1), "augment": Augmentation(flip=0.5)}
    steps = steps_per_epoch(len(split.images), 4)
    assert steps == -(-len(split.images) // 4)
    seen = set()
    for batch in take(train(split, cache="ram", **settings), steps):
        for pixels, boxes, labels in zip(batch["image"], batch["boxes"], batch["labels"]):
            for x1, y1, x2, y2 in boxes[labels >= 0].astype(int).tolist():
                colours = pixels[y1 : y2 + 1, x1 : x2 + 1]
                assert (colours == colours[0, 0]).all()
                assert colours[0, 0, 1] == 255
                number = int(colours[0, 0, 0]) + 256 * int(colours[0, 0, 2])
                if sorted((x2 - x1 + 1, y2 - y1 + 1)) == sorted(annotations[number - 1]["bbox"][2:]):
                    seen.add(number)
    assert seen == set(range(1, 301))
