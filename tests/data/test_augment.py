"""The augmentations of the 10x recipes: values by hand, slow twins, and distributions against the stated ranges."""

import colorsys
import math

import cv2
import numpy as np
import pytest

from ttfnet_tf.data import augment
from ttfnet_tf.data.augment import (
    Augmentation,
    Distortion,
    augment_image,
    crop_boxes,
    cut,
    distort,
    draw_canvas,
    draw_crop,
    draw_distortion,
    draw_patches,
)
from ttfnet_tf.data.transforms import flip, image_rng, resize

MEAN_BYTES = (124, 116, 104)  # 123.675, 116.28, 103.53 rounded
ALL_10X = Augmentation(photometric=True, expand=0.5, min_iou_crop=True)
NO_BOXES = np.zeros([0, 4], np.float32)
ONCE_IN_1000 = 1.95  # a Kolmogorov-Smirnov distance times sqrt(n) passes it that often by chance


class Script:
    """A generator that returns given numbers and records what was asked for."""

    def __init__(self, integers=(), uniform=(), permutation=None, random=None):
        self._integers, self._uniform, self._permutation, self._random = list(integers), list(uniform), permutation, random
        self.ranges = []

    def integers(self, count):
        self.ranges.append(count)
        return self._integers.pop(0)

    def uniform(self, low, high):
        self.ranges.append((low, high))
        return self._uniform.pop(0)

    def permutation(self, count):
        assert count == 3
        return np.array(self._permutation)

    def random(self, shape=None):
        return np.array(self._random) if shape else self._random


def _distance(values, low, high):
    """Largest difference between the fraction of `values` up to x and that of a uniform distribution (Kolmogorov and Smirnov)."""
    expected = (np.sort(values) - low) / (high - low)
    counts = np.arange(len(values) + 1) / len(values)
    return max(np.abs(counts[1:] - expected).max(), np.abs(counts[:-1] - expected).max())


def _distance_of_two(first, second):
    places = np.concatenate([first, second])
    fractions = [np.searchsorted(np.sort(values), places, side="right") / len(values) for values in (first, second)]
    return np.abs(fractions[0] - fractions[1]).max()


def _binomial(count, probability):
    """Four standard deviations."""
    return 4 * math.sqrt(count * probability * (1 - probability))


# Colours.


def test_changes_of_colour_are_drawn_in_order():
    rng = Script([1, 1, 1, 1, 1, 1], [-20.0, 0.7, 1.3, 10.0], permutation=(2, 0, 1))
    assert draw_distortion(rng) == Distortion(-20.0, 0.7, True, 1.3, 10.0, (2, 0, 1))
    assert rng.ranges == [2, (-32.0, 32.0), 2, 2, (0.5, 1.5), 2, (0.5, 1.5), 2, (-18.0, 18.0), 2]
    assert draw_distortion(Script([0] * 6)) == Distortion(contrast_first=False)
    for change, coins, values in (
        ({"brightness": 5.0}, [1, 1, 0, 0, 0, 0], [5.0]),
        ({"contrast": 0.5}, [0, 1, 1, 0, 0, 0], [0.5]),
        ({"saturation": 1.5}, [0, 1, 0, 1, 0, 0], [1.5]),
        ({"hue": -18.0}, [0, 1, 0, 0, 1, 0], [-18.0]),
        ({"channels": (1, 0, 2)}, [0, 1, 0, 0, 0, 1], []),
    ):
        assert draw_distortion(Script(coins, values, permutation=(1, 0, 2))) == Distortion(**change)


