"""Targets in NumPy: values worked out by hand, edges, and a twin that looks at every cell on its own."""

import math

import numpy as np
import pytest

from ttfnet_tf.methods.targets import centre_cells, cornernet_radii, kernel_radii, paint_targets, sub_areas


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


@pytest.mark.parametrize(
    ("beta", "rows", "columns"),
    [
        # y 3..83, x 10..130: the middle 1 % is y 42.6..43.4 -> 43 px -> 10.75, x 69.4..70.6 -> 69, 71 px -> 17.25, 17.75.
        (0.01, (11, 11), (17, 18)),
        # y 7..79 -> 1.75, 19.75; x 16..124 -> 4, 31.
        (0.9, (2, 20), (4, 31)),
        # y 3..83 -> 0.75, 20.75; x 10..130 -> 2.5 (to even), 32.5 -> 31, the last column.
        (1.0, (1, 21), (2, 31)),
    ],
)
@pytest.mark.parametrize("box_per_class", [False, True])
def test_rectangles_of_any_size(beta, rows, columns, box_per_class):
    box = [10, 3, 130, 83]
    maps = paint([box], [1], image_size=(96, 128), area="rectangle", beta=beta, box_per_class=box_per_class)
    group = 1 if box_per_class else 0
    owned = np.zeros((24, 32), bool)
    owned[rows[0] : rows[1] + 1, columns[0] : columns[1] + 1] = True
    np.testing.assert_array_equal(maps["box_weight"][..., group] > 0, owned)
    np.testing.assert_array_equal((maps["box_target"][..., 4 * group : 4 * group + 4] == box).all(-1), owned)
    np.testing.assert_allclose(maps["box_weight"].sum(), math.log(121 * 81), rtol=1e-6)


def test_equal_weights_do_not_depend_on_the_area():
    large, small = [8, 8, 56, 56], [40, 8, 44, 12]
    weight = paint([large, small], [0, 1], image_size=(64, 64), area="rectangle", beta=0.5, weight="equal")["box_weight"]
    # The middle half of 8..56 is 20..44 px: cells 5 to 11. Of 40..44 it is 41, 43 px: cells 10, 11; of 8..12 cells 2 and 3 (9, 11 px).
    expected = np.zeros((16, 16))
    expected[5:12, 5:12] = 1
    expected[2:4, 10:12] = 1
    np.testing.assert_array_equal(weight[..., 0], expected)


def test_equal_weights_of_a_gaussian_area_are_its_kernel():
    maps = paint([[8, 8, 24, 24], [28, 28, 28, 28]], [1, 1], weight="equal")
    edge, corner = math.exp(-2), math.exp(-4)
    expected = np.zeros((8, 8))
    expected[3:6, 3:6] = [[corner, edge, corner], [edge, 1, edge], [corner, edge, corner]]
    expected[7, 7] = 1  # the box of one pixel, too
    np.testing.assert_allclose(maps["box_weight"][..., 0], expected, rtol=1e-6)


def _published_radius(height, width, overlap=0.7):
    """CornerNet's three conditions as first published and as CenterNet was trained: roots that are not divided by 2 a."""
    roots = []
    for a, b, c in (
        (1, height + width, width * height * (1 - overlap) / (1 + overlap)),
        (4, 2 * (height + width), (1 - overlap) * width * height),
        (4 * overlap, -2 * overlap * (height + width), (overlap - 1) * width * height),
    ):
        roots.append((b + math.sqrt(b * b - 4 * a * c)) / 2)
    return min(roots)


def test_cornernet_radius_is_the_published_one():
    table = cornernet_radii(40, 120)
    assert table.shape == (40, 120)
    for height in range(40):
        for width in range(120):
            assert table[height, width] == int(_published_radius(height, width)), (height, width)
    # By hand, (10, 10): (-28 + sqrt(784 + 336)) / 2 = 2.73. (20, 35): (-77 + sqrt(5929 + 2352)) / 2 = 7 exactly.
    assert table[10, 10] == 2
    assert table[20, 35] == table[35, 20] == 7


