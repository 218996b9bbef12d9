"""Detection in tiles: the grid, the rule of merging by hand, and drawn objects that a stub finds in each tile without fail."""

import cv2
import numpy as np
import pytest
from PIL import Image

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.tiling import TiledDetector, merge, tiles_of

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0)}


class Stub:
    """Finds connected areas of a colour; their boxes are exact. Scores grow with the area in the tile."""

    class_names, category_ids, image_size = ("red", "green"), (3, 8), (64, 64)

    def __init__(self):
        self.calls = []

    def batch(self, images, *, batch_size=8):
        return self.timed(images, batch_size=batch_size)[0]

    def timed(self, images, *, batch_size):
        assert len(images) <= batch_size
        self.calls.append([image.shape[:2] for image in images])
        return [self._find(image) for image in images], 0.25

    def _find(self, image):
        rows = []
        for number, colour in zip(self.category_ids, COLOURS.values()):
            _, _, stats, _ = cv2.connectedComponentsWithStats((image == colour).all(axis=-1).astype(np.uint8))
            rows += [(x, y, x + w - 1, y + h - 1, 0.5 + area / 1e6, number) for x, y, w, h, area in stats[1:]]
        rows.sort(key=lambda row: -row[4])
        table = np.array(rows, np.float32).reshape(-1, 6)
        names = tuple(dict(zip(self.category_ids, self.class_names))[int(row[5])] for row in rows)
        return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int32), names, image.shape[:2])


def _draw(size, boxes):
    """boxes: (colour, x1, y1, x2, y2), corners inclusive."""
    image = np.zeros((*size, 3), np.uint8)
    for colour, x1, y1, x2, y2 in boxes:
        image[y1 : y2 + 1, x1 : x2 + 1] = COLOURS[colour]
    return image


def _found(detections):
    return sorted((one.class_name, *map(int, one.box)) for one in detections)


@pytest.mark.parametrize(
    ("size", "tile", "overlap", "lefts"),
    [
        (100, 100, 0.2, [0]),
        (64, 100, 0.2, [0]),
        (101, 100, 0.2, [0, 1]),
        (180, 100, 0.2, [0, 80]),
        (181, 100, 0.2, [0, 40, 81]),
        (300, 100, 0.0, [0, 100, 200]),
        (400, 100, 0.5, [0, 50, 100, 150, 200, 250, 300]),
    ],
)
def test_tiles_cover_the_image_and_overlap_enough(size, tile, overlap, lefts):
    tiles = tiles_of((50, size), tile, overlap)
    assert tiles[:, 0].tolist() == lefts
    assert tiles[:, 2].tolist() == [min(left + tile, size) for left in lefts]
    assert (tiles[:, [1, 3]] == [0, 50]).all()
    assert tiles_of((size, 50), tile, overlap)[:, 1].tolist() == lefts


def test_tiles_of_any_size():
    for side in range(33, 400, 7):
        for tile, overlap in ((32, 0.2), (50, 0.5), (100, 0.33)):
            tiles = tiles_of((side, side), tile, overlap)[:, [0, 2]]
            starts = sorted(set(map(tuple, tiles.tolist())))
            assert (starts[0][0], starts[-1][1]) == (0, side)
            assert all(before[1] - after[0] >= overlap * tile - 1 for before, after in zip(starts, starts[1:]))


