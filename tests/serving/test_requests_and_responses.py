"""Requests, and detections or errors from responses, without a server."""

import json
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from served_answers import outputs_for
from tensorflow_serving.apis import prediction_log_pb2

from ttfnet_tf.errors import UserError
from ttfnet_tf.export import model_card
from ttfnet_tf.export.warmup import prediction_log
from ttfnet_tf.serving.errors import Refused, Unanswered, request_error
from ttfnet_tf.serving.grpc_client import predict_request
from ttfnet_tf.serving.responses import check_outputs, detections_of, image_size, read_class_names
from ttfnet_tf.serving.rest_client import outputs_of, request_body, request_path
from ttfnet_tf.serving.signature import OUTPUTS
from ttfnet_tf.serving.target import Target, parse_address

TARGET = Target("mine", "127.0.0.1", 8500, "grpc")


def test_outputs_are_those_of_the_export():
    assert tuple(model_card.OUTPUTS) == OUTPUTS


def test_rest_request():
    assert json.loads(request_body([b"\xff\xd8", b""])) == {"signature_name": "image_bytes", "instances": [{"b64": "/9g="}, {"b64": ""}]}
    assert request_path(TARGET) == "/v1/models/mine:predict"
    assert request_path(Target("mine", "h", 1, "rest", version=7)) == "/v1/models/mine/versions/7:predict"
    assert request_path(Target("a b", "h", 1, "rest", label="can/ary")) == "/v1/models/a%20b/labels/can%2Fary:predict"


def test_rest_answer():
    rows = [{"num_detections": 1.0, "detection_scores": [0.5, 0]}, {"num_detections": 2, "detection_scores": [0.25, 1e-3]}]
    outputs = outputs_of(json.dumps({"predictions": rows}).encode())
    assert outputs["num_detections"].tolist() == [1, 2]
    np.testing.assert_array_equal(outputs["detection_scores"], np.float32([[0.5, 0], [0.25, 1e-3]]))
    assert outputs["detection_scores"].dtype == np.float32


def test_grpc_request_is_that_of_the_warm_up_file():
    record = prediction_log("mine", "image_bytes", {"image_bytes": np.array([b"\xff\xd8", b""], object)})
    expected = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
    request = predict_request(TARGET, [b"\xff\xd8", b""])
    assert request == expected
    assert list(request.inputs["image_bytes"].string_val) == [b"\xff\xd8", b""]
    assert predict_request(Target("mine", "h", 1, "grpc", version=7), [b""]).model_spec.version.value == 7
    assert predict_request(Target("mine", "h", 1, "grpc", label="canary"), [b""]).model_spec.version_label == "canary"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1", ("127.0.0.1", 8500)),
        ("serving.example:80", ("serving.example", 80)),
        ("[::1]:9000", ("::1", 9000)),
        ("[::1]", ("::1", 8500)),
    ],
)
def test_addresses(text, expected):
    assert parse_address(text, "grpc") == expected
    host, port = expected
    assert Target("m", host, port, "grpc").address == (text if text.endswith(str(port)) else f"{text}:8500")


@pytest.mark.parametrize("text", ["", "host:port", "host:70000", "http://host:1", "host:1/path", "user@host", ":8500"])
def test_wrong_addresses(text):
    with pytest.raises(UserError, match=r"--address .*: expected HOST or HOST:PORT, e\.g\. 127\.0\.0\.1:8501"):
        parse_address(text, "rest")


def test_detections_are_in_pixels_of_the_image():
    outputs = outputs_for(1, 3)
    outputs["detection_scores"][1] = [0.9, 0.5, 0.25, 0]
    found = detections_of(outputs, 1, size=(200, 100), class_names={3: "cat"}, score_threshold=0.25)
    np.testing.assert_allclose(found.boxes, [[20, 20, 75, 100]] * 2)  # x1, y1, x2, y2
    assert found.scores.tolist() == [np.float32(0.9), 0.5]
    assert (found.class_ids.tolist(), found.class_names, found.size) == ([3, 3], ("cat", "cat"), (200, 100))
    assert detections_of(outputs, 0, size=(200, 100), class_names={}, score_threshold=0.0).class_names == ("3",)


