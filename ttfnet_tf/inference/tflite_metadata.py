"""Text files inside a .tflite file: its labels and its model card.

They are a zip archive appended to the model, as TFLite's own metadata tools write it: interpreters read from the front and ignore it,
`unzip -p model_int8.tflite labels.txt` reads from the end.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_bytes
from ttfnet_tf.inference.card import checked_card
from ttfnet_tf.json_text import parse_json

CARD = "model_card.json"  # see `export.model_card.texts`
_LARGEST = 2**26  # bytes of all text files
_STAMP = (1980, 1, 1, 0, 0, 0)  # date of every file, so that equal models are equal files


def with_files(content: bytes, texts: Mapping[str, str]) -> bytes:
    """Appends text files to a model.

    Args:
        content: a .tflite model without files.
        texts: file name -> content.
    """
    buffer = io.BytesIO(content)
    with zipfile.ZipFile(buffer, "a") as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(name, _STAMP), text)
    return buffer.getvalue()


def replace_files(path: str | Path, texts: Mapping[str, str]) -> None:
    """Replaces text files of a model; those that `texts` does not name stay.

    Args:
        path: a .tflite file with text files; a reader sees the old model or the new one.
        texts: file name -> content.

    Raises:
        UserError: there is no such file, it has no text files, or it cannot be written.
    """
    path = Path(path)
    merged = {**read_files(path), **texts}
    with zipfile.ZipFile(path) as archive:
        start = min(one.header_offset for one in archive.infolist())
    write_bytes(path, with_files(path.read_bytes()[:start], merged))


def read_files(path: str | Path) -> dict[str, str]:
    """The text files of a model, name -> content.

    Raises:
        UserError: there is no such file, or it has none.
    """
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            if sum(one.file_size for one in archive.infolist()) > _LARGEST:
                raise ValueError("texts of many megabytes")
            return {name: archive.read(name).decode("utf-8") for name in archive.namelist()}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception:  # zipfile and zlib raise a dozen classes for damaged and encrypted files
        raise UserError(f"{path}: has no labels; name a .tflite file that this package has exported") from None


def read_card(path: str | Path) -> dict[str, Any]:
    """The model card of a model, see `export.model_card.model_card`.

    Raises:
        UserError: there is no such file, or it has no card.
    """
    try:
        return checked_card(parse_json(read_files(path)[CARD]))
    except (KeyError, ValueError):
        raise UserError(f"{path}: has no {CARD}; name a .tflite file that this package has exported") from None
