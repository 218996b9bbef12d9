"""Servers that are missing, silent, close connections or answer something else."""

import re
import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from served_answers import rest_body

from ttfnet_tf.errors import UserError
from ttfnet_tf.serving.client import connect
from ttfnet_tf.serving.grpc_client import GrpcClient
from ttfnet_tf.serving.rest_client import RestClient
from ttfnet_tf.serving.target import Target


def _target(protocol, port, **more):
    return Target("mine", "127.0.0.1", port, protocol, **{"timeout": 200.0, **more})


@pytest.fixture
def silent_port():
    """Port of a server that listens and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_no_server(protocol, closed_port):
    with pytest.raises(UserError, match=rf"127\.0\.0\.1:{closed_port}: no {protocol} server answers there .*is it running"):
        connect(_target(protocol, closed_port)).predict([b"a"])


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_an_answer_that_does_not_come_in_time(protocol, silent_port):
    client = connect(_target(protocol, silent_port, timeout=0.3))
    with pytest.raises(UserError, match=r"no answer within 0\.3 s"):
        client.predict([b"a"])
    client.close()


def test_grpc_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_serving.apis", None)
    with pytest.raises(UserError, match=r"not installed: pip install 'ttfnet-tf\[serving\]', or use --protocol rest"):
        GrpcClient(_target("grpc", 8500))


@pytest.mark.parametrize(("keep_alive", "connections"), [(True, 1), (False, 2)])
def test_a_connection_is_kept_and_opened_again_where_the_server_closed_it(rest_server, keep_alive, connections):
    server = rest_server([(200, rest_body(1)), (200, rest_body(2))], keep_alive)
    client = RestClient(_target("rest", server.server_address[1]))
    assert client.predict([b"a"]).outputs["num_detections"].tolist() == [1]
    assert client.predict([b"b"]).outputs["num_detections"].tolist() == [2]
    client.close()
    assert (server.connections, len(server.requests)) == (connections, 2)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b'{ "error": "it\\\'s no image" }', "it"),  # escaped as C does: no JSON
        (404, b'{"error": "Servable not found for request: Latest(mine)"}', "no such model, version or label (Servable not found"),
        (503, b"{}", "the server is overloaded"),
        (502, b"<html>", "HTTP 502 (<html>)"),
        (200, b"<html>", "the answer is not the JSON of TensorFlow Serving"),
        (200, b'{"predictions": [1.0]}', "the answer is not the JSON of TensorFlow Serving"),
        (200, b'{"predictions": []}', "the answer is not the JSON of TensorFlow Serving"),
        (200, b'{"predictions": [{"y": 1}]}', "answers 1 images with y [1]; the model was not"),
    ],
)
def test_rest_answers_that_are_errors_or_not_of_a_detector(rest_server, status, body, expected):
    client = RestClient(_target("rest", rest_server([(status, body)]).server_address[1]))
    with pytest.raises(UserError, match=re.escape(expected)):
        client.predict([b"a"])
    client.close()


def test_a_grpc_port_is_no_rest_port():
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:

        def answer():
            connection, _ = server.accept()
            connection.recv(100)
            connection.sendall(b"\0\0\x06\x04\0\0\0\0\0\0\x05\0\0@\0")  # the settings with which HTTP/2 begins
            connection.close()

        thread.submit(answer)
        client = connect(_target("rest", server.getsockname()[1]))
        with pytest.raises(UserError, match=r"no rest server answers there .*is that its port"):
            client.predict([b"a"])
