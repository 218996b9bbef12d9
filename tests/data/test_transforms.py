"""Resize and flip, by hand."""

import cv2
import numpy as np
import pytest

from ttfnet_tf.data.augment import Augmentation, augment_image
from ttfnet_tf.data.transforms import flip, flip_upside_down, image_rng, new_pixels, resize, resized, scratch_pixels, turn


def test_flip_moves_column_x_to_last_minus_x():
    image = np.zeros((2, 5, 3), np.uint8)
    image[1, 1] = (9, 8, 7)
    flipped, boxes = flip(image, np.array([[1, 0, 1, 1], [0, 0, 4, 1], [0.5, 0.25, 2, 1]], np.float32))
    np.testing.assert_array_equal(np.argwhere(flipped.any(-1)), [[1, 3]])
    np.testing.assert_array_equal(flipped[1, 3], (9, 8, 7))
    np.testing.assert_array_equal(boxes, [[3, 0, 3, 1], [0, 0, 4, 1], [2, 0.25, 3.5, 1]])
    assert boxes.dtype == np.float32


def test_a_vertical_flip_moves_row_y_to_last_minus_y():
    image = np.zeros((5, 2, 3), np.uint8)
    image[1, 0] = (9, 8, 7)
    flipped, boxes = flip_upside_down(image, np.array([[0, 1, 1, 1], [0, 0, 1, 4], [0.25, 0.5, 1, 2]], np.float32))
    np.testing.assert_array_equal(np.argwhere(flipped.any(-1)), [[3, 0]])
    np.testing.assert_array_equal(flipped[3, 0], (9, 8, 7))
    np.testing.assert_array_equal(boxes, [[0, 3, 1, 3], [0, 0, 1, 4], [0.25, 2, 1, 3.5]])
    assert boxes.dtype == np.float32


@pytest.mark.parametrize(("quarters", "box"), [(1, [1, 2, 2, 3]), (2, [2, 0, 3, 1]), (3, [0, 1, 1, 2])])
def test_a_turn_takes_a_box_with_its_pixels(quarters, box):
    """A box of columns 1, 2 and rows 1, 2 in an image of 5 columns and 3 rows, turned to the left."""
    image = np.zeros((3, 5, 3), np.uint8)
    image[1:3, 1:3] = np.arange(1, 5).reshape(2, 2, 1)
    turned, boxes = turn(image, np.array([[1, 1, 2, 2]], np.float32), quarters)
    np.testing.assert_array_equal(turned, np.rot90(image, quarters))
    np.testing.assert_array_equal(boxes, [box])
    rows, columns = np.nonzero(turned[..., 0])
    assert [columns.min(), rows.min(), columns.max(), rows.max()] == box
    assert boxes.dtype == np.float32


@pytest.mark.parametrize("size", [(8, 8), (8, 12)], ids=["square", "wide"])
def test_turns_and_vertical_flips_are_drawn_and_keep_boxes_on_their_pixels(size):
    """A bright rectangle and its box stay together; the bytes are those of the plain image turned and flipped."""
    image = np.zeros((16, 24, 3), np.uint8)
    image[4:8, 6:18] = 200
    boxes, seen = np.array([[6, 4, 17, 7]], np.float32), set()
    for index in range(60):
        settings = Augmentation(flip=0.0, vertical_flip=0.5, quarter_turns=0.5)
        found, moved, _ = augment_image(image, boxes, np.zeros(1), size, settings, image_rng(0, 0, index))
        rng = image_rng(0, 0, index)
        quarters = int(rng.integers(1, 4)) if rng.random() < 0.5 else 0
        rng.random()
        is_flipped = rng.random() < 0.5
        seen.add((quarters, is_flipped))
        first = np.rot90(image, quarters if size[0] != size[1] else 0)
        expected = cv2.resize(np.ascontiguousarray(first), size[::-1])
        expected = np.rot90(expected[::-1] if is_flipped else expected, quarters if size[0] == size[1] else 0)
        np.testing.assert_array_equal(found, expected)
        rows, columns = np.nonzero(found[..., 0] > 100)
        np.testing.assert_allclose(moved[0], [columns.min(), rows.min(), columns.max(), rows.max()], atol=1.0)
    assert len(seen) == 8


def test_flipping_twice_gives_the_same():
    image = np.random.default_rng(0).integers(0, 255, (6, 7, 3), np.uint8)
    boxes = np.array([[1, 2, 3, 4]], np.float32)
    again = flip(*flip(image, boxes))
    np.testing.assert_array_equal(again[0], image)
    np.testing.assert_array_equal(again[1], boxes)


def test_resize_doubles_by_the_half_pixel_rule():
    """Row 0 100 doubled: samples at -.25, .25, .75, 1.25 of the two pixels, so 0, 25, 75, 100."""
    image = np.array([[[0] * 3, [100] * 3]], np.uint8)
    resized, boxes = resize(image, np.array([[0, 0, 1, 0]], np.float32), (1, 4))
    np.testing.assert_array_equal(resized[0, :, 0], [0, 25, 75, 100])
    np.testing.assert_array_equal(boxes, [[0, 0, 2, 0]])


