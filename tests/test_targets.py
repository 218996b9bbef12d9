"""Targets in NumPy: values worked out by hand, edges, and a twin that looks at every cell on its own."""

import math

import numpy as np
import pytest

from ttfnet_tf.targets import paint_targets


def paint(boxes, labels, **settings):
    settings = {"image_size": (32, 32), "num_classes": 2, **settings}
    return paint_targets(np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int32), **settings)


def test_one_box_by_hand():
    # 16 px wide: 4 cells between its corners, radius int(4 / 2 * 0.54) = 1, sigma = 3 / 6; centre (16, 16) is cell (4, 4).
    maps = paint([[8, 8, 24, 24]], [1])
    edge, corner = math.exp(-2), math.exp(-4)
    kernel = np.array([[corner, edge, corner], [edge, 1, edge], [corner, edge, corner]])
    heatmap = np.zeros((8, 8))
    heatmap[3:6, 3:6] = kernel
    np.testing.assert_allclose(maps["heatmap"][..., 1], heatmap, rtol=1e-6)
    assert not maps["heatmap"][..., 0].any()
    # Width and height are 17 pixels, both ends counted.
    weight = np.zeros((8, 8))
    weight[3:6, 3:6] = kernel / (1 + 4 * edge + 4 * corner) * math.log(17 * 17)
    np.testing.assert_allclose(maps["box_weight"][..., 0], weight, rtol=1e-6)
    target = np.full((8, 8, 4), -1.0)
    target[3:6, 3:6] = [8, 8, 24, 24]
    np.testing.assert_array_equal(maps["box_target"], target)
    assert {key: value.dtype for key, value in maps.items()} == dict.fromkeys(("heatmap", "box_target", "box_weight"), np.float32)


@pytest.mark.parametrize(
    ("weight", "total"),
    [("none", 17 * 9.0), ("norm", 1.0), ("sqrt", math.sqrt(17 * 9)), ("log", math.log(17 * 9))],
)
@pytest.mark.parametrize("area", ["gaussian", "rectangle"])
def test_weights_of_a_box_add_up(area, weight, total):
    maps = paint([[8, 12, 24, 20]], [0], area=area, weight=weight)
    np.testing.assert_allclose(maps["box_weight"].sum(), total, rtol=1e-6)


def test_radius_is_truncated():
    # 8 cells: 8 / 2 * 0.54 = 2.16 -> 2; 8 / 2 * 0.4999 = 1.9996 -> 1; 7 cells: 7 / 2 * 0.54 = 1.89 -> 1.
    for side, beta, cells in ((32, 0.54, 25), (32, 0.4999, 9), (28, 0.54, 9)):
        maps = paint([[16, 16, 16 + side, 16 + side]], [0], image_size=(64, 64), beta=beta)
        assert np.count_nonzero(maps["box_weight"]) == cells


def test_small_box_has_one_cell():
    maps = paint([[9, 5, 12, 7]], [0])  # the centre (10.5, 6) lies in column int(2.625), row int(1.5)
    assert np.argwhere(maps["heatmap"]).tolist() == [[1, 2, 0]]
    np.testing.assert_allclose(maps["box_weight"][1, 2, 0], math.log(4 * 3), rtol=1e-6)


def test_box_of_one_pixel_is_painted_without_weight():
    maps = paint([[9, 5, 9, 5]], [0])
    assert maps["heatmap"][1, 2, 0] == 1.0
    assert maps["box_target"][1, 2].tolist() == [9, 5, 9, 5]
    assert not maps["box_weight"].any()


def test_kernel_is_cut_at_the_border_and_its_weights_still_add_up():
    maps = paint([[0, 8, 16, 24]], [0], alpha=1.0, beta=1.0)  # radius 2 around column 2; rows 2 to 6
    assert np.count_nonzero(maps["box_weight"]) == 25
    maps = paint([[-8, 8, 8, 24]], [0], alpha=1.5, beta=1.5)  # inside the map 2 cells wide: radius 1 around column 0, 3 around row 4
    assert np.argwhere(maps["box_weight"][..., 0]).tolist() == [[y, x] for y in range(1, 8) for x in (0, 1)]
    np.testing.assert_allclose(maps["box_weight"].sum(), math.log(17 * 17), rtol=1e-6)
    assert maps["box_target"][4, 0].tolist() == [-8, 8, 8, 24]


def test_centre_off_the_map_leaves_no_peak():
    maps = paint([[20, 8, 60, 24]], [0], alpha=2.0)  # centre column 10 of 8, radius int(2 / 2 * 2) = 2
    assert not maps["heatmap"].any()
    maps = paint([[4, 8, 64, 24]], [0], alpha=1.0)  # centre column int(34 / 4) = 8, radius 3: columns 5 to 7
    assert np.unique(np.argwhere(maps["heatmap"])[:, 1]).tolist() == [5, 6, 7]
    assert 0 < maps["heatmap"].max() < 1


def test_smaller_box_owns_the_shared_cells_whatever_the_order():
    large, small = [0, 0, 31, 31], [12, 12, 20, 20]
    for boxes in ([large, small], [small, large]):
        maps = paint(boxes, [0, 1])
        assert maps["box_target"][4, 4].tolist() == small
        assert maps["box_target"][2, 2].tolist() == large


def test_of_equal_boxes_the_later_owns_the_shared_cells():
    first, second = [8, 8, 24, 24], [12, 8, 28, 24]
    assert paint([first, second], [0, 1])["box_target"][4, 4].tolist() == second
    assert paint([second, first], [0, 1])["box_target"][4, 4].tolist() == first


