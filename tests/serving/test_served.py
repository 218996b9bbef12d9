"""The client against a server that loads the model without this package: boxes are those of the run, and bad requests do not stop it."""

import functools
import json
import re
import subprocess
import zlib

import numpy as np
import pytest
import tensorflow as tf
import yaml

from ttfnet_tf import cli
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.detector import Detector
from ttfnet_tf.serving.client import connect
from ttfnet_tf.serving.errors import Refused
from ttfnet_tf.serving.grpc_client import GrpcClient, predict_request
from ttfnet_tf.serving.signature import OUTPUTS
from ttfnet_tf.serving.target import Target, parse_address

# The server is a process that imports TensorFlow. `make test` has its answers from a session loader in export/test_saved_model.py, and the
# client against prepared answers in the other files of this folder.
pytestmark = pytest.mark.slow

LARGE = 12_000_000  # export.max_pixels of version 2
PROTOCOLS = ("grpc", "rest")
PATIENCE = 200  # seconds: a busy machine is no failure


@pytest.fixture(scope="module")
def client_of(server):
    """client_of("grpc", version=1) -> client; closed at the end."""
    clients = []

    def make(protocol, name="tiny", **options):
        host, port = parse_address(getattr(server, protocol), protocol)
        clients.append(connect(Target(name, host, port, protocol, timeout=PATIENCE, **options)))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture(scope="module")
def contents(images):
    """Eight files, none of them CMYK."""
    return [path.read_bytes() for path in sorted(images.iterdir()) if "inks" not in path.name]