def test_distribution_of_the_colour_changes():
    count = 4000
    drawn = [draw_distortion(image_rng(0, 0, index)) for index in range(count)]
    for name, low, high in (("brightness", -32, 32), ("contrast", 0.5, 1.5), ("saturation", 0.5, 1.5), ("hue", -18, 18)):
        values = np.array([getattr(distortion, name) for distortion in drawn])
        changed = values[values != getattr(Distortion(), name)]
        assert abs(len(changed) - count / 2) < _binomial(count, 1 / 2)
        assert low <= changed.min() < low + (high - low) / 100
        assert high - (high - low) / 100 < changed.max() <= high
        assert _distance(changed, low, high) < ONCE_IN_1000 / math.sqrt(len(changed))
    assert abs(sum(distortion.contrast_first for distortion in drawn) - count / 2) < _binomial(count, 1 / 2)
    for channels in ((0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        assert abs(sum(d.channels == channels for d in drawn) - count / 12) < _binomial(count, 1 / 12)


# (200, 100, 50) has value 200, saturation 150 / 200 and hue 60 (100 - 50) / 150 = 20 degrees: the middle channel lies a third up.
@pytest.mark.parametrize(
    ("distortion", "pixel", "expected"),
    [
        (Distortion(), (200, 100, 50), (200, 100, 50)),
        (Distortion(brightness=32), (200, 100, 250), (232, 132, 282)),
        (Distortion(brightness=-20), (200, 100, 10), (180, 80, -10)),
        (Distortion(contrast=1.5), (200, 100, 50), (300, 150, 75)),
        (Distortion(contrast=1.5, contrast_first=False), (200, 100, 50), (300, 150, 75)),
        (Distortion(brightness=10, contrast=0.5), (200, 100, 50), (105, 55, 30)),
        (Distortion(brightness=10, contrast=0.5, contrast_first=False), (200, 100, 50), (105, 55, 30)),
        (Distortion(saturation=0.5), (200, 100, 50), (200, 150, 125)),
        (Distortion(saturation=1.5), (200, 100, 50), (200, 50, -25)),
        (Distortion(hue=10), (200, 100, 50), (200, 125, 50)),
        (Distortion(hue=-20), (200, 100, 50), (200, 50, 50)),
        (Distortion(channels=(2, 0, 1)), (200, 100, 50), (50, 200, 100)),
        # All negative: value -10, saturation 20 / 10 = 2, hue 330. Back: -10, -10 (1 - 2) = 10 and -10 (1 - 2 / 2) = 0.
        (Distortion(brightness=-40), (30, 10, 20), (-10, 10, 0)),
    ],
)
def test_colours_by_hand(distortion, pixel, expected):
    distorted = distort(np.array([[pixel]], np.uint8), distortion)
    assert distorted.dtype == np.float32
    np.testing.assert_allclose(distorted[0, 0], expected, atol=2e-3)


@pytest.mark.parametrize("hue", [-18.0, -7.5, 3.0, 18.0])
def test_hue_and_saturation_equal_colorsys(hue):
    image = np.random.default_rng(0).integers(1, 256, (5, 7, 3), np.uint8)
    distorted = distort(image, Distortion(saturation=0.6, hue=hue))
    for pixel, found in zip(image.reshape(-1, 3), distorted.reshape(-1, 3)):
        h, s, v = colorsys.rgb_to_hsv(*(pixel / 255))
        expected = colorsys.hsv_to_rgb((h + hue / 360) % 1, 0.6 * s, v)
        np.testing.assert_allclose(found / 255, expected, atol=1e-5)


def test_an_image_is_not_changed_in_place():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    before = image.copy()
    for index in range(20):
        augment_image(image, np.array([[1, 1, 5, 4]], np.float32), np.array([0]), (32, 32), ALL_10X, image_rng(0, 0, index))
    np.testing.assert_array_equal(image, before)


# Canvas.


def test_canvas_by_hand():
    """10 x 20 (height x width) times 2.55 is 25 x 51; the image starts at column int(7.9), row int(3.2)."""
    rng = Script(uniform=[2.55, 7.9, 3.2])
    assert draw_canvas((10, 20), rng) == (-7, -3, 44, 22)
    np.testing.assert_allclose(rng.ranges, [(1, 4), (0, 31), (0, 15.5)])


def test_distribution_of_the_canvas():
    count, side = 3000, 10**6  # so large that whole pixels do not matter
    windows = np.array([draw_canvas((side, 2 * side), image_rng(1, 0, index)) for index in range(count)]) / side
    heights, widths = windows[:, 3] - windows[:, 1], windows[:, 2] - windows[:, 0]
    np.testing.assert_allclose(widths, 2 * heights, atol=1e-5)
    assert 1 <= heights.min() < 1.01
    assert 3.99 < heights.max() <= 4
    for values, low, high in ((heights, 1, 4), (-windows[:, 1] / (heights - 1), 0, 1), (-windows[:, 0] / (widths - 2), 0, 1)):
        assert _distance(values, low, high) < ONCE_IN_1000 / math.sqrt(count)
    assert (windows[:, :2] <= 0).all()
    assert (windows[:, 2:] >= [2, 1]).all()


@pytest.mark.parametrize("probability", [0.0, 0.2, 0.5, 1.0])
def test_expand_is_a_probability(probability):
    """A black image shows the mean colour where it was put on a canvas; one canvas in 24 adds no whole pixel to one of 8 px."""
    count = 1000
    black, settings = np.zeros((8, 8, 3), np.uint8), Augmentation(expand=probability)
    found = sum(augment_image(black, NO_BOXES, NO_BOXES[:, 0], (8, 8), settings, image_rng(2, 0, i))[0].any() for i in range(count))
    expected = probability * (1 - 1 / 24)  # 8 ratio < 9, ratio - 1 < 1/8 of 3: nothing of a canvas of int(8 ratio) is left
    assert abs(found / count - expected) <= _binomial(count, expected) / count


def _cut_by_canvas(image, canvas, patch):
    """The whole canvas first, then the patch of it."""
    full = np.full((canvas[3] - canvas[1], canvas[2] - canvas[0], 3), (123.675, 116.28, 103.53), np.float32)
    full[-canvas[1] : image.shape[0] - canvas[1], -canvas[0] : image.shape[1] - canvas[0]] = image
    return full[patch[1] : patch[3], patch[0] : patch[2]]


def test_cut_equals_the_canvas_and_its_patch():
    image = np.random.default_rng(3).uniform(-30, 290, (20, 30, 3)).astype(np.float32)
    missed = 0
    for index in range(200):
        rng = image_rng(3, 0, index)
        canvas = draw_canvas(image.shape[:2], rng)
        for patch in draw_patches((canvas[3] - canvas[1], canvas[2] - canvas[0]), rng)[:3]:
            window = tuple(int(patch[k] + canvas[k % 2]) for k in range(4))
            found = cut(image, window)
            np.testing.assert_array_equal(found, _cut_by_canvas(image, canvas, patch))
            missed += bool((found == found[0, 0]).all())
    assert missed > 0  # windows beside the image were among them


def test_cut_inside_keeps_bytes_and_outside_adds_the_mean():
    image = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    inside = cut(image, (1, 0, 4, 3))
    assert inside.dtype == np.uint8
    np.testing.assert_array_equal(inside, image[0:3, 1:4])
    assert cut(image, (0, 0, 5, 4)) is image or np.array_equal(cut(image, (0, 0, 5, 4)), image)
    beyond = cut(image, (-1, 2, 3, 5))
    assert beyond.dtype == np.float32
    assert beyond.shape == (3, 4, 3)
    np.testing.assert_array_equal(beyond[:2, 1:], image[2:, :3])
    np.testing.assert_array_equal(beyond[2], np.tile(np.float32([123.675, 116.28, 103.53]), (4, 1)))
    np.testing.assert_array_equal(beyond[:, 0], np.tile(np.float32([123.675, 116.28, 103.53]), (3, 1)))


# Crop.


def test_patches_by_hand():
    """Sides (.3 + .7 u) of the image's; the corner runs from room (u = 0) towards 1, where the reference's call begins and ends."""
    rows = [(0.5, 0.5, 0, 0.25), (1, 1, 0.9, 0.9), (0, 1, 0.5, 0.5), (1, 0, 0.5, 0.5)]
    # 130 x 65 in 200 x 100, rooms 70 and 35: left 70, top 26.5. The whole image: left and top below 1.
    # 60 x 100 is 5:3 high. 200 x 30 is too flat.
    patches = draw_patches((100, 200), Script(random=rows))
    np.testing.assert_array_equal(patches, [(70, 26, 200, 91), (0, 0, 200, 100), (70, 0, 130, 100)])


@pytest.mark.parametrize("size", [(100, 100), (60, 100), (40, 31), (500, 333)])
def test_patches_stay_in_the_stated_ranges(size):
    patches = np.concatenate([draw_patches(size, image_rng(4, 0, index)) for index in range(100)])
    assert len(patches) > 2000
    height, width = size
    widths, heights = patches[:, 2] - patches[:, 0], patches[:, 3] - patches[:, 1]
    assert patches.min() >= 0
    assert patches[:, 2].max() <= width
    assert patches[:, 3].max() <= height
    for sides, side in ((widths, width), (heights, height)):
        assert 0.3 * side - 1 <= sides.min() < 0.34 * side  # both ends are truncated, so a side may lose or gain a pixel
        assert 0.97 * side - 1 < sides.max() <= side
    assert ((heights + 1) / (widths - 1) >= 0.5).all()
    assert ((heights - 1) / (widths + 1) <= 2).all()


@pytest.mark.parametrize(
    ("mode", "patches", "boxes", "taken"),
    [
        # Corners are inclusive: the box covers 4 x 2 of 4 x 4 pixels, overlap .5 (and 1/3 without + 1).
        (3, [(0, 0, 3, 3)], [(0, 0, 3, 1)], 0),
        (4, [(0, 0, 3, 3), (0, 0, 3, 2)], [(0, 0, 3, 1)], None),  # .5 and 2/3 are below .7
        (4, [(0, 0, 3, 3), (0, 0, 3, 1)], [(0, 0, 3, 1)], 1),
        (5, [(0, 0, 9, 9)], [(0, 0, 9, 9)], 0),
        # The smallest overlap over all boxes decides: 1/2 and 1/8 of 16 pixels.
        (2, [(0, 0, 3, 3)], [(0, 0, 3, 1), (1, 1, 2, 1)], None),
        (1, [(0, 0, 3, 3)], [(0, 0, 3, 1), (1, 1, 2, 1)], 0),
        # A box beside the patch has overlap 0, which threshold 0 allows.
        (1, [(0, 0, 3, 3)], [(0, 0, 3, 3), (8, 8, 9, 9)], None),
        (6, [(0, 0, 3, 3)], [(0, 0, 3, 3), (8, 8, 9, 9)], 0),
        # One centre must lie strictly inside: that of 0..6 is 3.
        (6, [(3, 0, 7, 7), (0, 3, 7, 7), (0, 0, 3, 7), (0, 0, 7, 3), (2, 2, 4, 4)], [(0, 0, 6, 6)], 4),
        # The first that fits.
        (6, [(5, 5, 9, 9), (0, 0, 5, 5), (0, 0, 9, 9)], [(0, 0, 6, 6)], 1),
    ],
)
def test_which_patch_fits(monkeypatch, mode, patches, boxes, taken):
    """Modes in order: whole, .1, .3, .5, .7, .9, 0. Where none fits the next mode, here the whole image, is drawn."""
    monkeypatch.setattr(augment, "draw_patches", lambda size, rng: np.array(patches))
    rng = Script(integers=[mode, 0])
    expected = None if taken is None else patches[taken]
    assert draw_crop((10, 10), np.array(boxes, np.float32), rng) == expected
    assert rng.ranges == [7] * (2 if taken is None else 1)


def test_a_tiny_box_is_cropped_half_of_the_time():
    """Its overlap with a patch is always below .1: only the whole image and threshold 0 end the search, and they are as likely."""
    box = np.array([[49, 49, 51, 51]], np.float32)
    crops = [draw_crop((100, 100), box, image_rng(5, 0, index)) for index in range(1000)]
    assert abs(sum(crop is None for crop in crops) - 500) < _binomial(1000, 1 / 2)


def _crop_by_loop(size, boxes, rng):
    """One trial at a time, with numpy's older generator, whose `uniform(room)` is what the reference calls."""
    height, width = size
    while True:
        mode = [None, 0.1, 0.3, 0.5, 0.7, 0.9, 0][rng.randint(7)]
        if mode is None:
            return None
        for _ in range(50):
            new_width, new_height = rng.uniform(0.3 * width, width), rng.uniform(0.3 * height, height)
            if not 0.5 <= new_height / new_width <= 2:
                continue
            left, top = rng.uniform(width - new_width), rng.uniform(height - new_height)
            x1, y1, x2, y2 = int(left), int(top), int(left + new_width), int(top + new_height)
            fits, some = True, False
            for a, b, c, d in boxes.tolist():
                common = max(min(x2, c) - max(x1, a) + 1, 0) * max(min(y2, d) - max(y1, b) + 1, 0)
                union = (x2 - x1 + 1) * (y2 - y1 + 1) + (c - a + 1) * (d - b + 1) - common
                fits = fits and common / union >= mode
                some = some or (x1 < (a + c) / 2 < x2 and y1 < (b + d) / 2 < y2)
            if fits and some:
                return x1, y1, x2, y2


@pytest.mark.parametrize("boxes", [[(20, 30, 150, 110)], [(5, 5, 90, 60), (60, 40, 190, 130)]])
def test_crops_are_distributed_as_those_of_a_loop(boxes):
    """The same fraction of uncropped images, and the same distribution of corners and sizes, from two generators."""
    count, size, boxes = 1200, (140, 200), np.array(boxes, np.float32)
    ours = [draw_crop(size, boxes, image_rng(6, 0, index)) for index in range(count)]
    older = np.random.RandomState(0)
    theirs = [_crop_by_loop(size, boxes, older) for _ in range(count)]
    whole = [sum(crop is None for crop in crops) for crops in (ours, theirs)]
    assert abs(whole[0] - whole[1]) < math.sqrt(2) * _binomial(count, sum(whole) / 2 / count)
    ours, theirs = (np.array([crop for crop in crops if crop]) for crops in (ours, theirs))
    bound = ONCE_IN_1000 * math.sqrt(1 / len(ours) + 1 / len(theirs))
    for values in (lambda p: p[:, 0], lambda p: p[:, 1], lambda p: p[:, 2] - p[:, 0], lambda p: p[:, 3] - p[:, 1]):
        assert _distance_of_two(values(ours), values(theirs)) < bound


def test_boxes_of_a_patch_by_hand():
    boxes = np.array(
        [
            [12, 22, 30, 40],  # inside
            [0, 0, 40, 60],  # reaches beyond on all sides, centre (20, 30)
            [0, 20, 20, 40],  # centre on the left edge
            [30, 40, 80, 70],  # centre outside
            [11, 21, 11, 21],  # one pixel
        ],
        np.float32,
    )
    cropped, labels = crop_boxes(boxes, np.array([5, 6, 7, 8, 9]), (10, 20, 40, 50))
    np.testing.assert_array_equal(cropped, [[2, 2, 20, 20], [0, 0, 30, 30], [1, 1, 1, 1]])
    np.testing.assert_array_equal(labels, [5, 6, 9])
    assert cropped.dtype == np.float32


def test_without_boxes_no_crop_is_drawn():
    assert draw_crop((50, 60), NO_BOXES, Script()) is None


# All together.


def _random_boxes(rng, size, count):
    corners = np.sort(rng.uniform(0, [[size[1] - 1, size[0] - 1]] * 2, (count, 2, 2)), axis=1)
    return corners.reshape(count, 4).astype(np.float32)


@pytest.mark.parametrize("settings", [ALL_10X, Augmentation(min_iou_crop=True), Augmentation(expand=1.0, min_iou_crop=True)])
def test_boxes_stay_inside_and_one_is_left(settings):
    lost = 0
    for index in range(300):
        rng = np.random.default_rng(index)
        size, count = tuple(rng.integers(32, 90, 2)), int(rng.integers(1, 9))
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        boxes = _random_boxes(rng, size, count)
        found, moved, labels = augment_image(image, boxes, np.arange(count), (48, 64), settings, image_rng(7, 0, index))
        assert (found.shape, found.dtype) == ((48, 64, 3), np.uint8)
        assert 1 <= len(moved) == len(labels) <= count
        assert moved.dtype == np.float32
        assert (moved >= 0).all()
        assert (moved <= [63, 47, 63, 47]).all()
        assert (moved[:, 2:] >= moved[:, :2]).all()
        lost += count - len(moved)
    assert lost > 0


def test_labels_and_pixels_stay_with_their_boxes():
    """Rectangles of one colour each: wherever a box goes, the colour at its centre is that of its label."""
    colours = np.array([[250, 20, 20], [20, 250, 20], [20, 20, 250]], np.uint8)
    boxes = np.array([[10, 12, 40, 50], [60, 20, 110, 45], [50, 60, 90, 88]], np.float32)
    image = np.full((96, 128, 3), 90, np.uint8)
    for colour, (x1, y1, x2, y2) in zip(colours, boxes.astype(int)):
        image[y1 : y2 + 1, x1 : x2 + 1] = colour
    lefts = []
    for index in range(100):
        settings = Augmentation(expand=0.5, min_iou_crop=True, affine=index % 4 == 0)
        found, moved, labels = augment_image(image, boxes, np.arange(3), (64, 96), settings, image_rng(8, 0, index))
        for label, (x1, y1, x2, y2) in zip(labels, moved):
            if min(x2 - x1, y2 - y1) > 4:
                np.testing.assert_allclose(found[int((y1 + y2) / 2), int((x1 + x2) / 2)], colours[label], atol=2)
                lefts.append(x1)
    assert len(set(lefts)) > 100


def test_the_recipe_step_by_step():
    """Colours, canvas, crop, resize and flip, all in float32; bytes only at the end."""
    rng = np.random.default_rng(9)
    image = rng.integers(0, 256, (40, 50, 3), np.uint8)
    boxes, labels = _random_boxes(rng, (40, 50), 3), np.arange(3)
    expanded = cropped = flipped = 0
    for index in range(60):
        rng = image_rng(9, 0, index)
        changed = distort(image, draw_distortion(rng))
        canvas, moved, kept = (0, 0, 50, 40), boxes, labels
        if rng.random() < 0.5:
            canvas = draw_canvas((40, 50), rng)
            moved = boxes + np.float32([-canvas[0], -canvas[1], -canvas[0], -canvas[1]])
            expanded += 1
        size = canvas[3] - canvas[1], canvas[2] - canvas[0]
        patch = draw_crop(size, moved, rng)
        if patch:
            moved, kept = crop_boxes(moved, kept, patch)
            cropped += 1
        changed = _cut_by_canvas(changed, canvas, patch or (0, 0, size[1], size[0]))
        changed, moved = resize(np.ascontiguousarray(changed), moved, (32, 64))
        if rng.random() < 0.5:
            changed, moved = flip(changed, moved)
            flipped += 1
        found = augment_image(image, boxes, labels, (32, 64), ALL_10X, image_rng(9, 0, index))
        np.testing.assert_array_equal(found[0], np.clip(np.rint(changed), 0, 255).astype(np.uint8))
        np.testing.assert_array_equal(found[1], moved)
        np.testing.assert_array_equal(found[2], kept)
    assert min(expanded, cropped, flipped) > 10


def test_the_canvas_keeps_its_colour():
    """The mean is filled in after colours are distorted."""
    image = np.full((10, 10, 3), 30, np.uint8)
    settings, corners = Augmentation(photometric=True, expand=1.0), 0
    for index in range(30):
        found, _, _ = augment_image(image, NO_BOXES, NO_BOXES[:, 0], (32, 32), settings, image_rng(10, 0, index))
        corners += tuple(found[-1, -1]) == MEAN_BYTES or tuple(found[0, 0]) == MEAN_BYTES
    assert corners > 20


def test_values_are_rounded_and_clipped_once_at_the_end(monkeypatch):
    monkeypatch.setattr(augment, "draw_distortion", lambda rng: Distortion(brightness=-32, contrast=1.49))
    greys = np.array([[0, 32, 33, 50, 120, 203, 204, 255]], np.uint8)
    found = augment_image(
        np.repeat(greys[..., None], 3, 2), NO_BOXES, NO_BOXES[:, 0], (1, 8), Augmentation(photometric=True, flip=0), image_rng(0, 0, 0)
    )[0]
    # 1.49 (g - 32); -47.68 goes to 0, 256.28 and 332.27 to 255
    np.testing.assert_array_equal(found[0, :, 0], [0, 0, 1, 27, 131, 255, 255, 255])


def test_the_same_sample_for_the_same_seed_epoch_and_index():
    rng = np.random.default_rng(11)
    image = rng.integers(0, 256, (40, 50, 3), np.uint8)
    boxes, labels = _random_boxes(rng, (40, 50), 4), np.arange(4)
    for settings in (ALL_10X, Augmentation(affine=True, lighting=True)):

        def example(*key, settings=settings):
            found = augment_image(image, boxes, labels, (32, 32), settings, image_rng(*key))
            return b"".join(np.ascontiguousarray(part).tobytes() for part in found)

        first = [example(1, 2, index) for index in range(20)]
        assert first == [example(1, 2, index) for index in range(20)]
        assert len(set(first)) == 20
        assert not set(first) & {example(1, 3, index) for index in range(20)}
        assert not set(first) & {example(2, 2, index) for index in range(20)}


def test_with_everything_off_only_resize_and_flip_are_left():
    """The first number of the generator decides about the flip."""
    rng = np.random.default_rng(12)
    image = rng.integers(0, 256, (40, 50, 3), np.uint8)
    boxes = _random_boxes(rng, (40, 50), 3)
    for index in range(20):
        expected, moved = cv2.resize(image, (64, 32)), boxes * np.float32([1.28, 0.8, 1.28, 0.8])
        if image_rng(12, 0, index).random() < 0.5:
            expected, moved = expected[:, ::-1], np.stack([63 - moved[:, 2], moved[:, 1], 63 - moved[:, 0], moved[:, 3]], axis=1)
        found, boxes_found, labels = augment_image(image, boxes, np.arange(3), (32, 64), Augmentation(), image_rng(12, 0, index))
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(boxes_found, moved, rtol=1e-5)
        np.testing.assert_array_equal(labels, [0, 1, 2])


def test_an_image_without_boxes_goes_through_every_switch():
    image = np.random.default_rng(13).integers(0, 256, (40, 50, 3), np.uint8)
    everything = Augmentation(photometric=True, expand=1.0, min_iou_crop=True, affine=True, lighting=True)
    for index in range(10):
        found, boxes, labels = augment_image(image, NO_BOXES, np.zeros([0], np.int32), (32, 64), everything, image_rng(13, 0, index))
        assert (found.shape, found.dtype, boxes.shape, labels.shape) == ((32, 64, 3), np.uint8, (0, 4), (0,))
    # The crop has nothing to go by: with it or without it the example is the same.
    for index in range(10):
        pair = [
            augment_image(image, NO_BOXES, np.zeros([0]), (32, 64), Augmentation(expand=0.5, min_iou_crop=crop), image_rng(14, 0, index))[0]
            for crop in (False, True)
        ]
        np.testing.assert_array_equal(*pair)
