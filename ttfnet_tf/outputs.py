"""What a command may overwrite: a file that the same command has written, which says so in itself, and never one of its own inputs.

A file says who wrote it by the words "written by ttfnet VERB" near its beginning or end: a first key of JSON, a comment, a text chunk.
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError

_LOOKED_AT = 4096  # bytes at the beginning and at the end of a file
# Files of earlier versions, which did not name the command.
_FORMER_MARKS = {"ttfnet report": rb"<footer>Written by ttfnet-tf "}
_PNG_HEADER = 33  # bytes of the signature and the first chunk


def written_by(command: str) -> str:
    """The words that mark a file; `command` is such as "ttfnet report"."""
    return f"written by {command}"


def marked(command: str, content: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object that says who wrote it, in its first key."""
    return {"written_by": command, **content}


def marked_png(command: str, content: bytes) -> bytes:
    """A PNG file that says who wrote it, in a text chunk."""
    text = b"tEXtSoftware\0" + f"{written_by(command)}\n".encode()
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    return content[:_PNG_HEADER] + chunk + content[_PNG_HEADER:]


def refuse_to_overwrite(
    path: str | Path,
    command: str,
    *,
    inputs: Iterable[str | Path | None] = (),
    overwrite: bool = False,
    is_own: Callable[[Path], bool] | None = None,
    hint: str = "name another file, or add --overwrite",
) -> None:
    """Checks, before any work, that a file may be written.

    Args:
        path: of the output.
        command: that is going to write it, e.g. "ttfnet report".
        inputs: files that the command reads; they are never overwritten.
        overwrite: whether the user asked to replace files of others.
        is_own: also says whether the command wrote a file, where its content has no place for the mark.
        hint: what to do, if others have written it.

    Raises:
        UserError: it is an input, a folder, or a file that the command has not written.
    """
    path = Path(path)
    if any(is_same(path, one) for one in inputs if one):
        raise UserError(f"{path}: is read by this command and cannot be its output; name another file")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; name a file")
    if overwrite or not os.path.lexists(path) or says(path, command) or (is_own is not None and is_own(path)):
        return
    raise UserError(f"{path}: exists and was not {written_by(command)}; {hint}")


def says(path: Path, command: str) -> bool:
    """Whether a file says that the command has written it."""
    try:
        with open(path, "rb") as file:
            start = file.read(_LOOKED_AT)
            file.seek(-min(_LOOKED_AT, file.seek(0, os.SEEK_END)), os.SEEK_END)
            text = start + b"\n" + file.read()
    except OSError:
        return False
    former = _FORMER_MARKS.get(command)
    return re.search(rb"written[_ ]by\W{1,6}" + command.encode() + rb"(?!\w| \w)", text) is not None or (
        former is not None and former in text
    )


def is_same(first: str | Path, second: str | Path) -> bool:
    """Whether two names stand for one file that exists."""
    try:
        return os.path.samefile(first, second)
    except (OSError, ValueError):
        return False