def test_cornernet_kernel_is_square_and_grows_with_alpha():
    # 160 x 40 px are 40 x 10 cells: (-70 + sqrt(4900 + 1344)) / 2 = 4.51 -> 4; twice that is 9.02 -> 9; half of it 2.25 -> 2.
    boxes = np.array([[40, 100, 200, 140]], np.float32)
    for size, radius in ((0.54, 4), (1.08, 9), (0.27, 2)):
        assert kernel_radii(boxes, size, "cornernet", 64, 64).tolist() == [[radius, radius]]
    assert kernel_radii(boxes, 0.54, "aspect", 64, 64).tolist() == [[10, 2]]
    maps = paint(boxes, [0], image_size=(256, 256), kernel="cornernet", beta=0.27)
    assert np.argwhere(maps["heatmap"][..., 0]).min(0).tolist() == [26, 26]  # the centre (120, 120) is cell (30, 30)
    assert np.argwhere(maps["heatmap"][..., 0]).max(0).tolist() == [34, 34]
    assert np.count_nonzero(maps["box_weight"]) == 5 * 5
    np.testing.assert_allclose(maps["heatmap"][30, 26, 0], math.exp(-(4**2) / (2 * 1.5**2)), rtol=1e-6)  # sigma = 9 / 6


def test_cornernet_radius_is_that_of_the_rounded_up_box():
    # 9.25 x 9.25 cells give 2.53, 10 x 10 give 2.73, and with alpha 0.6 that is 3.04.
    boxes = np.array([[8, 8, 45, 45]], np.float32)
    assert kernel_radii(boxes, 0.6, "cornernet", 64, 64).tolist() == [[3, 3]]


def test_rectangles_do_not_know_the_kernel():
    boxes = [[8, 8, 24, 24], [4, 12, 90, 20]]
    aspect, square = (paint(boxes, [0, 1], image_size=(64, 96), area="rectangle", kernel=kernel) for kernel in ("aspect", "cornernet"))
    np.testing.assert_array_equal(aspect["box_weight"], square["box_weight"])
    np.testing.assert_array_equal(aspect["box_target"], square["box_target"])
    assert (aspect["heatmap"] != square["heatmap"]).any()


@pytest.mark.parametrize("kernel", ["aspect", "cornernet"])
@pytest.mark.parametrize("area", ["gaussian", "rectangle"])
def test_sub_areas_are_the_cells_that_are_painted(area, kernel):
    rng = np.random.default_rng(5)
    for box in rng.uniform(0, 127, (20, 4)).astype(np.float32):
        box = np.sort(box.reshape(2, 2), axis=0).reshape(1, 4)
        ((top, left, bottom, right),) = sub_areas(box, beta=0.54, area=area, kernel=kernel, height=32, width=32)
        painted = np.zeros((32, 32), bool)
        painted[top:bottom, left:right] = True
        weight = paint(box, [0], image_size=(128, 128), area=area, kernel=kernel, weight="norm")["box_weight"][..., 0]
        np.testing.assert_array_equal(weight > 0, painted)


def test_geometry_of_another_stride_is_that_of_the_shrunk_box():
    boxes = np.array([[16, 40, 240, 120]], np.float32)
    np.testing.assert_array_equal(centre_cells(boxes, 8), centre_cells(boxes / 2, 4))
    for kernel in ("aspect", "cornernet"):
        np.testing.assert_array_equal(kernel_radii(boxes, 0.5, kernel, 32, 32, 8), kernel_radii(boxes / 2, 0.5, kernel, 32, 32))


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


def test_map_of_an_image_that_is_no_multiple_of_four():
    assert paint([], [], image_size=(35, 30))["heatmap"].shape == (8, 7, 2)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="gaussian or rectangle, received 'circle'"):
        paint([], [], area="circle")
    with pytest.raises(ValueError, match="none, norm, sqrt, log or equal, received 'area'"):
        paint([], [], weight="area")
    with pytest.raises(ValueError, match="aspect or cornernet, received 'round'"):
        paint([], [], kernel="round")
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
    centre, side = rng.integers(0, 96, (12, 2)), rng.integers(2, 90, (12, 2))  # some reach beyond the image
    boxes = np.concatenate([centre - side // 2, centre + side // 2], axis=1).astype(np.float32)
    labels = rng.integers(0, 3, 12)
    maps = paint(boxes, labels, image_size=(72, 96), num_classes=3, beta=beta)
    heatmap, owner, weight = _twin(boxes, labels, 18, 24, 3, 0.54, beta)
    np.testing.assert_allclose(maps["heatmap"], heatmap, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(maps["box_weight"][..., 0], weight, rtol=1e-5, atol=1e-7)
    expected = np.where(owner[..., None] < 0, -1, boxes[owner])
    np.testing.assert_array_equal(maps["box_target"], expected)
