"""SAHI with our detector: it gives what `Detector.tiled` gives where both look at the same tiles; skipped where sahi is not installed."""

import sys

import cv2
import numpy as np
import pytest
from exported_run import exported, narrow, trained  # noqa: F401 fixtures
from large_image import is_matched

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detections import Detections
from ttfnet_tf.inference.detector import Detector
from ttfnet_tf.inference.tiling import TiledDetector

TILE = 96


class Stub:
    """Finds drawn rectangles, with a lower score where less of one is seen."""

    class_names, category_ids, image_size, score_threshold = ("object",), (7,), (TILE, TILE), 0.1

    def __init__(self):
        self.batches = []

    def batch(self, images, *, batch_size):
        """As `Detector.batch`."""
        self.batches.append((len(images), batch_size))
        return [self._find(image) for image in images]

    def timed(self, images, *, batch_size):
        """As `Detector.timed`."""
        return self.batch(images, batch_size=batch_size), 0.0

    def _find(self, image):
        _, _, stats, _ = cv2.connectedComponentsWithStats((image[..., 0] > 150).astype(np.uint8))
        left, top, width, height, area = stats[1:].T.astype(np.float32)
        scores = 0.2 + area / 1000
        order = np.argsort(-scores)
        boxes = np.stack([left, top, left + width - 1, top + height - 1], axis=1)[order]
        return Detections(boxes, scores[order], np.full(len(order), 7, np.int32), ("object",) * len(order), image.shape[:2])


@pytest.fixture(scope="module")
def sahi():
    """What is used of the package."""
    return pytest.importorskip("sahi.predict", reason="needs sahi", exc_type=ImportError)


@pytest.fixture(scope="module")
def model_of(sahi):
    """Our class."""
    from ttfnet_tf.integrations.sahi import TTFNetDetectionModel

    return TTFNetDetectionModel


def _drawn():
    """Image of 168 x 240, a grid of 2 x 3 tiles of 96 with an overlap of 24, and its objects of 20 px: [N, 4] xyxy."""
    image = np.full((168, 240, 3), 60, np.uint8)
    boxes = np.array([(x, y, x + 19, y + 15) for y in (2, 40, 66, 90, 120, 150) for x in (0, 30, 71, 105, 150, 220)], np.float32)
    boxes = boxes[[k for k in range(len(boxes)) if k % 5]]
    for x1, y1, x2, y2 in boxes.astype(int):
        image[y1 : y2 + 1, x1 : x2 + 1] = (230, 200, 90)
    return image, boxes


def _boxes(result):
    """[N, 4] with inclusive corners, in the order of rows and columns."""
    boxes = np.array([one.bbox.to_xyxy() for one in result.object_prediction_list]) - [0, 0, 1, 1]
    return boxes[np.lexsort(boxes.T[:2])]


def _in_order(found):
    return found.boxes[np.lexsort(found.boxes.T[:2])]


def _sliced(sahi, image, model, overlap, **others):
    sides = {"slice_height": TILE, "slice_width": TILE, "overlap_height_ratio": overlap, "overlap_width_ratio": overlap}
    return sahi.get_sliced_prediction(image, model, **sides, verbose=0, **others)


def test_drawn_objects_are_those_of_our_tiles(sahi, model_of):
    image, drawn = _drawn()
    stub = Stub()
    model = model_of(model=stub, confidence_threshold=0.15)
    result = _sliced(sahi, image, model, 0.25, perform_standard_pred=False)
    ours = TiledDetector(Stub(), TILE, 0.25)(image)
    assert is_matched(drawn, ours.boxes).all()
    assert is_matched(drawn, _boxes(result)).all()
    np.testing.assert_array_equal(_boxes(result), _in_order(ours))
    assert {(one.category.id, one.category.name) for one in result.object_prediction_list} == {(7, "object")}
    assert sum(images for images, _ in stub.batches) == 6


def test_boxes_end_where_the_next_pixel_begins(sahi, model_of):
    """COCO's width of an object of 20 x 16 pixels, and a threshold for this call."""
    image = np.full((TILE, TILE, 3), 60, np.uint8)
    image[10:26, 76:96] = 230  # ends at the image's right side
    model = model_of(model=Stub(), category_mapping={"7": "car"}, category_remapping={"7": 70})
    one = sahi.get_prediction(image, model).object_prediction_list[0]
    assert one.bbox.to_xywh() == [76, 10, 20, 16]
    assert (one.category.id, one.category.name, one.score.value) == (70, "car", pytest.approx(0.52))
    model.confidence_threshold = 0.6
    assert sahi.get_prediction(image, model).object_prediction_list == []


def test_a_batch_that_is_not_full_is_filled(model_of):
    stub = Stub()
    model, tile = model_of(model=stub), np.zeros((TILE, TILE, 3), np.uint8)
    for count in (4, 2, 1):
        model.perform_batch_inference([tile] * count)
        model.convert_original_predictions(shift_amount=[[0, 0]] * count, full_shape=[[TILE, TILE]] * count)
        assert model.object_prediction_list_per_image == [[]] * count
    assert stub.batches == [(4, 4), (2, 4), (1, 1)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["trained", "exported"])
def test_a_run_and_an_exported_model(sahi, model_of, kind, request):
    """Without overlap nothing is merged, and everything is equal."""
    path = request.getfixturevalue(kind)
    image = np.random.default_rng(3).integers(0, 256, (2 * TILE, 2 * TILE, 3), np.uint8)
    model = model_of(model_path=str(path), confidence_threshold=0.25)
    never = {"postprocess_type": "NMS", "postprocess_match_metric": "IOU", "postprocess_match_threshold": 1.1}
    result = _sliced(sahi, image, model, 0.0, perform_standard_pred=False, **never)
    ours = Detector.load(path, score_threshold=0.25).tiled(TILE, 0.0).batch([image], batch_size=1)[0]
    assert len(ours) > 5
    np.testing.assert_allclose(_boxes(result), _in_order(ours), atol=1e-3)
    assert sorted(one.category.name for one in result.object_prediction_list) == sorted(ours.class_names)
    np.testing.assert_allclose(sorted(one.score.value for one in result.object_prediction_list), np.sort(ours.scores), atol=1e-5)


def test_mistakes_are_one_line(model_of, exported, tmp_path):  # noqa: F811
    cases = [
        ({}, "model_path must name a run, a checkpoint or an exported model"),
        ({"model": Stub(), "device": "cuda:0"}, "device='cuda:0': TensorFlow chooses the device; do not name one"),
        ({"model": Stub(), "confidence_threshold": 0.05}, "confidence_threshold=0.05: the model gives scores above 0.1 only"),
        ({"model_path": str(exported), "confidence_threshold": 0.05}, "holds detections with scores above 0.2 only"),
        ({"model_path": str(exported), "image_size": 128}, "was exported with data.image_size=[64, 96]"),
        ({"model_path": str(tmp_path / "no")}, "no"),
    ]
    for arguments, line in cases:
        with pytest.raises(UserError) as caught:
            model_of(**arguments)
        assert line in str(caught.value)
        assert "\n" not in str(caught.value)


def test_one_line_says_how_to_install_it(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sahi"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "sahi", None)
    monkeypatch.delitem(sys.modules, "ttfnet_tf.integrations.sahi", raising=False)
    with pytest.raises(ImportError, match=r"needs sahi, which is not installed; pip install 'ttfnet-tf\[sahi\]'$"):
        import ttfnet_tf.integrations.sahi  # noqa: F401
