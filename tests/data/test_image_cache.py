"""Kept images: equality with reading them again, what counts after a kill, and room."""

import os

import cv2
import numpy as np
import pytest
from train_batches import BATCH, SIZE, assert_same, take, train

from ttfnet_tf.config import load_config
from ttfnet_tf.data import image_cache, packing, samples
from ttfnet_tf.data.annotated_images import AnnotatedImage
from ttfnet_tf.data.augment import Augmentation
from ttfnet_tf.data.coco import CocoSplit, load_coco
from ttfnet_tf.data.image_cache import ImageCache, cache_of, free_memory
from ttfnet_tf.data.pipeline import ImageNotes, build_eval_dataset, steps_per_epoch
from ttfnet_tf.errors import UserError
from ttfnet_tf.methods.ttfnet import ttfnet

IMAGES = 10
KINDS = ("ram", "disk")


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the file of a cache goes."""
    monkeypatch.setenv("TTFNET_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "images"


@pytest.fixture
def make_split(tmp_path):
    """A function that makes an equal split anew, as another process would; image 3 has the size of the input, 4 another than annotated."""

    def make():
        images = []
        for number in range(IMAGES):
            rng, path = np.random.default_rng(number), tmp_path / f"{number}.png"
            size = SIZE if number == 3 else (48, 40)
            pixels = rng.integers(0, 255, (*size, 3), np.uint8)
            if not path.exists():
                cv2.imwrite(str(path), pixels)
            corner = rng.uniform(0, 20, (number % 3, 2))
            boxes = np.concatenate([corner, corner + rng.uniform(3, 40, corner.shape)], axis=1).astype(np.float32)
            annotated = (47, 40) if number == 4 else size
            images.append(AnnotatedImage(100 + number, path, annotated, boxes, rng.integers(0, 3, number % 3).astype(np.int32)))
        return CocoSplit(images, [2, 5, 9], ["a", "b", "c"], tmp_path / "a.json", {})

    return make


@pytest.fixture
def reads(monkeypatch):
    """The ids of images that were read from their files."""
    found, read = [], samples._read

    def spy(*arguments):
        found.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(samples, "_read", spy)
    return found


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "augmentation",
    [Augmentation(flip=0.5), pytest.param(Augmentation(lighting=True, vertical_flip=0.5), marks=pytest.mark.slow)],
    ids=["flip", "others"],
)
def test_epochs_with_the_cache_equal_those_without(make_split, reads, kind, augmentation):
    steps = 2 * steps_per_epoch(IMAGES, BATCH)
    expected = take(train(make_split(), augment=augmentation), steps)
    reads.clear()
    split, notes = make_split(), [ImageNotes(), ImageNotes()]
    assert_same(take(train(split, augment=augmentation, cache=kind, notes=notes[0], workers=1), steps), expected)
    assert len(cache_of(split, kind, SIZE)) == IMAGES
    reads.clear()
    assert_same(take(train(split, augment=augmentation, cache=kind, notes=notes[1]), steps), expected)
    assert reads == []
    assert notes[0].resized == notes[1].resized
    assert list(notes[0].resized) == [104]


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_with_the_cache_equals_that_without(make_split, reads, kind):
    expected = take(build_eval_dataset(make_split(), image_size=SIZE, batch_size=BATCH))
    split = make_split()
    for _ in range(2):
        assert_same(take(build_eval_dataset(split, image_size=SIZE, batch_size=BATCH, cache=kind)), expected)
    assert len(reads) == 2 * IMAGES  # without the cache, and once with it


def test_packed_images_are_kept_too(write_coco, tmp_path):
    annotations, images = write_coco({7: (40, 60), 8: (50, 40)}, [(7, 3, [5, 6, 20, 20]), (8, 3, [1, 2, 20, 30])], {3: "cat"})
    packing.pack(annotations, images, tmp_path / "packed")
    method = ttfnet(image_size=SIZE, num_classes=1)
    expected = take(train(load_coco(annotations, images, training=True), method=method), 4)
    for kind in KINDS:
        split = load_coco(annotations, tmp_path / "packed", training=True)
        assert_same(take(train(split, method=method, cache=kind), 4), expected)
        assert len(cache_of(split, kind, SIZE)) == 2


def test_the_next_process_reads_the_file(make_split, reads, folder):
    expected = take(train(make_split(), cache="disk"), 3)
    assert sorted(os.listdir(next(folder.iterdir()))) == ["about.json", "pixels.bin", "rows.bin"]
    reads.clear()
    assert_same(take(train(make_split(), cache="disk"), 3), expected)
    assert reads == []


def test_images_that_a_power_failure_has_cut_short_are_read_again(make_split, reads, folder):
    expected = take(train(make_split(), cache="disk"), 3)
    file = next(folder.iterdir()) / "pixels.bin"
    content = bytearray(file.read_bytes())
    content[5 * SIZE[0] * SIZE[1] * 3 + 100] ^= 255
    file.write_bytes(content)
    reads.clear()
    assert_same(take(train(make_split(), cache="disk", workers=1), 3), expected)
    assert len(reads) == 1


@pytest.mark.parametrize("name", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("about.json", "rows.bin")), "pixels.bin"])
def test_a_file_that_is_not_whole_is_made_anew(make_split, folder, name):
    expected = take(train(make_split(), cache="disk"), 3)
    file = next(folder.iterdir()) / name
    file.write_bytes(file.read_bytes()[:-3])
    assert_same(take(train(make_split(), cache="disk"), 3), expected)


@pytest.mark.slow
def test_a_changed_image_or_size_has_a_cache_of_its_own(make_split, folder, tmp_path):
    take(train(make_split(), cache="disk"), 3)
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((48, 40, 3), np.uint8))
    changed = make_split()
    assert_same(take(train(changed, cache="disk"), 3), take(train(make_split()), 3))
    cache_of(changed, "disk", (32, 32))
    assert len(os.listdir(folder)) == 3


@pytest.mark.parametrize("kind", KINDS)
def test_what_does_not_fit_is_refused_with_the_figures(make_split, monkeypatch, kind):
    monkeypatch.setattr(image_cache, "free_memory", lambda: 3_000_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 4_000_000})())
    line = {
        "ram": r"data\.cache=ram: 10 images of 32 x 64 need 0\.0 GB, 0\.0 GB of memory are free; set data\.cache=disk or none",
        "disk": r"data\.cache=disk: 10 images of 32 x 64 need 0\.0 GB, .* has 0\.0 GB free; free some space, or set TTFNET_CACHE",
    }
    with pytest.raises(UserError, match=line[kind]):
        train(make_split(), cache=kind)


def test_free_memory_is_a_figure_of_this_machine():
    assert 0 < free_memory() <= 1 << 62


def test_a_folder_that_cannot_be_written(make_split, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TTFNET_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"file/images/.*: cannot be written \(Not a directory\); set TTFNET_CACHE to another folder"):
        train(make_split(), cache="disk")


def test_broken_images_are_skipped_as_without_the_cache(make_split, tmp_path):
    make_split()
    (tmp_path / "2.png").write_bytes(b"broken")
    expected = take(train(make_split(), broken_images="skip"), 6)
    assert_same(take(train(make_split(), broken_images="skip", cache="ram"), 6), expected)


def test_a_place_counts_when_its_image_is_whole():
    cache = ImageCache(np.zeros([2, 4, 4, 3], np.uint8), np.zeros(2, image_cache._ROW), checked=True)
    assert cache.get(1) is None
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    cache.put(1, image, (7, 5))
    found, size = cache.get(1)
    np.testing.assert_array_equal(found, image)
    assert (size, len(cache)) == ((7, 5), 1)


@pytest.mark.parametrize("override", ["augment.photometric=true", "augment.expand=0.5", "augment.min_iou_crop=true", "augment.affine=true"])
def test_changes_before_the_resize_are_refused(override):
    with pytest.raises(UserError, match=r"data\.cache=ram keeps resized images"):
        load_config(os.devnull, ["data.cache=ram", override])


def test_kept_images_are_turned_where_they_are_square():
    overrides = ["data.cache=ram", "augment.quarter_turns=0.5"]
    load_config(os.devnull, [*overrides, "data.image_size=[64, 64]"])
    with pytest.raises(UserError, match=r"data\.cache=ram keeps resized images, which augment\.quarter_turns can turn in a square"):
        load_config(os.devnull, [*overrides, "data.image_size=[64, 96]"])