@pytest.mark.parametrize("size", [(256, 256), (96, 224), (480, 640)])
def test_resize_of_the_image_is_opencv_on_bytes(size):
    image = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    resized, _ = resize(image, np.zeros((0, 4), np.float32), size)
    np.testing.assert_array_equal(resized, cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR))


def test_resize_of_a_float_image_neither_rounds_nor_clips():
    """Samples at -.25, .25, .75, 1.25 of -10.5 and 301."""
    image = np.array([[[-10.5] * 3, [301] * 3]], np.float32)
    resized, _ = resize(image, np.zeros((0, 4), np.float32), (1, 4))
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized[0, :, 0], [-10.5, 67.375, 223.125, 301], rtol=1e-6)


def test_resize_scales_each_side_and_clips():
    image = np.zeros((100, 200, 3), np.uint8)
    boxes = np.array([[20, 10, 99, 59], [-10, -10, 250, 120], [190, 90, 199, 99]], np.float32)
    resized, scaled = resize(image, boxes, (50, 400))
    assert resized.shape == (50, 400, 3)
    np.testing.assert_array_equal(scaled, [[40, 5, 198, 29.5], [0, 0, 399, 49], [380, 45, 398, 49]])


def test_resize_without_boxes_and_to_the_same_size():
    image = np.random.default_rng(0).integers(0, 255, (32, 48, 3), np.uint8)
    resized, boxes = resize(image, np.zeros((0, 4), np.float32), (32, 48))
    np.testing.assert_array_equal(resized, image)
    assert boxes.shape == (0, 4)


def test_random_flip_depends_on_its_arguments_alone():
    image, boxes, labels = np.arange(6, dtype=np.uint8).reshape(1, 2, 3), np.zeros((0, 4), np.float32), np.zeros(0, np.int32)

    def flipped(seed, epoch, index, probability=0.5):
        changed, _, _ = augment_image(image, boxes, labels, (1, 2), Augmentation(flip=probability), image_rng(seed, epoch, index))
        return bool(changed[0, 0, 0] == 3)

    first = [flipped(1, 0, index) for index in range(200)]
    assert first == [flipped(1, 0, index) for index in range(200)]
    assert first != [flipped(1, 1, index) for index in range(200)]
    assert first != [flipped(2, 0, index) for index in range(200)]
    assert 70 < sum(first) < 130  # 4 standard deviations about 100
    assert not any(flipped(1, 0, index, probability=0) for index in range(50))
    assert all(flipped(1, 0, index, probability=1) for index in range(50))


def test_results_are_written_where_they_are_wanted():
    image, boxes = np.random.default_rng(0).integers(0, 255, (30, 20, 3), np.uint8), np.array([[1, 2, 3, 4]], np.float32)
    out, mirrored = new_pixels((16, 24)), new_pixels((16, 24))
    resized, _ = resize(image, boxes, (16, 24), out=out)
    flipped, _ = flip(resized, boxes, out=mirrored)
    assert resized is out
    assert flipped is mirrored
    np.testing.assert_array_equal(flipped[:, ::-1], cv2.resize(image, (24, 16)))


def test_new_pixels_are_aligned_and_never_shared():
    arrays = [new_pixels((7, 5)) for _ in range(20)]
    assert all(pixels.ctypes.data % 64 == 0 and pixels.shape == (7, 5, 3) and pixels.flags.c_contiguous for pixels in arrays)
    assert not any(np.shares_memory(arrays[0], other) for other in arrays[1:])
    assert scratch_pixels((7, 5)) is scratch_pixels((7, 5))
    assert scratch_pixels((7, 6)).shape == (7, 6, 3)


def test_an_augmented_image_is_not_changed_by_the_next_one():
    """Each call gets memory of its own; only what lies between two steps is used again."""
    draw, labels, boxes = np.random.default_rng(0), np.zeros(0, np.int32), np.zeros((0, 4), np.float32)
    images = [draw.integers(0, 255, (9 + k, 11, 3), np.uint8) for k in range(6)]
    made = [augment_image(one, boxes, labels, (8, 12), Augmentation(flip=k % 2), image_rng(0, 0, k))[0] for k, one in enumerate(images)]
    for k, (one, result) in enumerate(zip(images, made)):
        expected = cv2.resize(one, (12, 8), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(result, expected[:, ::-1] if k % 2 else expected)


@pytest.mark.parametrize("is_flipped", [False, True])
@pytest.mark.parametrize("size", [(30, 20), (16, 24)])
def test_pixels_alone_are_those_of_resize_and_flip(size, is_flipped):
    image = np.random.default_rng(0).integers(0, 255, (30, 20, 3), np.uint8)
    expected, boxes = resize(image, np.zeros((0, 4), np.float32), size)
    expected = flip(expected, boxes)[0] if is_flipped else expected
    np.testing.assert_array_equal(resized(image, size, is_flipped), expected)