def test_heatmap_is_the_maximum_within_a_class():
    boxes = [[0, 8, 16, 24], [8, 8, 24, 24]]  # centres in columns 2 and 4, radius 1: column 3 belongs to both
    together = paint(boxes, [0, 0])["heatmap"]
    alone = [paint([box], [0])["heatmap"] for box in boxes]
    np.testing.assert_array_equal(together, np.maximum(*alone))
    assert np.count_nonzero(together == 1.0) == 2
    apart = paint(boxes, [0, 1])["heatmap"]
    np.testing.assert_array_equal(apart[..., 0], alone[0][..., 0])


def test_rectangle_rounds_half_to_even_twice():
    # Middle half of x 0..10: 2.5 -> 2 px -> 0.5 -> cell 0; 7.5 -> 8 px -> cell 2. Of y 2..12: 4.5 -> 4 px -> 1; 9.5 -> 10 px -> 2.5 -> 2.
    maps = paint([[0, 2, 10, 12]], [0], area="rectangle", beta=0.5, weight="none")
    expected = np.zeros((8, 8))
    expected[1:3, 0:3] = 11 * 11 / 6
    np.testing.assert_allclose(maps["box_weight"][..., 0], expected, rtol=1e-6)


def test_rectangle_of_a_small_box_has_one_cell():
    maps = paint([[8, 5, 12, 7]], [0], area="rectangle", beta=0.01)  # 9.98 and 10.02 -> 10 px -> 2.5 -> column 2; 6 px -> 1.5 -> row 2
    assert np.argwhere(maps["box_weight"][..., 0]).tolist() == [[2, 2]]


def test_box_per_class_keeps_classes_apart():
    boxes = [[8, 8, 24, 24], [12, 12, 20, 20]]
    maps = paint(boxes, [1, 0], box_per_class=True)
    assert maps["box_target"].shape == (8, 8, 8)
    assert maps["box_weight"].shape == (8, 8, 2)
    assert maps["box_target"][4, 4].tolist() == boxes[1] + boxes[0]
    np.testing.assert_allclose(maps["box_weight"].sum((0, 1)), [math.log(9 * 9), math.log(17 * 17)], rtol=1e-6)


def test_no_boxes_and_padding():
    maps = paint([], [])
    assert not maps["heatmap"].any()
    assert not maps["box_weight"].any()
    assert (maps["box_target"] == -1).all()
    padded = paint([[8, 8, 24, 24], [4, 4, 12, 12]], [1, -1])
    for key, value in paint([[8, 8, 24, 24]], [1]).items():
        np.testing.assert_array_equal(padded[key], value)


def test_map_of_a_picture_that_is_no_multiple_of_four():
    assert paint([], [], image_size=(35, 30))["heatmap"].shape == (8, 7, 2)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="gaussian or rectangle, received 'circle'"):
        paint([], [], area="circle")
    with pytest.raises(ValueError, match="none, norm, sqrt or log, received 'area'"):
        paint([], [], weight="area")
    with pytest.raises(ValueError, match="label 2 is beyond the 2 classes"):
        paint([[8, 8, 24, 24]], [2])
    with pytest.raises(ValueError, match=r"\(1, 4\) and \(2,\)"):
        paint([[8, 8, 24, 24]], [0, 0])


def _twin(boxes, labels, height, width, num_classes, alpha, beta):
    """Each cell asks each box; gaussian area, log weights, one box for each cell. Slow and plain."""
    heatmap, owner = np.zeros((height, width, num_classes)), np.full((height, width), -1)
    kernels = []
    for box in boxes.astype(np.float64):
        x1, x2 = (min(max(v / 4, 0), width - 1) for v in box[[0, 2]])
        y1, y2 = (min(max(v / 4, 0), height - 1) for v in box[[1, 3]])
        column, row = int((box[0] + box[2]) / 8), int((box[1] + box[3]) / 8)
        pair = []
        for scale in (alpha, beta):
            rx, ry = int((x2 - x1) / 2 * scale), int((y2 - y1) / 2 * scale)
            kernel = np.zeros((height, width))
            for i in range(height):
                for j in range(width):
                    if abs(i - row) <= ry and abs(j - column) <= rx:
                        kernel[i, j] = math.exp(-18 * ((j - column) / (2 * rx + 1)) ** 2 - 18 * ((i - row) / (2 * ry + 1)) ** 2)
            pair.append(kernel)
        kernels.append(pair)
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    weight = np.zeros((height, width))
    for i in range(height):
        for j in range(width):
            for k, (heat, sub_area) in enumerate(kernels):
                heatmap[i, j, labels[k]] = max(heatmap[i, j, labels[k]], heat[i, j])
                if sub_area[i, j] > 0 and (owner[i, j] < 0 or areas[k] <= areas[owner[i, j]]):
                    owner[i, j] = k
                    weight[i, j] = sub_area[i, j] / sub_area.sum() * math.log(areas[k])
    return heatmap, owner, weight


@pytest.mark.parametrize("beta", [0.54, 0.2])
def test_equals_the_slow_twin(beta):
    rng = np.random.default_rng(3)
    centre, side = rng.integers(0, 96, (12, 2)), rng.integers(2, 90, (12, 2))  # some reach beyond the picture
    boxes = np.concatenate([centre - side // 2, centre + side // 2], axis=1).astype(np.float32)
    labels = rng.integers(0, 3, 12)
    maps = paint(boxes, labels, image_size=(72, 96), num_classes=3, beta=beta)
    heatmap, owner, weight = _twin(boxes, labels, 18, 24, 3, 0.54, beta)
    np.testing.assert_allclose(maps["heatmap"], heatmap, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(maps["box_weight"][..., 0], weight, rtol=1e-5, atol=1e-7)
    expected = np.where(owner[..., None] < 0, -1, boxes[owner])
    np.testing.assert_array_equal(maps["box_target"], expected)
