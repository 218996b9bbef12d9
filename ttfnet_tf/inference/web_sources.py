"""Images, videos and streams at http:// and https:// addresses, told apart by their first bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from ttfnet_tf.data.image_headers import foreign_format, image_format
from ttfnet_tf.data.images import IMAGE_SUFFIXES, MAX_BYTES
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.image_files import Failure, Sources
from ttfnet_tf.web import fetch, without_password

_START = 400  # bytes that say a format
_SECONDS = 20.0  # to get them
STREAM = "a stream"


def add_web(found: Sources, addresses: Sequence[str]) -> None:
    """Adds what is at addresses to the sources of a command line; what cannot be fetched becomes a failure."""
    for address in dict.fromkeys(addresses):
        try:
            kind = kind_at(address)
            (found.images if kind == "an image" else found.videos).append(address)
            if kind == "a video":
                found.web_files.add(address)
        except UserError as error:
            found.failures.append(Failure(without_password(address), str(error)))


def kind_at(address: str) -> str:
    """What is at an address: "an image", "a video" or STREAM. A name that ends as an image's do is believed.

    Raises:
        UserError: it cannot be fetched, or is none of them.
    """
    try:
        if PurePosixPath(urlsplit(address).path).suffix.lower() in IMAGE_SUFFIXES:
            return "an image"
    except ValueError:
        pass  # `fetch` says what is wrong with it
    start, content_type = fetch(address, max_bytes=MAX_BYTES, only=_START, seconds=_SECONDS)
    if content_type == "multipart/x-mixed-replace" or start.startswith(b"#EXTM3U"):
        return STREAM
    content = "an image" if image_format(start) else foreign_format(start)
    if content == "a video":
        return content
    if content and content.endswith("image"):  # HEIC too: `read_rgb` reads it or says why it does not
        return "an image"
    raise UserError(f"{without_password(address)}: is {content or 'neither an image nor a video'}; name an image, a video or a stream")
