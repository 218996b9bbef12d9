"""Files and folders by a path or by a URL: `data/train.json`, `s3://bucket/train.json`, `gs://...`, and whatever else fsspec knows.

A path stays a `Path`. A URL becomes a `RemotePath`, which has the part of `Path` that reading needs, raises the same errors, and gets its
files from fsspec. An object of a store appears at once or not at all, so what `files` does with temporary names and renames, an upload
does by itself; what the disk's fsync is there, the answer of the store is here.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import re
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]+://.*")
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}  # that fsspec asks for; each is in the extra of its name below
_EXTRAS = {"s3fs": "s3", "gcsfs": "gs"}


def is_url(path: object) -> bool:
    """Whether a path is a URL such as s3://bucket/folder."""
    return isinstance(path, RemotePath) or (isinstance(path, str) and _URL.fullmatch(path) is not None)


def location(path: str | Path | RemotePath) -> Any:
    """A `Path`, or a `RemotePath` for a URL; `file://` is a path.

    Raises:
        UserError: the package for this kind of URL is not installed.
    """
    if isinstance(path, RemotePath) or not isinstance(path, str) or not is_url(path):
        return path if isinstance(path, (Path, RemotePath)) else Path(path)
    if path.startswith("file://"):
        return Path(path.removeprefix("file://"))
    return RemotePath(path)


def cache_folder() -> Path:
    """Where copies of remote files lie: $TTFNET_CACHE, else ttfnet in the user's cache folder."""
    named = os.environ.get("TTFNET_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ttfnet"


def copy_of(remote: RemotePath, kind: str) -> Path:
    """The local folder for copies of a remote one: its name, and a digest of its URL."""
    digest = hashlib.sha256(remote.url.encode()).hexdigest()[:16]
    return cache_folder() / kind / f"{remote.name[:80]}-{digest}"


class RemotePath:
    """A file or folder by URL.

    Args:
        url: such as s3://bucket/folder/file.

    Raises:
        UserError: the package for this kind of URL is not installed.
    """

    def __init__(self, url: str):
        self.url = url.rstrip("/") if not url.endswith("://") else url
        self._system = file_system(self.url)
        self._names: dict[str, int] | None = None

    def __str__(self) -> str:
        return self.url

    def __repr__(self) -> str:
        return f"RemotePath({self.url!r})"

    def __fspath__(self) -> str:
        return self.url

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RemotePath) and other.url == self.url

    def __hash__(self) -> int:
        return hash(self.url)

    def __truediv__(self, name: str | os.PathLike) -> RemotePath:
        return RemotePath(f"{self.url}/{os.fspath(name)}")

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    @property
    def suffix(self) -> str:
        return Path(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        protocol, _, path = self.url.partition("://")
        return RemotePath(f"{protocol}://{path.rpartition('/')[0]}")

    def exists(self) -> bool:
        return self._done(self._system.exists, self.url)

    def is_file(self) -> bool:
        return self._done(self._system.isfile, self.url)

    def is_dir(self) -> bool:
        """Whether anything lies below."""
        return self._done(self._system.isdir, self.url)

    def read_bytes(self) -> bytes:
        """The content.

        Raises:
            OSError: there is no such file, or the store does not give it.
        """
        return self._done(self._system.cat_file, self.url)

    def read_range(self, begin: int, end: int) -> bytes:
        """The bytes from `begin` up to `end`.

        Raises:
            OSError: there is no such file, or the store does not give it.
        """
        return self._done(self._system.cat_file, self.url, start=begin, end=end)

    def put(self, content: bytes) -> None:
        """Writes an object; it appears complete or not at all.

        Raises:
            OSError: the store does not take it.
        """
        self._done(self._system.pipe_file, self.url, content)

    def download(self, path: Path) -> None:
        """Copies the object into a local file, which must not be in use.

        Raises:
            OSError: there is no such file, or the store or the disk fails.
        """
        self._done(self._system.get_file, self.url, str(path))

    def upload(self, path: Path) -> None:
        """Writes the object from a local file; it appears complete or not at all.

        Raises:
            OSError: the store does not take it.
        """
        self._done(self._system.put_file, str(path), self.url)

    def remove(self) -> None:
        """Deletes the object, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._done(self._system.rm_file, self.url)

    def files(self) -> dict[str, int]:
        """Name relative to this folder -> bytes of every file below it, as the store lists them now."""
        self._system.invalidate_cache()
        found = self._done(self._system.find, self.url, detail=True)
        root = self._system._strip_protocol(self.url).rstrip("/") + "/"
        return {path.removeprefix(root): int(one["size"] or 0) for path, one in found.items() if path.startswith(root)}

    def known_files(self) -> dict[str, int]:
        """`files`, listed once for this object: a question to the store for each of many images would take minutes."""
        if self._names is None:
            self._names = self.files()
        return self._names

    def _done(self, function, *arguments, **keywords):
        try:
            return function(*arguments, **keywords)
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.url) from None
        except PermissionError as error:
            raise PermissionError(errno.EACCES, _reason(error), self.url) from None
        except Exception as error:  # every store has its own classes
            raise OSError(errno.EIO, _reason(error), self.url) from None


def _reason(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:200] or type(error).__name__


def file_system(url: str) -> Any:
    """The file system of fsspec for a URL; one object for each kind of URL.

    Raises:
        UserError: the package for it is not installed, or there is none.
    """
    protocol = url.partition("://")[0].lower()
    package = _PACKAGES.get(protocol, "fsspec")
    try:
        return _opened(protocol)
    except ImportError:
        extra = f"'ttfnet-tf[{_EXTRAS[package]}]'" if package in _EXTRAS else f"fsspec, and what it needs for {protocol}://"
        raise UserError(f"{url}: needs {package}, which is not installed; pip install {extra}") from None
    except ValueError:
        raise UserError(f"{url}: {protocol}:// is no kind of URL that fsspec knows; name a path, or s3://..., gs://...") from None


@functools.cache
def _opened(protocol: str) -> Any:
    import fsspec

    return fsspec.filesystem(protocol)
