"""A connection to a served model, by gRPC or REST."""

from __future__ import annotations

from typing import Protocol

from ttfnet_tf.serving.signature import Reply
from ttfnet_tf.serving.target import Target


class Client(Protocol):
    """A connection that any number of threads may use."""

    def predict(self, contents: list[bytes]) -> Reply:
        """Detects on JPEG or PNG files, each given as its bytes.

        Raises:
            Refused: the server refused one of the images.
            Unanswered: there was no answer to this request.
            UserError: there is no server, model or signature.
        """

    def close(self) -> None:
        """Ends the connection."""


def connect(target: Target) -> Client:
    """A client for the protocol of the target. Nothing is sent yet.

    Raises:
        UserError: a package that the protocol needs is not installed.
    """
    if target.protocol == "grpc":
        from ttfnet_tf.serving.grpc_client import GrpcClient

        return GrpcClient(target)
    from ttfnet_tf.serving.rest_client import RestClient

    return RestClient(target)
