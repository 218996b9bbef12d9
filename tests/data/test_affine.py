"""CenterNet's views and colour jitter: values by hand, and slow loops."""

import math

import cv2
import numpy as np
import pytest

from ttfnet_tf.data.affine import ColourJitter, View, apply_view, center_border, draw_colour_jitter, draw_view, jitter_colours
from ttfnet_tf.data.transforms import image_rng, resize

NOTHING = (np.zeros([0, 4], np.float32), np.zeros([0], np.int32))


def _distance(values, distribution):
    """Largest difference between the fraction of `values` up to x and `distribution(x)` (Kolmogorov and Smirnov)."""
    values = np.sort(values)
    expected = np.array([distribution(value) for value in values])
    counts = np.arange(len(values) + 1) / len(values)
    return max(np.abs(counts[1:] - expected).max(), np.abs(counts[:-1] - expected).max())


# Views.


@pytest.mark.parametrize(
    ("side", "border"), [(640, 128), (257, 128), (256, 64), (129, 64), (128, 32), (64, 16), (33, 16), (5, 2), (2, 0), (1, 0)]
)
def test_border_is_128_halved_until_it_fits(side, border):
    assert center_border(side) == border


def test_views_have_eight_scales_and_every_centre_away_from_the_border():
    """Every centre of a 300 x 261 image's inner 44 x 5 pixels, every scale from .6 to 1.3; fractions within 4 standard deviations."""
    views = [draw_view((261, 300), image_rng(0, 0, index)) for index in range(4000)]
    assert {view.center_x for view in views} == set(range(128, 172))
    assert {view.center_y for view in views} == set(range(128, 133))
    scales, counts = np.unique([view.scale for view in views], return_counts=True)
    np.testing.assert_array_equal(scales, [0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3])
    assert (np.abs(counts - 500) < 4 * math.sqrt(4000 / 8 * 7 / 8)).all()
    rows = np.unique([view.center_y for view in views], return_counts=True)[1]
    assert (np.abs(rows - 800) < 4 * math.sqrt(4000 / 5 * 4 / 5)).all()


def test_an_image_of_one_pixel_has_a_view():
    assert draw_view((1, 1), image_rng(0, 0, 0))[:2] == (0, 0)