# Three tiles side by side: columns 0 to 99, 80 to 179 and 160 to 259.
TILES = np.array([[0, 0, 100, 100], [80, 0, 180, 100], [160, 0, 260, 100]])
CASES = {
    "whole in one tile, cut in the other": (
        [(0, 0.5, 70, 10, 95, 40), (1, 0.9, 80, 10, 95, 40), (0, 0.7, 85, 60, 99, 80), (1, 0.6, 85, 60, 120, 80)],
        [(0.6, 85, 60, 120, 80), (0.5, 70, 10, 95, 40)],
    ),
    "larger than the overlap": ([(0, 0.7, 40, 10, 99, 40), (1, 0.8, 80, 12, 130, 41)], [(0.8, 40, 10, 130, 41)]),
    "two objects of which each is cut": (
        [(0, 0.7, 40, 10, 99, 40), (1, 0.8, 80, 50, 130, 80)],
        [(0.8, 80, 50, 130, 80), (0.7, 40, 10, 99, 40)],
    ),
    "parts of which each has another height": (
        [(0, 0.7, 40, 10, 99, 40), (1, 0.8, 80, 30, 130, 90)],
        [(0.8, 80, 30, 130, 90), (0.7, 40, 10, 99, 40)],
    ),
    "whole at the border of the image": ([(0, 0.9, 85, 3, 99, 20), (1, 0.6, 85, 1, 120, 20)], [(0.6, 85, 1, 120, 20)]),
    "over three tiles, and again in the last": (
        [(0, 0.7, 75, 10, 99, 40), (1, 0.8, 80, 10, 179, 40), (2, 0.6, 160, 10, 255, 40), (2, 0.5, 164, 10, 255, 40)],
        [(0.8, 75, 10, 255, 40)],
    ),
    "whole in both tiles": ([(0, 0.7, 84, 10, 94, 20), (1, 0.8, 84, 11, 94, 21)], [(0.8, 84, 11, 94, 21)]),
    "near each other": ([(0, 0.7, 82, 10, 92, 20), (1, 0.8, 88, 10, 97, 20)], [(0.8, 88, 10, 97, 20), (0.7, 82, 10, 92, 20)]),
    "a small one before a large one": (
        [(0, 0.7, 40, 10, 99, 90), (1, 0.8, 80, 10, 150, 90), (1, 0.6, 85, 30, 93, 40), (0, 0.5, 85, 30, 93, 40)],
        [(0.8, 40, 10, 150, 90), (0.6, 85, 30, 93, 40)],
    ),
    "in one tile they are left alone": (
        [(0, 0.7, 10, 10, 30, 30), (0, 0.6, 10, 10, 30, 30)],
        [(0.7, 10, 10, 30, 30), (0.6, 10, 10, 30, 30)],
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_rule_by_hand(case):
    rows, expected = CASES[case]
    table = np.array(rows, np.float32)
    owners, scores, boxes = table[:, 0].astype(int), table[:, 1], table[:, 2:]
    found = merge(boxes, scores, np.zeros(len(rows), int), owners, TILES, (100, 260), 2.0)
    np.testing.assert_allclose(np.column_stack([found[1], found[0]]), expected, rtol=1e-6)
    classes = np.arange(len(rows))  # no two of one class: nothing is merged
    assert len(merge(boxes, scores, classes, owners, TILES, (100, 260), 2.0)[0]) == len(rows)


def test_an_object_over_four_tiles_and_one_over_a_whole_tile():
    image = _draw((300, 300), [("red", 60, 60, 200, 210), ("green", 5, 250, 290, 260)])
    found = TiledDetector(Stub(), 100)(image)
    assert _found(found) == [("green", 5, 250, 290, 260), ("red", 60, 60, 200, 210)]
    assert found.size == (300, 300)
    assert (found.boxes.dtype, found.scores.dtype, found.class_ids.dtype) == (np.float32, np.float32, np.int32)


def test_an_object_longer_than_tiles_that_overlap_by_half():
    """The tile in the middle shows half of what its neighbours show, and still connects them."""
    image = _draw((50, 128), [("red", 10, 5, 110, 40)])
    assert _found(TiledDetector(Stub(), 64, 0.5)(image)) == [("red", 10, 5, 110, 40)]


def test_two_classes_in_one_place():
    image = _draw((100, 180), [("red", 70, 10, 95, 30), ("green", 70, 31, 95, 50)])
    assert _found(TiledDetector(Stub(), 100)(image)) == [("green", 70, 31, 95, 50), ("red", 70, 10, 95, 30)]


def _many(count, size, side, seed):
    """Objects of up to `side` px on a jittered grid, so that none touches another."""
    rng, cell = np.random.default_rng(seed), side + 4
    places = [(row, column) for row in range(size[0] // cell) for column in range(size[1] // cell)]
    boxes = []
    for index in rng.permutation(len(places))[:count]:
        row, column = places[index]
        height, width = rng.integers(side // 2, side + 1, 2)
        x, y = column * cell + 2 + rng.integers(side - width + 1), row * cell + 2 + rng.integers(side - height + 1)
        boxes.append((("red", "green")[rng.integers(2)], int(x), int(y), int(x + width - 1), int(y + height - 1)))
    assert len(boxes) == count
    return boxes


@pytest.mark.parametrize(("tile", "overlap"), [(100, 0.2), (64, 0.3), (128, 0.5)])
def test_every_object_is_found_once(tile, overlap):
    """Those that are smaller than the overlap are whole in one tile."""
    boxes = _many(150, (480, 640), 18, seed=tile)
    assert _found(TiledDetector(Stub(), tile, overlap)(_draw((480, 640), boxes))) == sorted(boxes)


def test_objects_of_any_size_are_found_once():
    """Without the overlap of objects with each other, parts of large ones are joined."""
    for seed in range(5):
        boxes = _many(8, (400, 600), 120, seed)
        assert _found(TiledDetector(Stub(), 64, 0.25)(_draw((400, 600), boxes))) == sorted(boxes)


def test_a_small_image_is_seen_as_a_whole():
    stub, image = Stub(), _draw((60, 90), [("red", 3, 4, 20, 30)])
    found = TiledDetector(stub, 100)(image)
    assert stub.calls == [[(60, 90)]]
    assert _found(found) == _found(stub.batch([image])[0])


def test_tiles_go_through_the_network_in_batches():
    stub, image = Stub(), _draw((100, 400), [])
    found, seconds = TiledDetector(stub, 100).timed([image, image], batch_size=3)
    assert [len(call) for call in stub.calls] == [3, 2, 3, 2]
    assert (len(found), len(found[0]), seconds) == (2, 0, 1.0)


def test_files_are_read_up_to_the_limit(tmp_path, monkeypatch):
    image = _draw((150, 200), [("red", 90, 40, 110, 60)])
    Image.fromarray(image).save(tmp_path / "a.png")
    assert _found(TiledDetector(Stub(), 100)(tmp_path / "a.png")) == [("red", 90, 40, 110, 60)]
    with pytest.raises(UserError, match=r"a\.png: has 200 x 150 pixels; images may have up to 29999$"):
        TiledDetector(Stub(), 100, max_pixels=29_999)(tmp_path / "a.png")
    monkeypatch.setattr("ttfnet_tf.data.images.MAX_PIXELS", 1)  # of files without the option
    assert _found(TiledDetector(Stub(), 100, max_pixels=30_000)(tmp_path / "a.png")) == [("red", 90, 40, 110, 60)]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"tile": 31}, "--tile 31 must be 32 px or more"),
        ({"tile": 64, "overlap": 0.51}, "--overlap 0.51 must lie in 0..0.5"),
        ({"tile": 64, "overlap": -0.1}, "--overlap -0.1 must lie in 0..0.5"),
        ({"tile": 64, "max_pixels": 0}, "max_pixels 0 must be 1 or more"),
    ],
)
def test_settings_out_of_range(settings, line):
    with pytest.raises(UserError) as caught:
        TiledDetector(Stub(), **settings)
    assert str(caught.value) == line
    assert MAX_PIXELS == 50_000_000
