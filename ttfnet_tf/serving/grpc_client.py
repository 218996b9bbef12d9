"""A client for TensorFlow Serving's gRPC interface. tensorflow-serving-api is imported when a client is made.

Reference: tensorflow/serving 2.15, `apis/predict.proto` and `apis/model.proto`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.serving.errors import OVERLOADED, one_line, request_error
from ttfnet_tf.serving.responses import check_outputs
from ttfnet_tf.serving.signature import INPUT, SIGNATURE, Reply
from ttfnet_tf.serving.target import Target

_OPTIONS = (
    # Images are larger than gRPC's 4 MB; the server sets no limit of its own.
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # Past any proxy in the environment, as with REST.
    ("grpc.enable_http_proxy", 0),
)


def predict_request(target: Target, contents: Sequence[bytes]):
    """The PredictRequest for image files, each given as its bytes."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = target.model, SIGNATURE
    if target.version is not None:
        request.model_spec.version.value = target.version
    elif target.label is not None:
        request.model_spec.version_label = target.label
    request.inputs[INPUT].CopyFrom(tf.make_tensor_proto(list(contents), tf.string, [len(contents)]))
    return request


class GrpcClient:
    """Sends requests over one channel, which any number of threads may use.

    Raises:
        UserError: tensorflow-serving-api is not installed.
    """

    def __init__(self, target: Target):
        try:
            import grpc
            from tensorflow_serving.apis import prediction_service_pb2_grpc
        except ImportError as error:
            raise UserError(
                f"gRPC needs {error.name}, which is not installed: pip install 'ttfnet-tf[serving]', or use --protocol rest"
            ) from None
        self.target = target
        self._error = grpc.RpcError
        self._channel = grpc.insecure_channel(target.address, _OPTIONS)
        self._predict = prediction_service_pb2_grpc.PredictionServiceStub(self._channel).Predict

    def predict(self, contents: list[bytes]) -> Reply:
        """See `client.Client.predict`."""
        import tensorflow as tf

        try:
            response = self._predict(predict_request(self.target, contents), timeout=self.target.timeout)
        except self._error as error:
            status, message = error.code().name, error.details() or ""
            if status == "UNAVAILABLE" and "queue" in message:  # its queue of batches is full
                status = OVERLOADED
            raise request_error(self.target, status, message) from None
        try:
            outputs = {name: np.asarray(tf.make_ndarray(tensor)) for name, tensor in response.outputs.items()}
        except (ValueError, TypeError) as error:
            raise UserError(f"{self.target}: the answer holds a damaged tensor ({one_line(str(error))})") from None
        return Reply(check_outputs(self.target, outputs, len(contents)), response.model_spec.version.value or None)

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()