@pytest.mark.parametrize(("size", "image_size"), [((12, 16), (12, 16)), ((12, 16), (24, 32)), ((48, 64), (24, 32))])
def test_a_view_of_the_whole_image_equals_resize(size, image_size):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (*size, 3), np.uint8)
    boxes = np.array([[1, 2, 9, 8], [0, 0, size[1] - 1, size[0] - 1]], np.float32)
    shown, moved, labels = apply_view(image, boxes, np.array([4, 5]), View(size[1] // 2, size[0] // 2, 1.0), image_size)
    expected, resized = resize(image, boxes, image_size)
    inner = (slice(1, -1), slice(1, -1))  # at the border the view fades into black where resize repeats the last pixel
    assert np.abs(shown[inner].astype(int) - expected[inner].astype(int)).max() <= 1  # OpenCV rounds differently in the two
    np.testing.assert_array_equal(moved, resized)
    np.testing.assert_array_equal(labels, [4, 5])


def _show_by_loop(image, view, image_size):
    """Bilinear samples at the centre of every pixel, black outside."""
    height, width = image.shape[:2]
    out = np.zeros((*image_size, 3))
    for row in range(image_size[0]):
        for column in range(image_size[1]):
            y = view.center_y + ((row + 0.5) / image_size[0] - 0.5) * view.scale * height - 0.5
            x = view.center_x + ((column + 0.5) / image_size[1] - 0.5) * view.scale * width - 0.5
            for i in (math.floor(y), math.floor(y) + 1):
                for j in (math.floor(x), math.floor(x) + 1):
                    if 0 <= i < height and 0 <= j < width:
                        out[row, column] += (1 - abs(y - i)) * (1 - abs(x - j)) * image[i, j]
    return out


@pytest.mark.parametrize("view", [View(2, 5, 0.5), View(7, 1, 1.25), View(4, 4, 1.5)])
def test_pixels_of_a_view_equal_a_loop(view):
    """Scales for which OpenCV's grid of 1/32 pixel is exact."""
    image = np.random.default_rng(1).uniform(0, 255, (8, 16, 3)).astype(np.float32)
    shown = apply_view(image, *NOTHING, view, (8, 8))[0]
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown, _show_by_loop(image, view, (8, 8)), atol=1e-4)


def test_boxes_of_a_view_are_moved_clipped_and_dropped_when_outside():
    """A 100 x 200 image (height x width), view about (120, 40), half the sides: columns 70 to 170, rows 15 to 65, to 128 x 256."""
    boxes = np.array(
        [
            [80, 20, 120, 40],
            [60, 10, 90, 90],  # clipped on three sides
            [10, 20, 70, 40],  # ends where the view begins
            [170, 20, 180, 40],  # begins where it ends
            [100, 66, 120, 90],  # below
            [100, 30, 100, 30],  # one pixel
        ],
        np.float32,
    )
    image, moved, labels = apply_view(np.zeros((100, 200, 3), np.uint8), boxes, np.arange(6), View(120, 40, 0.5), (128, 256))
    assert image.shape == (128, 256, 3)
    np.testing.assert_array_equal(labels, [0, 1, 5])
    # x' = 2.56 (x - 70), y' = 2.56 (y - 15)
    np.testing.assert_allclose(moved, [[25.6, 12.8, 128, 64], [0, 0, 51.2, 127], [76.8, 38.4, 76.8, 38.4]], rtol=1e-5)
    assert moved.dtype == np.float32


def test_a_view_without_boxes_and_one_that_cuts_off_all_of_them():
    image = np.zeros((64, 64, 3), np.uint8)
    _, boxes, labels = apply_view(image, *NOTHING, View(20, 20, 0.6), (32, 32))
    assert (boxes.shape, labels.shape) == ((0, 4), (0,))
    _, boxes, labels = apply_view(image, np.array([[50, 50, 60, 60]], np.float32), np.array([1]), View(16, 16, 0.6), (32, 32))
    assert (boxes.shape, labels.shape) == ((0, 4), (0,))


def test_a_marked_pixel_and_its_box_move_together():
    """A square of 7 pixels: its middle stays that of its box, within half a pixel of the image and half a pixel of the view."""
    seen = 0
    for index in range(40):
        view = draw_view((60, 90), image_rng(5, 0, index))
        image = np.zeros((60, 90, 3), np.uint8)
        image[27:34, 42:49] = 255
        shown, boxes, _ = apply_view(image, np.array([[42, 27, 48, 33]], np.float32), np.array([0]), view, (120, 180))
        rows, columns = np.nonzero(shown[..., 0] > 127)
        if len(boxes) and boxes.min() > 0 and boxes[0, 2] < 179 and boxes[0, 3] < 119:
            center = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
            np.testing.assert_allclose((boxes[0, :2] + boxes[0, 2:]) / 2, center, atol=1 / view.scale + 0.5)
            seen += 1
    assert seen > 20


# Colours.


def _jitter_by_steps(image, jitter):
    """Blend after blend, in units of 0..1, with blue first as the reference has its images."""
    changed = image[..., ::-1].astype(np.float64) / 255
    grey = changed @ [0.114, 0.587, 0.299]
    mean = grey.mean()
    for step, factor in jitter.steps:
        other = {"brightness": 0, "contrast": mean, "saturation": grey[..., None]}[step]
        changed = factor * changed + (1 - factor) * other
    vectors = np.array(
        [[-0.58752847, -0.69563484, 0.41340352], [-0.5832747, 0.00994535, -0.81221408], [-0.56089297, 0.71832671, 0.41158938]]
    )
    changed = changed + vectors @ (np.array([0.2141788, 0.01817699, 0.00341571]) * jitter.lighting)
    return 255 * changed[..., ::-1]


def test_colours_equal_the_reference_step_by_step():
    image = np.random.default_rng(2).integers(0, 256, (9, 11, 3), np.uint8)
    for index in range(20):
        jitter = draw_colour_jitter(image_rng(0, 1, index))
        np.testing.assert_allclose(jitter_colours(image, jitter), _jitter_by_steps(image, jitter), atol=2e-3)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ((), [[100, 100, 100], [200, 100, 50]]),
        ((("brightness", 1.5),), [[150, 150, 150], [300, 150, 75]]),
        # greys 100 and 59.8 + 58.7 + 5.7 = 124.2, their mean 112.1
        ((("contrast", 0.5),), [[106.05, 106.05, 106.05], [156.05, 106.05, 81.05]]),
        ((("saturation", 0.5),), [[100, 100, 100], [162.1, 112.1, 87.1]]),
        ((("brightness", 0.5), ("contrast", 0.5)), [[81.05, 81.05, 81.05], [106.05, 81.05, 68.55]]),
    ],
)
def test_colours_by_hand(steps, expected):
    image = np.array([[[100, 100, 100], [200, 100, 50]]], np.uint8)
    np.testing.assert_allclose(jitter_colours(image, ColourJitter(steps, (0, 0, 0)))[0], expected, rtol=1e-5)


def test_lighting_by_hand():
    """The first principal colour: red moves by 255 x -0.56089297 x 0.2141788 for each unit."""
    lit = jitter_colours(np.full((1, 1, 3), 100, np.uint8), ColourJitter((), (0.5, 0, 0)))
    np.testing.assert_allclose(lit[0, 0], [100 - 15.3166, 100 - 15.9278, 100 - 16.0439], atol=1e-3)


def test_distribution_of_the_colour_changes():
    """Factors uniform in .6 to 1.4, all orders alike, noise normal of deviation .1; 1.95 / sqrt(n) is passed by chance once in 1000."""
    drawn = [draw_colour_jitter(image_rng(3, 0, index)) for index in range(3000)]
    for name in ("brightness", "contrast", "saturation"):
        factors = [dict(jitter.steps)[name] for jitter in drawn]
        assert 0.6 <= min(factors) < 0.605
        assert 1.395 < max(factors) <= 1.4
        assert _distance(factors, lambda value: (value - 0.6) / 0.8) < 1.95 / math.sqrt(3000)
    orders, counts = np.unique([" ".join(name for name, _ in jitter.steps) for jitter in drawn], return_counts=True)
    assert len(orders) == 6
    assert (np.abs(counts - 500) < 4 * math.sqrt(3000 / 6 * 5 / 6)).all()
    for k in range(3):
        noise = [jitter.lighting[k] for jitter in drawn]
        assert _distance(noise, lambda value: (1 + math.erf(value / 0.1 / math.sqrt(2))) / 2) < 1.95 / math.sqrt(3000)
    assert abs(np.std([jitter.lighting for jitter in drawn]) - 0.1) < 4 * 0.1 / math.sqrt(2 * 9000)


def test_a_float_image_may_leave_the_range():
    image = np.array([[[-20, 300, 100]]], np.float32)
    np.testing.assert_allclose(jitter_colours(image, ColourJitter((("brightness", 1.2),), (0, 0, 0)))[0, 0], [-24, 360, 120], rtol=1e-5)
    assert cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[0, 0] == pytest.approx(-20 * 0.299 + 300 * 0.587 + 100 * 0.114)
