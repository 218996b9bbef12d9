"""Downloads `timm/<model>` weights from the Hugging Face Hub: once, checked by SHA-256, into a cache folder.

Only models that the user names are downloaded. The cache is `~/.cache/ttfnet_tf`, or the folder in the environment variable
TTFNET_TF_CACHE; HF_ENDPOINT names a mirror of the hub.

huggingface_hub is not used: it does not compare the SHA-256 of what it downloads, and brings a dozen packages for one GET request.
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Optional

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import new_file, write_text


@dataclass(frozen=True)
class Known:
    """One version of a file, pinned."""

    revision: str  # commit of the repository on the hub
    sha256: str


# Torchvision's ImageNet weights as republished by timm; several public records agree on their SHA-256. Any other timm/<model> is checked
# against the SHA-256 that the server states.
KNOWN = {
    "timm/resnet18.tv_in1k": Known(
        "bbd144b3e5565108aad885f145491d11bc6ce807", "694f673df6520a3158624e8a89af086f59923ee4cd7436fe5bc3bc71d295ad81"
    ),
    "timm/resnet50.tv_in1k": Known(
        "78f3ecfdb38e06d9b8397f662e7ab8fee96026fa", "5d061a3c593d795bfe682d9b152bafbcf550579873492def3515b46db1189888"
    ),
}
_ENDPOINT = "https://huggingface.co"
_FILE = "model.safetensors"
_TIMEOUT = 30.0  # seconds without an answer
_OFFLINE_HINT = "without network, name a local .safetensors, .npz or .pth file"


def is_hub_name(source: str) -> bool:
    """Whether `source` is `timm/<model>` and not the path of a file."""
    return re.fullmatch(r"timm/[\w-][\w.-]*", source) is not None and not Path(source).exists()


def cached(name: str) -> Path:
    """Path of the file of `timm/<model>` in the cache."""
    folder = os.environ.get("TTFNET_TF_CACHE") or Path("~/.cache/ttfnet_tf").expanduser()
    return Path(folder) / f"{name}.safetensors"


def fetch(name: str, *, on_message: Callable[[str], object] = print) -> Path:
    """Returns the local file of `timm/<model>`, and downloads it on the first call.

    The SHA-256 of the download is kept beside it in `<file>.sha256`; a file that no longer matches is refused.

    Args:
        name: e.g. `timm/resnet18.tv_in1k`.
        on_message: called with one line when a download starts.

    Raises:
        UserError: there is no network, no such model, no checksum or a wrong one, or the cache cannot be written.
    """
    file = cached(name)
    record = file.with_name(f"{file.name}.sha256")
    if file.is_file() and record.is_file():
        if _sha256(file) != record.read_text(encoding="utf-8").split()[0]:
            raise UserError(f"{file}: no longer has the checksum in {record.name} beside it; delete both to download it again")
        return file
    known = KNOWN.get(name)
    address = f"{os.environ.get('HF_ENDPOINT') or _ENDPOINT}/{name}/resolve/{known.revision if known else 'main'}/{_FILE}"
    expected = known.sha256 if known else _stated_sha256(name, address)
    on_message(f"{name}: downloading {address} to {file}")
    found = _download(name, address, file, expected)
    write_text(record, f"{found}  {file.name}\n")
    return file


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Stops at the hub's redirect to its storage: only that response states the checksum."""

    def redirect_request(self, *_):
        return None


def _stated_sha256(name: str, address: str) -> str:
    request = urllib.request.Request(address, method="HEAD", headers={"Accept-Encoding": "identity"})
    try:
        with urllib.request.build_opener(_NoRedirect).open(request, timeout=_TIMEOUT) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        if not 300 <= error.code < 400:
            raise _cannot_download(name, error) from None
        with error:  # it holds the connection
            headers = error.headers
    except (OSError, HTTPException) as error:
        raise _cannot_download(name, error) from None
    stated = (headers.get("X-Linked-Etag") or "").strip('"').lower()
    if re.fullmatch("[0-9a-f]{64}", stated) is None:
        raise UserError(
            f"{name}: the server states no SHA-256 of {address}, so it cannot be checked; download it yourself and name the file"
        )
    return stated


def _download(name: str, address: str, file: Path, expected: str) -> str:
    """Downloads to `file` if the content has the expected SHA-256, which is returned."""
    digest = hashlib.sha256()
    try:
        answer = urllib.request.urlopen(address, timeout=_TIMEOUT)
    except (OSError, HTTPException) as error:
        raise _cannot_download(name, error) from None
    with answer, new_file(file) as target:
        while chunk := _read_chunk(name, answer):
            digest.update(chunk)
            target.write(chunk)
        if digest.hexdigest() != expected:
            raise UserError(f"{name}: {address} sent a file with the SHA-256 {digest.hexdigest()}, expected {expected}; it was deleted")
    return digest.hexdigest()


def _read_chunk(name: str, answer) -> bytes:
    try:
        return answer.read(1 << 20)
    except (OSError, HTTPException) as error:
        raise _cannot_download(name, error) from None


def _cannot_download(name: str, error: Exception) -> UserError:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code in (401, 403, 404):  # the hub answers 401 for names that do not exist
            return UserError(f"{name}: is not a model on the hub (HTTP {error.code}); name one such as {next(iter(KNOWN))}")
        return UserError(f"{name}: cannot be downloaded (HTTP {error.code} {error.reason}); try again later, or name a local file")
    reason: Optional[object] = getattr(error, "reason", None) or error
    text = getattr(reason, "strerror", None) or str(reason) or type(error).__name__
    return UserError(f"{name}: cannot be downloaded ({text}); {_OFFLINE_HINT}")


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    with open(file, "rb") as source:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