@pytest.fixture(scope="module")
def one_detector():
    """The run is loaded and compiled once, though several commands ask for it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Detector, "load", functools.cache(Detector.load))
        yield


@pytest.fixture
def command(server, images, one_detector):
    def make(protocol, *arguments):
        where = ["--protocol", protocol, "--address", getattr(server, protocol), "--timeout", str(PATIENCE)]
        return ["serve-client", "tiny", str(images), *where, *map(str, arguments)]

    return make


def test_the_server_starts_by_replaying_the_warm_up_file(server):
    assert server.replayed == 2 * 3  # of each version one request for each signature


@pytest.mark.parametrize(("protocol", "arguments"), [("grpc", ["--version", "1"]), ("rest", ["--label", "stable"])])
def test_served_boxes_are_those_of_the_run(command, trained, tmp_path, capsys, protocol, arguments):
    options = ["--batch-size", 12, "--score-threshold", 0.2, "--verify", trained, "--out", tmp_path]
    assert cli.main(command(protocol, *arguments, *options)) == 0, capsys.readouterr()
    out = capsys.readouterr().out
    found = re.search(r"verified against .*: (\d+) images, (\d+) detections, the same order and classes; largest difference", out)
    assert int(found[1]) == 12
    assert int(found[2]) > 20
    record = json.loads((tmp_path / "detections.json").read_text())
    sizes = {image["file"].rpartition("/")[2]: (image["height"], image["width"]) for image in record["images"]}
    assert sizes["turned.jpg"] == (120, 80)
    assert sizes["inks 0.jpg"] == (80, 110)
    # So that the comparison covers CMYK.
    assert any(image["detections"] for image in record["images"] if "inks" in image["file"])
    assert {one["class_name"] for image in record["images"] for one in image["detections"]} <= {"cat", "dog", "bird"}


def test_another_model_is_not_verified(command, trained, capsys):
    assert cli.main(command("grpc", "--label", "canary", "--score-threshold", 0.2, "--verify", trained)) == 1
    captured = capsys.readouterr()
    assert "tiny label canary at" in captured.out
    assert "version 2)" in captured.out
    assert re.search(r"not verified against .*: \d+ images differ", captured.out)
    assert "boxes differ by up to 0." in captured.err


def test_load_is_measured(command, capsys):
    assert cli.main(command("grpc", "--concurrency", 4, "--requests", 24, "--batch-size", 3)) == 0
    out = capsys.readouterr().out
    assert re.search(r"first request: \d+\.\d ms", out)
    assert re.search(r"24 requests, 4 at a time, in \d+\.\d+ s: \d+\.\d requests/s, \d+\.\d images/s", out)
    assert re.search(r"latency in ms: p50 \d+\.\d, p90 \d+\.\d, p99 \d+\.\d, longest", out)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_row_does_not_depend_on_its_batch(client_of, contents, protocol):
    client = client_of(protocol, version=1)
    together = client.predict(contents).outputs
    assert together["num_detections"].sum() > 20
    for size in (1, 3):
        rows = [client.predict(contents[start : start + size]).outputs for start in range(0, 8, size)]
        for name in OUTPUTS:
            np.testing.assert_array_equal(np.concatenate([row[name] for row in rows]), together[name], err_msg=f"{name} in {size}")


def test_both_protocols_give_the_same(client_of, contents):
    by_grpc, by_rest = (client_of(protocol, version=1).predict(contents) for protocol in PROTOCOLS)
    for name in OUTPUTS:
        np.testing.assert_array_equal(by_grpc.outputs[name], by_rest.outputs[name])
    assert (by_grpc.version, by_rest.version) == (1, None)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_latest_version_is_the_default(client_of, contents, protocol):
    named, latest = (client_of(protocol, **options).predict(contents[:1]).outputs for options in ({"version": 2}, {}))
    np.testing.assert_array_equal(named["detection_boxes"], latest["detection_boxes"])
    assert (client_of(protocol, version=1).predict(contents[:1]).outputs["detection_boxes"] != named["detection_boxes"]).any()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    ("name", "options"), [("other", {}), ("tiny", {"version": 3}), ("tiny", {"label": "nightly"})], ids=["model", "version", "label"]
)
def test_a_model_version_or_label_that_the_server_does_not_have(client_of, contents, protocol, name, options):
    with pytest.raises(UserError, match="the server has no such model, version or label") as error:
        client_of(protocol, name, **options).predict(contents[:1])
    assert not isinstance(error.value, Refused)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_model_without_the_signature(client_of, contents, protocol, monkeypatch):
    for module in ("rest_client", "grpc_client", "errors"):
        monkeypatch.setattr(f"ttfnet_tf.serving.{module}.SIGNATURE", "images")
    with pytest.raises(UserError, match=r'lacks the signature images; not written by ttfnet export .*"images" not found'):
        client_of(protocol).predict(contents[:1])


def _white(width, height):
    """A valid PNG of one bit a pixel: a small file that takes three bytes a pixel when decoded."""

    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x01\0\0\0\0"
    rows = zlib.compress((b"\0" + b"\xff" * (width // 8)) * height, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


HUGE = (12_000, 9_000)  # 324 MB


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_broken_images_are_refused_by_name_and_the_others_answered(command, server, contents, tmp_path, capsys, protocol):
    broken = {"text.jpg": b"hello", "empty.png": b"", "cut.png": contents[2][:-30], "huge.png": _white(*HUGE)}
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
    assert cli.main(command(protocol, tmp_path, "--batch-size", 16, "--version", "1")) == 0
    captured = capsys.readouterr()
    assert ": 12 images, " in captured.out
    assert captured.out.count("4 failed") == 1
    lines = captured.err.splitlines()
    assert len(lines) == 4
    for name, reason in (
        ("text.jpg", "[is neither a JPEG nor a PNG file]"),
        ("empty.png", "[is neither a JPEG nor a PNG file]"),
        ("cut.png", "[is cut short]"),
        ("huge.png", "[has more than 90000 pixels; its height and width are] [9000] [12000]"),
    ):
        [line] = [line for line in lines if f"{tmp_path / name}: refused by the server" in line]
        assert reason in line
    assert server.process.poll() is None


def test_only_broken_images_are_a_mistake(server, tmp_path, capsys):
    (tmp_path / "text.jpg").write_bytes(b"hello")
    assert cli.main(["serve-client", "tiny", str(tmp_path), "--address", server.grpc]) == 2
    assert capsys.readouterr().err.endswith("none of the images was answered\n")


@pytest.mark.parametrize(
    "tensor",
    [
        tf.make_tensor_proto([[b"a"]]),
        tf.make_tensor_proto(b"a"),
        tf.make_tensor_proto(np.zeros([1, 64, 96, 3], np.uint8)),
        tf.make_tensor_proto([1.0]),
    ],
    ids=["rank 2", "rank 0", "pixels", "float"],
)
def test_other_tensors_are_invalid_arguments(client_of, contents, tensor, monkeypatch):
    client = client_of("grpc", version=1)
    expected = client.predict(contents[:1]).outputs

    def other(target, _):
        request = predict_request(target, [])
        request.inputs["image_bytes"].CopyFrom(tensor)
        return request

    with monkeypatch.context() as patch:
        patch.setattr("ttfnet_tf.serving.grpc_client.predict_request", other)
        with pytest.raises(Refused):
            client.predict([b""])
    np.testing.assert_array_equal(client.predict(contents[:1]).outputs["detection_boxes"], expected["detection_boxes"])


def test_a_request_without_images(client_of):
    assert isinstance(client_of("grpc", version=1), GrpcClient)
    with pytest.raises(UserError):
        client_of("rest", version=1).predict([])


def test_images_that_are_too_large_cost_no_memory(client_of, contents, server):
    client = client_of("grpc", version=1)
    client.predict(contents)
    before, huge = server.memory("VmRSS"), _white(*HUGE)
    server.forget_peak()
    for _ in range(3):
        with pytest.raises(Refused, match=r"has more than 90000 pixels; its height and width are\] \[9000\] \[12000\]"):
            client.predict([huge] * 8)
    assert server.memory("VmHWM") - before < 60e6  # one of them decoded takes 324 MB


def test_images_of_a_request_are_not_all_decoded_at_once(client_of, contents, server):
    client = client_of("grpc", version=2)
    client.predict(contents)
    before, large = server.memory("VmRSS"), _white(4_000, 3_000)
    server.forget_peak()
    client.predict([large] * 12)
    assert server.memory("VmHWM") - before < 4 * 36e6 + 60e6  # all twelve take 432 MB; two cores reach two
    with pytest.raises(Refused, match=rf"has more than {LARGE} pixels; its height and width are\] \[9000\] \[12000\]"):
        client.predict([_white(*HUGE)])


def test_the_health_check_of_the_compose_file(server, root):
    check = yaml.safe_load((root / "deploy/docker-compose.yml").read_text())["services"]["serving"]["healthcheck"]["test"]
    for name, code in (("tiny", 0), ("other", 1)):
        script = check[3].replace("127.0.0.1/8501", server.rest.replace(":", "/")).replace("/mine ", f"/{name} ")
        assert subprocess.run([*check[1:3], script], check=False, capture_output=True).returncode == code
