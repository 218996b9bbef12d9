"""Files at http:// and https:// addresses, bounded in bytes and time: no server can hang a command or fill its memory."""

from __future__ import annotations

import base64
import http.client
import re
import time
from pathlib import PurePosixPath
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

from ttfnet_tf import __version__
from ttfnet_tf.deadline import DeadlineConnection, SecureDeadlineConnection
from ttfnet_tf.errors import UserError

SECONDS = 60.0  # for the whole answer, redirects included
_REDIRECTS = 5
_CHUNK = 1 << 20
_PROBLEMS = (OSError, ValueError, http.client.HTTPException)  # ValueError: of headers that are no HTTP
_PASSWORD = re.compile(r"(?<=://)([^/@\s]*?):[^/@\s]*@")


def is_web(source: object) -> bool:
    """Whether a source is an http:// or https:// address."""
    return isinstance(source, str) and source[:8].lower().startswith(("http://", "https://"))


def is_stream(source: str) -> bool:
    """Whether a source is an rtsp:// address, which can be nothing but a stream."""
    return source.lower().startswith(("rtsp://", "rtsps://"))


def without_password(address: str) -> str:
    """The address as it may be shown and stored: *** in place of a password."""
    return _PASSWORD.sub(r"\1:***@", address)


def name_of(address: str) -> str:
    """The file name at the end of an address; that of the server where there is none."""
    parts = urlsplit(address)
    name = PurePosixPath(unquote(parts.path)).name or parts.hostname or "image"
    return re.sub(r"[^\w. -]", "_", name)[-100:].strip(" .") or "image"


def fetch(address: str, *, max_bytes: int, seconds: float = SECONDS, only: int | None = None) -> tuple[bytes, str]:
    """Gets a file.

    Args:
        address: http:// or https://, with user:password@ if need be.
        max_bytes: of the file.
        seconds: for the whole answer, redirects included.
        only: this many bytes of its beginning are enough, or fewer of a short file.

    Returns:
        The bytes, and the content type in lower case that the server states.

    Raises:
        UserError: there is no answer in that time, or none with a file of that size.
    """
    shown, end = without_password(address), time.monotonic() + seconds
    for _ in range(_REDIRECTS + 1):
        connection, answer = _ask(address, shown, seconds, end)
        try:
            place = answer.headers.get("Location")
            if answer.status in (301, 302, 303, 307, 308) and place:
                address = _next(address, place, shown)
                continue
            if answer.status != 200:
                raise UserError(f"{shown}: cannot be fetched (HTTP {answer.status} {answer.reason})".replace(" )", ")"))
            return _body(answer, shown, max_bytes, only), answer.headers.get_content_type().lower()
        except _PROBLEMS as error:
            raise _cannot_fetch(shown, error, seconds) from None
        finally:
            answer.close()
            connection.close()
    raise UserError(f"{shown}: cannot be fetched (more than {_REDIRECTS} redirects)")


def _ask(address: str, shown: str, seconds: float, end: float) -> tuple[DeadlineConnection, http.client.HTTPResponse]:
    parts = _split(address, shown)
    kind = SecureDeadlineConnection if parts.scheme == "https" else DeadlineConnection
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~") + (f"?{quote(parts.query, safe='/%:@!$&()*+,;=~?')}" if parts.query else "")
    headers = {"User-Agent": f"ttfnet-tf/{__version__}", "Accept": "*/*"}
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers["Authorization"] = "Basic " + base64.b64encode(pair).decode("ascii")
    connection = kind(str(parts.hostname), parts.port, timeout=max(end - time.monotonic(), 0.0))
    connection.start()
    try:
        connection.request("GET", path, headers=headers)
        return connection, connection.getresponse()
    except _PROBLEMS as error:
        connection.close()
        raise _cannot_fetch(shown, error, seconds) from None


def _split(address: str, shown: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        if parts.hostname and (parts.port is None or parts.port > 0) and parts.scheme in ("http", "https"):
            return parts
    except ValueError:  # a port that is no number
        pass
    raise UserError(f"{shown}: is not an address; expected such as https://host/image.jpg")


def _next(address: str, place: str, shown: str) -> str:
    """The address behind a redirect. A password goes to the same server only, and nothing from https:// back to http://."""
    old, found = urlsplit(address), urljoin(address, place)
    if not is_web(found) or (old.scheme == "https" and found.lower().startswith("http://")):
        raise UserError(f"{shown}: is redirected to {without_password(found)[:200]}, which is not followed")
    new = _split(found, shown)
    if old.username is not None and new.username is None and (old.scheme, old.hostname, old.port) == (new.scheme, new.hostname, new.port):
        return new._replace(netloc=f"{old.netloc.rpartition('@')[0]}@{new.netloc}").geturl()
    return found


def _body(answer: http.client.HTTPResponse, shown: str, max_bytes: int, only: int | None) -> bytes:
    parts, size = [], 0
    while chunk := answer.read(min(_CHUNK, (only or max_bytes + 1) - size)):
        parts.append(chunk)
        size += len(chunk)
        if size > max_bytes:
            raise UserError(f"{shown}: sends more than {max_bytes} bytes, which is the limit")
        if only is not None and size >= only:
            return b"".join(parts)
    if answer.length:
        raise UserError(f"{shown}: is cut short, {size} of {size + answer.length} bytes came")
    return b"".join(parts)


def _cannot_fetch(shown: str, error: Exception, seconds: float) -> UserError:
    if isinstance(error, TimeoutError):
        return UserError(f"{shown}: has not answered in full within {seconds:g} seconds")
    reason = getattr(error, "strerror", None) or f"{type(error).__name__} {error}".strip()
    return UserError(f"{shown}: cannot be fetched ({reason[:200]})")
