"""Atomic writes: a reader finds the old file or the new one, never half of one."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file completely or not at all; makes its folder.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    write_text(path, json.dumps(content, ensure_ascii=False))


def write_text(path: Path, text: str) -> None:
    """Writes a text file completely or not at all, even if killed or out of space; makes its folder.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file completely or not at all, even if killed or out of space; makes its folder.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise cannot_write(path, error) from None


def cannot_write(path: Path, error: OSError) -> UserError:
    """The error for a file that could not be written."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "free some space, then start the same command again" if is_full else "name another folder"
    return UserError(f"{path}: cannot be written ({error.strerror}); {advice}")
