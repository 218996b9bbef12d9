"""Overlays and contact sheets: the colours of single pixels."""

import numpy as np

from ttfnet_tf.inference.draw import class_colour
from ttfnet_tf.inspect.contact_sheet import contact_sheet, fit
from ttfnet_tf.inspect.overlays import (
    CORRECT,
    MISTAKE,
    ONE,
    SEVERAL,
    detection_panel,
    overlay_ambiguous,
    overlay_cells,
    overlay_heatmap,
    overlay_mistakes,
    overlay_sub_areas,
    overlay_weights,
)


def _grey(height=8, width=8):
    return np.full([height, width, 3], 100, np.uint8)


def test_heatmap_by_hand():
    """A cell at probability 1 has the colour of its class, at 0 the darkened grey of the image."""
    heatmap = np.zeros([2, 2, 2], np.float32)
    heatmap[0, 1, 1] = 1.0
    overlay = overlay_heatmap(_grey(), heatmap)
    np.testing.assert_array_equal(overlay[:4, 4:], np.broadcast_to(class_colour(1), [4, 4, 3]))
    np.testing.assert_array_equal(overlay[4:], np.full([4, 8, 3], 60))


def test_cells_blend_by_their_opacity_at_any_size():
    colours = np.zeros([1, 2, 3], np.float32) + np.float32([200, 0, 100])
    overlay = overlay_cells(_grey(6, 10), colours, np.array([[0.5, 0.0]]))
    assert (overlay[:, :5] == [130, 30, 80]).all()  # half of 60 and half of the colour
    assert (overlay[:, 5:] == 60).all()
    overlay = overlay_cells(_grey(6, 10), colours, np.array([[0.5, 0.0]]), in_colour=True)
    assert (overlay[:, :5] == [150, 50, 100]).all()
    assert (overlay[:, 5:] == 100).all()


def test_ambiguous_cells_are_red_and_others_blue():
    overlay = overlay_ambiguous(_grey(), np.array([[0, 1], [2, 3]]))
    assert (overlay[:4, :4] == 60).all()
    blue, red = (np.int32(0.55 * 60 + 0.45 * np.array(ONE)), np.int32(0.1 * 60 + 0.9 * np.array(SEVERAL)))
    assert np.abs(overlay[:4, 4:].astype(int) - blue).max() <= 1
    assert np.abs(overlay[4:].astype(int) - red).max() <= 1


def test_larger_weights_are_brighter_and_cells_without_weight_show_the_image():
    weights = np.array([[[0.0, 0.0], [0.2, 0.0]], [[0.1, 0.4], [np.nan, 0.0]]], np.float32)  # two groups
    overlay = overlay_weights(_grey(), weights).astype(int)
    assert (overlay[:4, :4] == 60).all()
    assert (overlay[4:, 4:] == 60).all()
    assert overlay[4:, :4].sum() > overlay[:4, 4:].sum()  # .4 is the larger one


def test_sub_areas_have_the_colour_of_the_last_painted_and_frames():
    areas = np.array([[0, 0, 2, 2], [1, 1, 2, 2], [3, 3, 3, 3]])  # the last one is empty
    overlay = overlay_sub_areas(_grey(32, 32), areas, np.array([0, 1, 2]), (4, 4))
    assert (overlay[0, :16] == 255).all()  # the frame of the first: 2 cells of 8 px
    expected = 0.45 * 60 + 0.55 * np.array(class_colour(0))
    assert np.abs(overlay[4, 4] - expected).max() <= 1
    expected = 0.45 * 60 + 0.55 * np.array(class_colour(1))
    assert np.abs(overlay[12, 12] - expected).max() <= 1
    assert (overlay[20, 20] == 60).all()


def test_mistakes_are_red_and_on_top():
    boxes = [[10, 10, 30, 30], [10, 10, 30, 30]]
    drawing = overlay_mistakes(np.zeros([60, 60, 3], np.uint8), boxes, ["cat", "dog"], [False, True])
    assert tuple(drawing[30, 20]) == MISTAKE
    drawing = overlay_mistakes(np.zeros([60, 60, 3], np.uint8), boxes, ["cat", "dog"], [False, False])
    assert tuple(drawing[30, 20]) == CORRECT
    assert {tuple(colour) for colour in drawing.reshape(-1, 3)} == {CORRECT, (0, 0, 0)}  # no text
    assert not overlay_mistakes(np.zeros([60, 60, 3], np.uint8), [], [], []).any()


def test_a_detection_panel_is_two_by_two_and_shows_confident_boxes_only():
    image = np.zeros([64, 64, 3], np.uint8)
    heatmap = np.zeros([16, 16, 2], np.float32)
    box = np.array([[10.0, 10.0, 50.0, 50.0]], np.float32)
    arguments = {
        "true_boxes": box,
        "true_labels": np.array([0]),
        "target_heatmap": heatmap,
        "boxes": box,
        "labels": np.array([1]),
        "heatmap": heatmap,
        "class_names": ["cat", "dog"],
    }
    sure = detection_panel(image, scores=np.array([0.9]), **arguments)
    unsure = detection_panel(image, scores=np.array([0.3]), **arguments)
    assert sure.shape == (128, 128, 3)
    assert sure[:64, :64].any()
    assert unsure[:64, :64].any()
    assert sure[64:, :64].any()
    assert not unsure[64:, :64].any()


def test_an_image_is_fitted_by_its_longer_side():
    assert fit(_grey(40, 80), 380).shape == (190, 380, 3)
    assert fit(_grey(1000, 10), 380).shape == (380, 4, 3)


def test_a_contact_sheet_holds_every_panel_unchanged():
    red, blue = np.zeros([20, 30, 3], np.uint8), np.zeros([40, 10, 3], np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    page = contact_sheet(
        "title", ["note"], [[("a", red), ("a caption that is far too long", blue)], [("b", red)]], [["", "x"], ["rows", "12"]]
    )
    assert (page == [255, 0, 0]).all(axis=2).sum() == 2 * 20 * 30
    assert (page == [0, 0, 255]).all(axis=2).sum() == 40 * 10
    assert (page[-1] == 255).all()
    # The rest is text on white.
    assert contact_sheet("title", [], [[("a", red)]]).shape[0] < page.shape[0]
