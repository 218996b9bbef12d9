"""Which pixels a drawn box and its label change."""

import numpy as np
import pytest

from ttfnet_tf.inference.draw import class_colour, draw_boxes

RED = (255, 0, 0)
BLUE = (0, 0, 255)


def _black(height=60, width=80):
    return np.zeros((height, width, 3), np.uint8)


def test_a_box_is_a_frame_of_one_pixel_on_a_small_image():
    drawing = draw_boxes(_black(), [[10, 20, 30, 40]], [""], [RED])
    painted = np.argwhere(drawing.any(axis=2))
    assert painted.min(axis=0).tolist() == [20, 10]
    assert painted.max(axis=0).tolist() == [40, 30]
    assert len(painted) == 2 * 21 + 2 * 19  # inclusive corners: 21 x 21
    assert (drawing[20, 10:31] == RED).all()


def test_lines_grow_with_the_image():
    drawing = draw_boxes(_black(1000, 1000), [[100, 100, 500, 500]], [""], [RED])
    assert drawing[300, 95:115].any(axis=1).sum() == 4


def test_the_first_box_lies_on_top():
    drawing = draw_boxes(_black(), [[10, 20, 30, 40], [10, 20, 30, 40]], ["", ""], [RED, BLUE])
    assert tuple(drawing[20, 10]) == RED


def test_the_source_is_not_painted_on():
    image = _black()
    draw_boxes(image, [[1, 1, 5, 5]], ["x"], [RED])
    assert not image.any()


@pytest.mark.parametrize("box", [[-50, -50, 500, 500], [70, 50, 90, 70], [5, 5, 5, 5], [30, 30, 20, 20], [200, 200, 300, 300]])
def test_odd_boxes_are_drawn_inside_the_image(box):
    drawing = draw_boxes(_black(), [box], ["label that is far too long for so small an image"], [RED])
    assert drawing.shape == (60, 80, 3)
    assert drawing.any()


@pytest.mark.parametrize("corner", [(10, 30), (10, 0), (75, 30)])
def test_labels_stay_in_the_image(corner):
    x, y = corner
    bare = draw_boxes(_black(), [[x, y, x + 4, y + 4]], [""], [RED])
    labelled = draw_boxes(_black(), [[x, y, x + 4, y + 4]], ["cat 0.9"], [RED])
    assert (labelled != bare).any(axis=2).sum() > 100


def test_a_label_may_be_any_text():
    assert draw_boxes(_black(), [[5, 30, 40, 50]], ["Blutkörperchen 血"], [RED]).any()


def test_no_box_leaves_the_image_as_it_was():
    image = np.random.default_rng(0).integers(0, 255, (20, 30, 3), np.uint8)
    np.testing.assert_array_equal(draw_boxes(image, np.zeros((0, 4)), [], []), image)


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"must be uint8 \[H, W, 3\], received float32 \[4, 4, 3\]"):
        draw_boxes(np.zeros((4, 4, 3), np.float32), [], [], [])
    with pytest.raises(ValueError, match="received 1, 2 and 1"):
        draw_boxes(_black(), [[1, 1, 2, 2]], ["a", "b"], [RED])


def test_neighbouring_classes_have_colours_that_differ():
    colours = np.array([class_colour(index) for index in range(80)], int)
    assert len({tuple(colour) for colour in colours}) == 80
    assert np.abs(np.diff(colours, axis=0)).sum(axis=1).min() > 150
