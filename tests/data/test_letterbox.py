"""`data.resize: letterbox`: sizes and pixels by hand, NumPy and TensorFlow alike, and batches against a slow twin."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from train_batches import assert_same, take

from ttfnet_tf.boxes import fitted_size, resize_boxes
from ttfnet_tf.data import opencv_resize
from ttfnet_tf.data.annotated_images import AnnotatedImage
from ttfnet_tf.data.augment import Augmentation
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.image_cache import cache_of
from ttfnet_tf.data.mosaic import combine
from ttfnet_tf.data.order import epoch_order
from ttfnet_tf.data.pipeline import build_eval_dataset, build_train_dataset
from ttfnet_tf.data.transforms import fit, flip, image_rng, resize, resized
from ttfnet_tf.inference.predictor import in_original
from ttfnet_tf.methods.ttfnet import ttfnet
from ttfnet_tf.models.normalization import MEAN, PADDING

SIZE = (64, 96)


@pytest.mark.parametrize(
    ("image", "size", "fitted"),
    [
        ((100, 200), (64, 64), (32, 64)),
        ((200, 100), (64, 64), (64, 32)),
        ((64, 64), (64, 64), (64, 64)),
        ((7, 3), (64, 96), (64, 27)),  # 3 * 64 / 7 = 27.4
        ((3, 7), (64, 96), (41, 96)),  # 3 * 96 / 7 = 41.1
        ((1, 128), (64, 64), (1, 64)),  # 0.5 is rounded up
        ((1, 1000), (64, 64), (1, 64)),  # 0.06 would be nothing
        ((3, 128), (64, 64), (2, 64)),  # 1.5 is rounded up, as no half is rounded to even
        ((9000, 12000), (512, 512), (384, 512)),
    ],
)
def test_the_size_of_an_image_in_the_input(image, size, fitted):
    assert fitted_size(image, size, True) == fitted
    assert fitted_size(image, size, False) == size
    assert opencv_resize.fitted_size(tf.constant(image), size).numpy().tolist() == list(fitted)


def test_numpy_and_tensorflow_agree_on_every_size():
    sizes = np.random.default_rng(0).integers(1, 5000, (300, 2)).astype(np.int32)
    function = tf.function(lambda size: opencv_resize.fitted_size(size, SIZE), autograph=False)
    assert [tuple(function(tf.constant(one)).numpy()) for one in sizes] == [fitted_size(one, SIZE, True) for one in sizes]


def test_the_image_fills_the_upper_left_corner_and_the_rest_has_the_mean_colour():
    assert tuple(round(value) for value in MEAN) == PADDING
    image = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3)
    fitted = fit(image, (4, 4), keep_ratio=True)
    np.testing.assert_array_equal(fitted[:2], image)
    np.testing.assert_array_equal(fitted[2:], np.broadcast_to(PADDING, (2, 4, 3)))
    np.testing.assert_array_equal(fit(image.transpose(1, 0, 2), (4, 4), keep_ratio=True), fitted.transpose(1, 0, 2))


@pytest.mark.parametrize("function", [opencv_resize.resize, opencv_resize.resize_image])
def test_pixels_in_tensorflow_are_opencvs(function):
    rng = np.random.default_rng(1)
    spec = tf.TensorSpec([None, None, 3], tf.uint8)
    graph = tf.function(lambda image: opencv_resize.fit(image, SIZE, resize=function), input_signature=[spec], autograph=False)
    for height, width in [(1, 1), SIZE, (64, 5), (5, 96), (128, 192), (300, 17), *rng.integers(1, 300, (15, 2))]:
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        pixels, fitted = graph(image)
        np.testing.assert_array_equal(pixels, fit(image, SIZE, keep_ratio=True), err_msg=f"{height} x {width}")
        assert tuple(fitted.numpy()) == fitted_size((height, width), SIZE, True)


def test_a_batch_in_tensorflow():
    images = np.random.default_rng(2).integers(0, 256, (2, 20, 50, 3), np.uint8)
    np.testing.assert_array_equal(opencv_resize.fit(tf.constant(images), SIZE)[0], [fit(image, SIZE, keep_ratio=True) for image in images])


def test_boxes_follow_their_image_and_come_back():
    image, boxes = np.zeros((50, 100, 3), np.uint8), np.array([[10, 20, 29, 39], [90, 40, 120, 49]], np.float32)
    pixels, moved = resize(image, boxes, (100, 100), keep_ratio=True)  # the image becomes 50 x 100
    assert pixels.shape == (100, 100, 3)
    np.testing.assert_array_equal(moved, [[10, 20, 29, 39], [90, 40, 99, 49]])
    _, moved = resize(image, boxes, (64, 64), keep_ratio=True)  # 32 x 64
    np.testing.assert_allclose(moved, [[6.4, 12.8, 18.56, 24.96], [57.6, 25.6, 63, 31]], rtol=1e-6)
    back = in_original({"boxes": moved}, image_size=(64, 64), original_size=(50, 100), keep_ratio=True)["boxes"]
    np.testing.assert_allclose(back, [[10, 20, 29, 39], [90, 40, 63 / 0.64, 31 / 0.64]], rtol=1e-6)


def test_detections_in_the_padding_are_dropped_and_the_others_end_with_the_image():
    """An image of 50 x 100 in an input of 64 x 64 has the rows 0 to 31."""
    found = {
        "boxes": np.array([[0, 31.5, 10, 40], [4, 20, 20, 60], [4, 31, 8, 33], [0, 0, 63, 63]], np.float32),
        "scores": np.array([0.9, 0.8, 0.7, 0.6], np.float32),
    }
    kept = in_original(found, image_size=(64, 64), original_size=(50, 100), keep_ratio=True)
    np.testing.assert_array_equal(kept["scores"], found["scores"][1:])
    np.testing.assert_allclose(kept["boxes"], np.array([[4, 20, 20, 31], [4, 31, 8, 31], [0, 0, 63, 31]]) / 0.64, rtol=1e-6)
    assert (kept["boxes"][:, 3] < 50).all()
    same = in_original(found, image_size=(64, 64), original_size=(50, 50), keep_ratio=True)
    np.testing.assert_allclose(same["boxes"], found["boxes"] * (50 / 64), rtol=1e-6)


@pytest.mark.parametrize("size", [(20, 90), (90, 20), SIZE])
@pytest.mark.parametrize("is_flipped", [False, True])
def test_pixels_alone_are_those_of_resize_and_flip(size, is_flipped):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    expected, boxes = resize(image, np.zeros([0, 4], np.float32), SIZE, keep_ratio=True)
    expected = flip(expected, boxes)[0] if is_flipped else expected
    np.testing.assert_array_equal(resized(image, SIZE, is_flipped, keep_ratio=True), expected)


def test_images_of_a_mixup_keep_their_ratio():
    image, boxes = np.random.default_rng(0).integers(0, 256, (20, 90, 3), np.uint8), np.array([[10, 2, 50, 15]], np.float32)
    sample, rng = (image, boxes, np.array([1])), np.random.default_rng(1)
    found = combine(sample, SIZE, mosaic=0, mixup=1, rng=rng, count=1, other=lambda number: None, keep_ratio=True)  # with itself
    expected = resize(image, boxes, SIZE, keep_ratio=True)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[1], np.concatenate([expected[1], expected[1]]))


@pytest.fixture
def split(tmp_path, monkeypatch):
    monkeypatch.setenv("TTFNET_CACHE", str(tmp_path / "cache"))
    images, rng = [], np.random.default_rng(3)
    for number, size in enumerate([(40, 90), (90, 40), SIZE, (33, 34), (200, 50)]):
        cv2.imwrite(str(tmp_path / f"{number}.png"), rng.integers(0, 255, (*size, 3), np.uint8))
        corner = rng.uniform(0, 20, (2, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(3, 60, (2, 2))], axis=1).astype(np.float32)
        images.append(AnnotatedImage(number, tmp_path / f"{number}.png", size, boxes, np.array([0, 1], np.int32)))
    return CocoSplit(images, [2, 5], ["a", "b"], tmp_path / "a.json", {})


def _train(split, **changes):
    method = ttfnet(image_size=SIZE, num_classes=2)
    return build_train_dataset(split, image_size=SIZE, batch_size=5, seed=7, method=method, keep_ratio=True, **changes)


def _expected(split, epoch):
    """The batch of an epoch by plain calls; a flip is drawn by the first number of the image's generator."""
    rows = []
    for index in epoch_order(7, epoch, tf.range(5, dtype=tf.int64), 5).numpy():
        image = split.images[index]
        pixels = cv2.imread(str(image.path))[..., ::-1]
        inner = fitted_size(image.size, SIZE, True)
        canvas = np.full((*SIZE, 3), PADDING, np.uint8)
        canvas[: inner[0], : inner[1]] = cv2.resize(pixels, inner[::-1])
        boxes = resize_boxes(image.boxes, image.size, inner)
        if image_rng(7, epoch, index).random() < 0.5:
            canvas, boxes = canvas[:, ::-1], np.stack([95 - boxes[:, 2], boxes[:, 1], 95 - boxes[:, 0], boxes[:, 3]], axis=1)
        rows.append((canvas, boxes))
    return [np.stack(part) for part in zip(*rows)]


