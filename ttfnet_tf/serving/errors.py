"""What can go wrong with a request, each in one line."""

from __future__ import annotations

from ttfnet_tf.errors import UserError
from ttfnet_tf.serving.signature import SIGNATURE
from ttfnet_tf.serving.target import Target

OVERLOADED = "OVERLOADED"  # in place of UNAVAILABLE, where a server is there and says that it is busy
_LONGEST = 300  # characters of a server's own words in a message


class Refused(UserError):
    """The server looked at the request and refused it (InvalidArgument); the message is the server's."""


class Unanswered(UserError):
    """A running server did not answer this request, because it took too long or was busy; the next request may succeed."""


def request_error(target: Target, status: str, message: str) -> UserError:
    """The exception for a request that failed.

    Args:
        target: where it was sent.
        status: name of the gRPC code; for REST the code that its HTTP status stands for.
        message: the server's own, or the transport's.
    """
    words = one_line(message)
    if status == "UNAVAILABLE":
        return UserError(f"{target.address}: no {target.protocol} server answers there ({words}); is it running, and is that its port?")
    if status == "DEADLINE_EXCEEDED":
        return Unanswered(f"{target}: no answer within {target.timeout:g} s; raise --timeout, or send less at a time")
    if status == "NOT_FOUND" or (status == "INVALID_ARGUMENT" and "version label" in message):
        return UserError(f"{target}: the server has no such model, version or label ({words})")
    # TensorFlow Serving calls it FailedPrecondition with gRPC (predict_util.cc) and InvalidArgument with REST (http_rest_api_handler.cc).
    if status in ("FAILED_PRECONDITION", "INVALID_ARGUMENT") and "Serving signature" in message:
        return UserError(f"{target}: lacks the signature {SIGNATURE}; not written by ttfnet export ({words})")
    if status == "INVALID_ARGUMENT":
        return Refused(words)
    if status in (OVERLOADED, "RESOURCE_EXHAUSTED"):
        return Unanswered(f"{target}: the server is overloaded ({words}); lower --concurrency")
    return UserError(f"{target}: {status} ({words})")


def one_line(message: str) -> str:
    """A server's message without the graph locations that TensorFlow appends, and without line breaks."""
    return " ".join(message.partition("[[{{")[0].split())[:_LONGEST]
