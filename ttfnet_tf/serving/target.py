"""Which model of which server is asked, what it takes and gives, and what may go wrong on the way, told in one line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

import numpy as np

from ttfnet_tf.errors import UserError

SIGNATURE = INPUT = "image_bytes"  # see export.saved_model.serving_functions
OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
PORTS = {"grpc": 8500, "rest": 8501}  # those that TensorFlow Serving's image listens on
OVERLOADED = "OVERLOADED"  # a server is there and calls itself unavailable
_LONGEST = 300  # characters of a server's own words in a message


@dataclass(frozen=True)
class Target:
    """One model of one server; without version and label the server takes the latest that it holds."""

    model: str
    host: str
    port: int
    protocol: str  # grpc | rest
    version: int | None = None
    label: str | None = None
    timeout: float = 60.0  # seconds until an answer counts as missing

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        which = f" version {self.version}" if self.version is not None else f" label {self.label}" if self.label is not None else ""
        return f"{self.model}{which} at {self.address}"


class Reply(NamedTuple):
    """What a server says about a few images."""

    outputs: dict[str, np.ndarray]  # the four of export.model_card.OUTPUTS, a row for each image
    version: int | None  # that answered; REST does not tell


class Client(Protocol):
    """A connection to a target, for any number of threads."""

    def predict(self, contents: list[bytes]) -> Reply:
        """Asks about JPEG or PNG files, each the bytes of one.

        Raises:
            Refused: the server looked at the images and refused one.
            Unanswered: there was no answer to this request.
            UserError: there is no server, model or signature.
        """

    def close(self) -> None:
        """Ends the connection."""


class Refused(UserError):
    """The server's InvalidArgument: something in the request itself is wrong, in its own words."""


class Unanswered(UserError):
    """A server that is there did not answer this request: too late, or too much to do. The next one may go well."""


def parse_address(text: str, protocol: str) -> tuple[str, int]:
    """Host and port of `host`, `host:port` or `[::1]:port`; without a port that of the protocol.

    Raises:
        UserError: it is none of these.
    """
    try:
        parts = urlsplit(f"//{text}")
        if parts.hostname and parts.netloc == text and "@" not in text:
            return parts.hostname, parts.port or PORTS[protocol]
    except ValueError:  # a port that is no number up to 65535
        pass
    raise UserError(f"--address {text}: expected HOST or HOST:PORT, e.g. 127.0.0.1:{PORTS[protocol]}")


def failure(target: Target, status: str, message: str) -> UserError:
    """The exception about a call that went wrong.

    Args:
        target: that was called.
        status: name of the gRPC code; of a REST answer the one that its HTTP status stands for.
        message: the server's own, or the transport's.
    """
    words = _one_line(message)
    if status == "UNAVAILABLE":
        return UserError(f"{target.address}: no {target.protocol} server answers there ({words}); is it running, and is that its port?")
    if status == "DEADLINE_EXCEEDED":
        return Unanswered(f"{target}: no answer within {target.timeout:g} s; give it more with --timeout, or send less at a time")
    if status == "NOT_FOUND" or (status == "INVALID_ARGUMENT" and "version label" in message):
        return UserError(f"{target}: the server has no such model, version or label ({words})")
    # TensorFlow Serving calls it FailedPrecondition by gRPC (predict_util.cc) and InvalidArgument by REST (http_rest_api_handler.cc).
    if status in ("FAILED_PRECONDITION", "INVALID_ARGUMENT") and "Serving signature" in message:
        return UserError(f"{target}: has no signature {SIGNATURE}, so it was not written by ttfnet export ({words})")
    if status == "INVALID_ARGUMENT":
        return Refused(words)
    if status in (OVERLOADED, "RESOURCE_EXHAUSTED"):
        return Unanswered(f"{target}: the server has too much to do ({words}); ask with less --concurrency")
    return UserError(f"{target}: {status} ({words})")


def checked(target: Target, outputs: dict[str, np.ndarray], images: int) -> dict[str, np.ndarray]:
    """The outputs, if they are those of a detector for so many images.

    Raises:
        UserError: they are not.
    """
    rows = {name: outputs[name].shape[:1] for name in OUTPUTS if name in outputs}
    if set(rows) != set(OUTPUTS) or set(rows.values()) != {(images,)}:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in sorted(outputs.items())) or "nothing"
        raise UserError(f"{target}: answers {images} images with {_one_line(shapes)}, so it is no detector of ttfnet export")
    return outputs


def _one_line(message: str) -> str:
    """Without the places in the graph that TensorFlow appends, and without line breaks."""
    return " ".join(message.partition("[[{{")[0].split())[:_LONGEST]
