"""Files inside a .tflite file: labels and the model card travel with the model.

They form a zip archive behind the model, as TFLite's own metadata tools leave them: interpreters read from the front and do not see it,
`unzip -p model_int8.tflite labels.txt` reads from the end.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_bytes

CARD = "model_card.json"  # see `card.texts`
_STAMP = (1980, 1, 1, 0, 0, 0)  # of every file, so that equal models are equal files


def with_files(content: bytes, texts: Mapping[str, str]) -> bytes:
    """A model with text files behind it.

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
    """Writes the files behind a model anew; those that `texts` does not name stay.

    Args:
        path: a .tflite file with files behind it; a reader finds the old one or the new one.
        texts: file name -> content.

    Raises:
        UserError: there is no such file, it carries none, or it cannot be written.
    """
    path = Path(path)
    merged = {**read_files(path), **texts}
    with zipfile.ZipFile(path) as archive:
        start = min(one.header_offset for one in archive.infolist())
    write_bytes(path, with_files(path.read_bytes()[:start], merged))


def read_files(path: str | Path) -> dict[str, str]:
    """The text files behind a model, name -> content.

    Raises:
        UserError: there is no such file, or it carries none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {name: archive.read(name).decode("utf-8") for name in archive.namelist()}
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    except (zipfile.BadZipFile, UnicodeDecodeError):
        raise UserError(f"{path}: carries no labels; name a .tflite file that this package has exported") from None


def read_card(path: str | Path) -> dict[str, Any]:
    """The model card behind a model, see `card.model_card`.

    Raises:
        UserError: there is no such file, or it carries no card.
    """
    try:
        card = json.loads(read_files(path)[CARD])
        if {"classes", "image_size"} - set(card):
            raise ValueError
        return card
    except (KeyError, ValueError, TypeError):
        raise UserError(f"{path}: carries no {CARD}; name a .tflite file that this package has exported") from None