def test_rows_beyond_the_count_are_ignored():
    outputs = outputs_for(1)
    outputs["detection_scores"][0, 2] = 0.8
    assert len(detections_of(outputs, 0, size=(2, 2), class_names={}, score_threshold=0.0)) == 1


def test_the_size_is_that_after_the_orientation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("L", (30, 20))
    image.save(tmp_path / "turned.jpg", exif=exif)
    image.save(tmp_path / "turned.png", exif=exif)
    image.save(tmp_path / "plain.png")
    # OpenCV and the served graph read EXIF only; Pillow would believe XMP too.
    image.save(tmp_path / "xmp.jpg", xmp=b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="6"/></x:xmpmeta>')
    sizes = {path.name: image_size(path) for path in tmp_path.iterdir()}
    assert sizes == {"turned.jpg": (30, 20), "turned.png": (30, 20), "plain.png": (20, 30), "xmp.jpg": (20, 30)}


def test_the_size_of_a_large_image_is_read_without_decoding_it(tmp_path):
    content = cv2.imencode(".png", np.zeros([1, 1, 3], np.uint8))[1].tobytes()
    Path(tmp_path, "large.png").write_bytes(content[:16] + (12_000).to_bytes(4, "big") + (9_000).to_bytes(4, "big") + content[24:])
    with pytest.raises(UserError, match="its image size cannot be read"):
        image_size(tmp_path / "large.png")  # its checksum is wrong now
    Image.new("1", (12_000, 9_000)).save(tmp_path / "large.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert image_size(tmp_path / "large.png") == (9_000, 12_000)


def test_names_of_classes(tmp_path):
    (tmp_path / "labels.json").write_text('{"class_names": ["cat", "dog"], "category_ids": [3, 8]}')
    assert read_class_names(tmp_path / "labels.json") == {3: "cat", 8: "dog"}
    (tmp_path / "other.json").write_text("[]")
    for name in ("other.json", "missing.json"):
        with pytest.raises(UserError, match=f"{name}: is missing or is no labels.json"):
            read_class_names(tmp_path / name)


@pytest.mark.parametrize(
    ("status", "message", "kind", "expected"),
    [
        (
            "UNAVAILABLE",
            "Connection refused",
            UserError,
            "127.0.0.1:8500: no grpc server answers there (Connection refused); is it running",
        ),
        ("DEADLINE_EXCEEDED", "", Unanswered, "mine at 127.0.0.1:8500: no answer within 60 s"),
        ("OVERLOADED", "queue full", Unanswered, "the server is overloaded (queue full)"),
        ("NOT_FOUND", "Servable not found", UserError, "the server has no such model, version or label (Servable not found)"),
        ("INVALID_ARGUMENT", "Unrecognized servable version label: x", UserError, "the server has no such model, version or label"),
        (
            "FAILED_PRECONDITION",
            'Serving signature key "image_bytes" not found.',
            UserError,
            "lacks the signature image_bytes; not written by",
        ),
        ("INVALID_ARGUMENT", 'Serving signature name: "x" not found', UserError, "lacks the signature image_bytes; not written by"),
        ("INVALID_ARGUMENT", "row] [1]\n\t [[{{node a}}]]", Refused, "row] [1]"),
        ("INTERNAL", "what", UserError, "mine at 127.0.0.1:8500: INTERNAL (what)"),
    ],
)
def test_errors_by_status(status, message, kind, expected):
    error = request_error(TARGET, status, message)
    assert type(error) is kind
    assert expected in str(error)
    assert "\n" not in str(error)
    assert "node" not in str(error)


def test_a_response_of_another_model():
    for outputs, images in ((outputs_for(1), 2), ({"y": np.zeros([1])}, 1), ({**outputs_for(1), "num_detections": np.float32(1)}, 1)):
        with pytest.raises(UserError, match="the model was not written by ttfnet export"):
            check_outputs(TARGET, outputs, images)
    assert check_outputs(TARGET, outputs_for(1, 2), 2)
