"""Servers that drip their answer, or answer with values that no detector gives: one line each, within the timeout."""

import contextlib
import itertools
import json
import re
import socket
import threading

import numpy as np
import pytest
from served_answers import outputs_for, rest_body

from ttfnet_tf.errors import UserError
from ttfnet_tf.serving.responses import check_outputs
from ttfnet_tf.serving.rest_client import RestClient
from ttfnet_tf.serving.target import Target

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
# What a server sends at once, and what it sends then, every hundredth of a second without end.
DRIPS = {
    "status": (b"", b"H"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "one header": (b"HTTP/1.1 200 OK\r\nX-A: ", b"b"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (HEAD, b"1"),
    "chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n1\r\n"),
    "body without end": (b"HTTP/1.1 200 OK\r\n\r\n", b"1"),
}


@pytest.fixture
def dripping():
    """dripping(first, then) -> port of a server that sends these."""
    ended, servers = threading.Event(), []

    def serve(server, first, then):
        with contextlib.suppress(OSError):
            while not ended.is_set():
                connection, _ = server.accept()
                with connection, contextlib.suppress(OSError):
                    connection.sendall(first)
                    while not ended.wait(0.01):
                        connection.sendall(then)

    def start(first, then):
        server = socket.create_server(("127.0.0.1", 0))
        servers.append(server)
        threading.Thread(target=serve, args=(server, first, then), daemon=True).start()
        return server.getsockname()[1]

    yield start
    ended.set()
    for server in servers:
        server.close()


@pytest.mark.parametrize(("first", "then"), DRIPS.values(), ids=DRIPS)
def test_the_timeout_is_for_the_whole_answer(dripping, first, then):
    client = RestClient(Target("mine", "127.0.0.1", dripping(first, then), "rest", timeout=0.5))
    with pytest.raises(UserError) as caught:
        client.predict([b"a"])
    client.close()
    line = str(caught.value)
    # Python itself refuses a hundred headers.
    assert "no answer within 0.5 s" in line or "got more than 100 headers" in line


def test_a_kept_connection_has_its_whole_time_again(rest_server):
    server = rest_server([(200, rest_body(1))] * 3)
    client = RestClient(Target("mine", "127.0.0.1", server.server_address[1], "rest", timeout=30.0))
    for _ in range(3):
        client.predict([b"a"])
    assert server.connections == 1
    client.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"\0" * 100,
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}",  # and closes
        b"HTTP/1.1 301 Moved\r\nLocation: http://elsewhere\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
    ids=range(7),
)
def test_what_is_no_http_is_one_line(answer):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            for _ in range(2):
                with contextlib.suppress(OSError):  # the test is over, or the client has seen enough
                    connection, _ = server.accept()
                    connection.recv(65536)
                    connection.sendall(answer)
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        client = RestClient(Target("mine", "127.0.0.1", server.getsockname()[1], "rest", timeout=20.0))
        with pytest.raises(UserError) as caught:
            client.predict([b"a"])
        client.close()
        assert "\n" not in str(caught.value)


def test_an_answer_of_many_megabytes_is_not_read(rest_server):
    client = RestClient(Target("mine", "127.0.0.1", rest_server([(200, b" " * (2**25 + 1))]).server_address[1], "rest"))
    with pytest.raises(UserError, match="answers with more than 32 MB"):
        client.predict([b"a"])
    client.close()


BAD_VALUES = (float("nan"), float("inf"), -float("inf"), None, "0.5", "x", True, [0.5], [[0.5]], {}, [], 10**400, 1e300, 2**40, -1, 0.5)
# What a single value of an output may be, of those.
POSSIBLE = {
    "detection_boxes": (-1, 0.5),
    "detection_scores": (0.5,),
    "detection_classes": (-1,),
    "num_detections": (),
}


@pytest.mark.parametrize(("name", "value"), list(itertools.product(POSSIBLE, BAD_VALUES)), ids=str)
def test_every_value_of_an_answer_is_checked(rest_server, name, value):
    outputs = {key: array.tolist() for key, array in outputs_for(2, 1).items()}
    rows = [{key: values[row] for key, values in outputs.items()} for row in range(2)]
    place = rows[1]
    if name == "num_detections":
        place[name] = value
    else:
        inner = place[name][0] if name == "detection_boxes" else place[name]
        inner[0] = value
    body = json.dumps({"predictions": rows}).encode()
    client = RestClient(Target("mine", "127.0.0.1", rest_server([(200, body)]).server_address[1], "rest"))
    if value is True or value in POSSIBLE[name]:  # between numbers, JSON's true is read as 1
        assert client.predict([b"a", b"b"]).outputs[name].dtype == np.float32
        client.close()
        return
    with pytest.raises(UserError) as caught:
        client.predict([b"a", b"b"])
    client.close()
    assert re.search(rf"answers with {name} that cannot be|is not the JSON of TensorFlow Serving|answers 2 images with", str(caught.value))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "change",
    [
        {"detection_boxes": np.zeros((1, 4))},
        {"detection_boxes": np.zeros((1, 4, 4, 1))},
        {"detection_scores": np.float32(0.5)},
        {"detection_scores": np.zeros((1, 3))},
        {"detection_classes": np.array([[b"a"] * 4])},
        {"num_detections": np.array([5.0])},
        {"num_detections": np.array([1.5])},
        {"num_detections": np.zeros((1, 1))},
        {"detection_scores": np.zeros((0, 4))},
    ],
    ids=range(9),
)
def test_wrong_shapes_by_any_protocol(change):
    target = Target("mine", "127.0.0.1", 1, "grpc")
    assert set(check_outputs(target, outputs_for(1), 1)) == set(outputs_for(1))
    with pytest.raises(UserError, match=r"ttfnet export"):
        check_outputs(target, {**outputs_for(1), **change}, 1)
