"""A client for TensorFlow Serving's REST interface; needs the standard library only.

Row format: `instances` in, `predictions` out, an image as {"b64": ...}.
Reference: tensorflow/serving 2.15, `g3doc/api_rest.md`; statuses of `model_servers/http_server.cc`.
"""

from __future__ import annotations

import base64
import http.client
import threading
from collections.abc import Sequence
from urllib.parse import quote

import numpy as np

from ttfnet_tf.deadline import DeadlineConnection
from ttfnet_tf.errors import UserError
from ttfnet_tf.json_text import json_text, parse_json
from ttfnet_tf.serving.errors import OVERLOADED, request_error
from ttfnet_tf.serving.responses import check_outputs
from ttfnet_tf.serving.signature import SIGNATURE, Reply
from ttfnet_tf.serving.target import Target

_LARGEST = 2**25  # bytes of an answer; one image has about ten thousand
_STATUS = {
    400: "INVALID_ARGUMENT",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: OVERLOADED,
    504: "DEADLINE_EXCEEDED",
}


def request_path(target: Target) -> str:
    """`/v1/models/<name>[/versions/<number>|/labels/<label>]:predict`."""
    path = f"/v1/models/{quote(target.model, safe='')}"
    if target.version is not None:
        path += f"/versions/{target.version}"
    elif target.label is not None:
        path += f"/labels/{quote(target.label, safe='')}"
    return f"{path}:predict"


def request_body(contents: Sequence[bytes]) -> bytes:
    """The JSON of a request for image files, each given as its bytes."""
    instances = [{"b64": base64.b64encode(content).decode("ascii")} for content in contents]
    return json_text({"signature_name": SIGNATURE, "instances": instances}).encode("ascii")


def outputs_of(body: bytes) -> dict[str, np.ndarray]:
    """Name -> array with a row for each image, from the JSON of an answer; `responses.check_outputs` says whether they hold numbers.

    Raises:
        ValueError: it is no answer in row format with several outputs.
    """
    rows = parse_json(body)["predictions"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("no list of rows")
    outputs = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    with np.errstate(over="ignore"):  # becomes infinite
        return {name: value.astype(np.float32) if value.dtype.kind in "iuf" else value for name, value in outputs.items()}


class RestClient:
    """Sends requests over HTTP; each thread keeps its own connection."""

    def __init__(self, target: Target):
        self.target = target
        self._path = request_path(target)
        self._thread = threading.local()
        self._open: list[DeadlineConnection] = []

    def predict(self, contents: list[bytes]) -> Reply:
        """See `client.Client.predict`."""
        status, body = self._post(request_body(contents))
        if status != 200:
            raise request_error(self.target, _STATUS.get(status, f"HTTP {status}"), _error_of(body))
        try:
            outputs = outputs_of(body)
        except (ValueError, KeyError, TypeError, IndexError):
            raise UserError(f"{self.target}: the answer is not the JSON of TensorFlow Serving ({body[:60]!r})") from None
        return Reply(check_outputs(self.target, outputs, len(contents)), None)

    def close(self) -> None:
        """Ends the connections of all threads."""
        for connection in self._open:
            connection.close()

    @staticmethod
    def _read(answer: http.client.HTTPResponse) -> tuple[int, bytes]:
        try:
            content = answer.read(_LARGEST + 1)
            if len(content) > _LARGEST:
                raise _TooLong
            if answer.length:
                raise http.client.IncompleteRead(content, answer.length)
            return answer.status, content
        except BaseException:
            answer.close()  # it may hold the socket when the connection has let go of it
            raise

    def _post(self, body: bytes) -> tuple[int, bytes]:
        """HTTP status and body of the answer."""
        while True:
            connection: DeadlineConnection | None = getattr(self._thread, "connection", None)
            is_new = connection is None
            if connection is None:
                connection = DeadlineConnection(self.target.host, self.target.port, timeout=self.target.timeout)
                self._thread.connection = connection
                self._open.append(connection)
            try:
                connection.start()
                connection.request("POST", self._path, body, {"Content-Type": "application/json"})
                return self._read(connection.getresponse())
            except (OSError, ValueError, http.client.HTTPException) as error:  # ValueError: of headers that are no HTTP
                # Not reused: a late answer would be taken for that of the next request.
                connection.close()
                self._thread.connection = None
                if isinstance(error, _TooLong):
                    raise UserError(f"{self.target}: answers with more than {_LARGEST >> 20} MB; is it TensorFlow Serving?") from None
                if isinstance(error, TimeoutError):
                    raise request_error(self.target, "DEADLINE_EXCEEDED", "") from None
                if is_new or not isinstance(error, ConnectionError):
                    reason = getattr(error, "strerror", None) or f"{type(error).__name__} {error}"
                    raise request_error(self.target, "UNAVAILABLE", reason) from None
                # A server may close an idle connection; a new one shows whether it is still there.


class _TooLong(ValueError):
    """An answer beyond the limit."""


def _error_of(body: bytes) -> str:
    """The message in {"error": message}; the whole body if that is no JSON, since the server escapes as C does."""
    text = body.decode("utf-8", "replace")
    try:
        return str(parse_json(text)["error"])
    except (ValueError, KeyError, TypeError):
        return text