# The second has its whole row made in Python; colour jitter comes last and leaves boxes alone.
@pytest.mark.parametrize("augment", [Augmentation(flip=0.5), Augmentation(flip=0.5, lighting=True)], ids=["rows", "samples"])
@pytest.mark.parametrize("cache", ["none", "ram", "disk"])
def test_batches_of_training(split, augment, cache):
    for epoch, batch in enumerate(take(_train(split, augment=augment, cache=cache), 2)):
        pixels, boxes = _expected(split, epoch)
        np.testing.assert_array_equal(batch["boxes"], boxes)
        if not augment.lighting:
            np.testing.assert_array_equal(batch["image"], pixels)


@pytest.mark.parametrize("cache", ["none", "disk"])
def test_images_of_an_evaluation(split, cache):
    for _ in range(2):  # the second time from the cache
        (batch,) = take(build_eval_dataset(split, image_size=SIZE, batch_size=5, keep_ratio=True, cache=cache))
        for row, image in enumerate(split.images):
            pixels, boxes = resize(cv2.imread(str(image.path))[..., ::-1], image.boxes, SIZE, keep_ratio=True)
            np.testing.assert_array_equal(batch["image"][row], pixels)
            np.testing.assert_array_equal(batch["boxes"][row], boxes)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ram", "disk"])
def test_a_cache_never_gives_images_of_the_other_kind(split, kind):
    stretched = take(build_train_dataset(split, image_size=SIZE, batch_size=5, seed=7, method=ttfnet(image_size=SIZE, num_classes=2)), 1)
    assert_same(take(_train(split, cache=kind), 1), take(_train(split), 1))
    method = ttfnet(image_size=SIZE, num_classes=2)
    assert_same(take(build_train_dataset(split, image_size=SIZE, batch_size=5, seed=7, method=method, cache=kind), 1), stretched)
    assert cache_of(split, kind, SIZE) is not cache_of(split, kind, SIZE, True)
