"""A stand-in for TensorFlow Serving, for machines without its binary: `python stand_in.py models.config`.

A process that cannot import ttfnet_tf loads every version of a ModelServerConfig through the session loader with the tag `serve`, replays
its warm-up file, and then answers PredictRequests by gRPC and REST on free ports of 127.0.0.1: feeds the signature's input tensors,
fetches its output tensors. Errors have the codes and messages of tensorflow/serving 2.15 (`predict_util.cc`, `http_rest_api_handler.cc`).
There is no batching across requests. It prints one line, `ready <gRPC port> <REST port> <warm-up requests replayed>`, and stops when its
standard input is closed.
"""

import base64
import json
import re
import sys
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import numpy as np
import tensorflow as tf
from google.protobuf import text_format
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import model_pb2, predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

assert "ttfnet_tf" not in sys.modules
sys.modules["ttfnet_tf"] = None  # importing it fails from here on
HTTP = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "NOT_FOUND": 404}  # `http_server.cc`; all others are 500


class Failure(Exception):
    """Name of a status code, and what the server says."""


class Version:
    """One version folder in a session of its own."""

    def __init__(self, folder: Path):
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            loaded = tf.compat.v1.saved_model.loader.load(self.session, ["serve"], str(folder))
        self.signatures = dict(loaded.signature_def)
        # Callables reach the C++ session directly, as the server does; Session.run would look at shapes in Python first.
        self.calls = {name: self._callable(one) for name, one in self.signatures.items() if name != "__saved_model_init_op"}

    def _callable(self, signature):
        feed, fetch = ([tensors[key].name for key in sorted(tensors)] for tensors in (signature.inputs, signature.outputs))
        return self.session._make_callable_from_options(config_pb2.CallableOptions(feed=feed, fetch=fetch))

    def predict(self, signature_name: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Name -> output; a signature without a name is the default one."""
        name = signature_name or "serving_default"
        if name not in self.calls:
            raise Failure("FAILED_PRECONDITION", f'Serving signature key "{name}" not found.')
        signature = self.signatures[name]
        if sorted(inputs) != sorted(signature.inputs):
            sent, expected = (",".join(sorted(names)) for names in (inputs, signature.inputs))
            raise Failure(
                "INVALID_ARGUMENT", f"input size does not match signature: len({{{sent}}}) != len({{{expected}}}), or other names"
            )
        try:
            return dict(zip(sorted(signature.outputs), self.calls[name](*(inputs[key] for key in sorted(inputs)))))
        except tf.errors.OpError as error:
            raise Failure(grpc_code(error.error_code), error.message) from None


class Models:
    """Every model of a configuration."""

    def __init__(self, file: Path):
        config = text_format.Parse(file.read_text(), model_server_config_pb2.ModelServerConfig())
        self.versions, self.labels, self.replayed = {}, {}, 0
        for one in config.model_config_list.config:
            numbers = one.model_version_policy.specific.versions
            self.versions[one.name] = {number: Version(Path(one.base_path, str(number))) for number in numbers}
            self.labels[one.name] = dict(one.version_labels)
            for number in numbers:
                self._warm_up(Path(one.base_path, str(number), "assets.extra/tf_serving_warmup_requests"), one.name, number)

    def _warm_up(self, file: Path, name: str, number: int) -> None:
        for record in tf.compat.v1.io.tf_record_iterator(str(file)):
            request = prediction_log_pb2.PredictionLog.FromString(record).predict_log.request
            assert request.model_spec.name == name
            self.versions[name][number].predict(request.model_spec.signature_name, arrays(request.inputs))
            self.replayed += 1

    def find(self, spec: model_pb2.ModelSpec) -> tuple[int, Version]:
        """The version that a request means, with its number."""
        versions = self.versions.get(spec.name, {})
        choice = spec.WhichOneof("version_choice")
        if choice == "version_label" and spec.version_label not in self.labels.get(spec.name, {}):
            raise Failure("INVALID_ARGUMENT", f"Unrecognized servable version label: {spec.version_label}")
        label = self.labels[spec.name][spec.version_label] if choice == "version_label" else None
        number = spec.version.value if choice == "version" else label or max(versions, default=0)
        if number not in versions:
            wanted = f"Specific({spec.name}, {number})" if choice else f"Latest({spec.name})"
            raise Failure("NOT_FOUND", f"Servable not found for request: {wanted}")
        return number, versions[number]


def arrays(inputs) -> dict[str, np.ndarray]:
    return {name: np.asarray(tf.make_ndarray(tensor)) for name, tensor in inputs.items()}


def grpc_code(number: int) -> str:
    return next(code.name for code in grpc.StatusCode if code.value[0] == number)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """`Predict` by gRPC."""

    def __init__(self, models: Models):
        self.models = models

    def Predict(self, request, context):
        try:
            number, version = self.models.find(request.model_spec)
            outputs = version.predict(request.model_spec.signature_name, arrays(request.inputs))
        except Failure as failure:
            context.abort(grpc.StatusCode[failure.args[0]], failure.args[1])
        response = predict_pb2.PredictResponse()
        response.model_spec.name, response.model_spec.version.value = request.model_spec.name, number
        for name, value in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


class RestHandler(BaseHTTPRequestHandler):
    """`predict` in row form, and the status of a model, by REST."""

    protocol_version = "HTTP/1.1"
    models: Models

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self._answer(200, json.dumps({"predictions": self._predict(body)}))
        except Failure as failure:
            # absl::CEscape: also of single quotes, which JSON does not know.
            text = re.sub(r"([\\\"'])", r"\\\1", failure.args[1]).replace("\n", "\\n").replace("\t", "\\t")
            self._answer(HTTP.get(failure.args[0], 500), f'{{ "error": "{text}" }}')

    def do_GET(self):
        name = self.path.removeprefix("/v1/models/")
        states = [{"version": str(number), "state": "AVAILABLE"} for number in self.models.versions.get(name, {})]
        self._answer(200 if states else 404, json.dumps({"model_version_status": states}, indent=1))

    def _predict(self, body: bytes) -> list[dict]:
        place = re.fullmatch(r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:predict", self.path)
        if not place:
            raise Failure("INVALID_ARGUMENT", f"Malformed request: POST {self.path}")
        spec = model_pb2.ModelSpec(name=place[1], version_label=place[3])
        if place[2]:
            spec.version.value = int(place[2])
        _, version = self.models.find(spec)
        request = json.loads(body)
        name = request.get("signature_name") or "serving_default"
        if name not in version.calls:
            raise Failure("INVALID_ARGUMENT", f'Serving signature name: "{name}" not found in signature def')
        [(key, tensor)] = version.signatures[name].inputs.items()
        dtype = tf.dtypes.as_dtype(tensor.dtype)
        values = [base64.b64decode(one["b64"]) if isinstance(one, dict) else one for one in request["instances"]]
        outputs = version.predict(name, {key: np.array(values, object if dtype == tf.string else dtype.as_numpy_dtype)})
        return [{output: value[row].tolist() for output, value in outputs.items()} for row in range(len(values))]

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_):
        pass


def main() -> None:
    models = Models(Path(sys.argv[1]))
    server = grpc.server(
        futures.ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    )
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(PredictionService(models), server)
    grpc_port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    rest = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (RestHandler,), {"models": models}))
    threading.Thread(target=rest.serve_forever, daemon=True).start()
    print("ready", grpc_port, rest.server_address[1], models.replayed, flush=True)
    sys.stdin.read()  # until whoever started this is done, in whatever way
    server.stop(None)
    rest.shutdown()


if __name__ == "__main__":
    main()
