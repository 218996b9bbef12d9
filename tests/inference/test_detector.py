"""Detections of images whose objects are known by hand, from every kind of source."""

import functools
import json

import cv2
import numpy as np
import pytest
from PIL import Image

import ttfnet_tf
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detections import Detection, Detections
from ttfnet_tf.inference.detector import Detector
from ttfnet_tf.methods.ttfnet import decode_distances


@pytest.fixture(scope="module")
def detector(square_finder):
    decoded = functools.partial(decode_distances, image_size=(64, 64))
    return Detector(square_finder, ["cat", "dog"], [3, 8], decoded, image_size=(64, 64), score_threshold=0.5)


def test_an_image_of_the_input_size(detector, squares):
    found = detector(squares((64, 64), {(4, 5): "green"}))
    assert found.size == (64, 64)
    np.testing.assert_allclose(found.boxes, [[12, 8, 28, 24]])  # cell (4, 5) is the point x = 20, y = 16; 8 px to every side
    np.testing.assert_allclose(found.scores, [1 / (1 + np.exp(-10.0))], rtol=1e-6)
    assert found.class_ids.tolist() == [8]
    assert found.class_names == ("dog",)
    assert (found.boxes.dtype, found.scores.dtype, found.class_ids.dtype) == (np.float32, np.float32, np.int32)


def test_boxes_are_in_pixels_of_the_image_axis_by_axis(detector, squares):
    found = detector(squares((64, 64), {(4, 5): "red"}, scale=(3, 5)))
    assert found.size == (192, 320)
    np.testing.assert_allclose(found.boxes, [[12 * 5, 8 * 3, 28 * 5, 24 * 3]], rtol=1e-6)


def test_boxes_are_cut_at_the_border(detector, squares):
    np.testing.assert_allclose(detector(squares((64, 64), {(0, 15): "red"})).boxes, [[52, 0, 63, 8]])


def test_no_detections(detector, squares):
    found = detector(squares((64, 64), {}))
    assert len(found) == 0
    assert (found.boxes.shape, list(found), found.to_coco(1), found.to_json()) == ((0, 4), [], [], [])


def test_files_bytes_and_arrays_give_the_same(detector, squares, tmp_path):
    image = squares((64, 64), {(4, 5): "red", (9, 9): "green"})
    file = tmp_path / "image.png"
    cv2.imwrite(str(file), image[..., ::-1])  # OpenCV writes BGR
    sources = (image, file, str(file), file.read_bytes(), Image.open(file), Image.fromarray(image))
    results = [detector(source).to_json() for source in sources]
    assert len(results[0]) == 2
    assert all(result == results[0] for result in results)


def test_a_list_gives_the_same_as_single_images_for_any_batch_size(detector, squares):
    images = [squares((64, 64), {(row, 5): "red"}, (1 + row, 1)) for row in range(5)]
    single = [detector(image).to_json() for image in images]
    assert [found.to_json() for found in detector.batch(images, batch_size=2)] == single
    assert detector.batch([]) == []


def test_a_class_may_have_a_threshold_of_its_own(square_finder, squares):
    decoded = functools.partial(decode_distances, image_size=(64, 64))
    settings = {"image_size": (64, 64), "score_threshold": 0.99996}  # the score of a full cell is 0.9999546
    found = Detector(square_finder, ["cat", "dog"], [3, 8], decoded, **settings, class_thresholds={"dog": 0.9})(
        squares((64, 64), {(4, 5): "red", (9, 9): "green"})
    )
    assert found.class_names == ("dog",)
    with pytest.raises(UserError, match="class threshold of 'Dog': there is no such class; did you mean 'dog'"):
        Detector(square_finder, ["cat", "dog"], [3, 8], decoded, **settings, class_thresholds={"Dog": 0.9})


def test_timed_gives_the_same_as_batch_and_the_time_of_the_network(detector, squares):
    images = [squares((64, 64), {(row, 5): "red"}) for row in range(2)]
    found, seconds = detector.timed(images, batch_size=2)
    assert [one.to_json() for one in found] == [one.to_json() for one in detector.batch(images, batch_size=2)]
    assert seconds > 0
    with pytest.raises(ValueError, match="up to batch_size=1 images, received 2"):
        detector.timed(images, batch_size=1)


def test_input_arrays_are_not_changed(detector, squares):
    image = squares((64, 64), {(4, 5): "red"})
    before = image.copy()
    detector(image)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8, 3), np.float32), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((0, 8, 3), np.uint8)],
)
def test_other_arrays_are_refused(detector, image):
    with pytest.raises(UserError, match=r"must be a uint8 array \[height, width, 3\] in RGB, received"):
        detector(image)


def test_a_missing_file_is_named(detector, tmp_path):
    with pytest.raises(UserError, match=r"gone\.jpg"):
        detector(tmp_path / "gone.jpg")


def test_a_missing_run_is_named(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        Detector.load(tmp_path / "nowhere")


FOUND = Detections(
    boxes=np.array([[1, 2, 10, 20], [0, 0, 0, 0]], np.float32),
    scores=np.array([0.75, 0.5], np.float32),
    class_ids=np.array([8, 3], np.int32),
    class_names=("dog", "cat"),
    size=(30, 40),
)


def test_detections_are_a_sequence():
    assert len(FOUND) == 2
    assert list(FOUND) == [Detection((1.0, 2.0, 10.0, 20.0), 0.75, 8, "dog"), Detection((0.0, 0.0, 0.0, 0.0), 0.5, 3, "cat")]
    with pytest.raises(IndexError):
        FOUND[2]


def test_above_is_strict():
    assert [one.class_name for one in FOUND.above(0.5)] == ["dog"]


def test_coco_and_json_forms():
    assert FOUND.to_coco(5)[0] == {"image_id": 5, "category_id": 8, "bbox": [1.0, 2.0, 10.0, 19.0], "score": 0.75}
    assert json.loads(json.dumps(FOUND.to_json()))[1] == {"box": [0.0, 0.0, 0.0, 0.0], "score": 0.5, "class_id": 3, "class_name": "cat"}


def test_the_package_gives_the_detector_and_its_version():
    assert ttfnet_tf.Detector is Detector
    assert ttfnet_tf.__version__[0].isdigit()
    with pytest.raises(AttributeError, match="no attribute 'Detektor'"):
        _ = ttfnet_tf.Detektor


@pytest.mark.parametrize("source", [None, 3, [[1, 2]], 1.5])
def test_other_sources_are_refused_in_one_line(detector, source):
    with pytest.raises(UserError, match=r"^image must be a file name, the bytes of an image file, a uint8 array .*, received \w+$"):
        detector(source)
