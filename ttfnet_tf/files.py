"""Files and folders written at once: a reader finds the old one or the new one, never half of one, even after a kill at any moment.

What is written lies aside under a temporary name, `.<name>.<process>.ttfnet-part<suffix>`, reaches the disk, and then gets its name. A
process that was killed leaves such a file behind; the next one that writes into the folder removes it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.json_text import json_text

_TEMPORARY = re.compile(r"\..+\.(\d+)\.ttfnet-part(\.\w+)?")
_LONGEST = 150  # bytes of a name that a temporary one holds; file systems take 255
_swept: set[tuple[int, str]] = set()  # (process, folder) whose left-over files were removed
_being_written: set[str] = set()  # temporary names of this process, whose number an earlier one in the same container may have had
MAX_PIXELS = 50_000_000  # height x width of the largest image that is decoded, from disk and in served graphs


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file completely or not at all; makes its folder.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    write_text(path, json_text(content))


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
    with new_file(path) as file:
        file.write(content)


@contextlib.contextmanager
def new_file(path: Path, *, sync: bool = True) -> Iterator[IO[bytes]]:
    """A binary file that replaces `path` when the block ends without an error; makes its folder.

    Args:
        path: of the file.
        sync: False does not wait for the disk, for one of very many files.

    Raises:
        UserError: the folder cannot be made or written to.
    """
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_left_over(path.parent)
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if sync:
            sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()
        _being_written.discard(os.path.abspath(temporary))


@contextlib.contextmanager
def new_file_by_name(path: Path) -> Iterator[Path]:
    """As `new_file`, for a library that opens its file itself: the name to write to; the folder must exist.

    Raises:
        UserError: the folder cannot be written to.
    """
    temporary = temporary_path(path)
    try:
        yield temporary
        sync_file(temporary)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        remove(temporary)
        _being_written.discard(os.path.abspath(temporary))


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which gets the name `path` when the block ends without an error. Nothing but an empty folder may have that name.

    Raises:
        UserError: it cannot be made or written to, or `path` is there.
    """
    temporary = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_left_over(path.parent)
        shutil.rmtree(temporary, ignore_errors=True)  # of an earlier process with this number
        temporary.mkdir()
        yield temporary
        sync_tree(temporary)
        os.rename(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _being_written.discard(os.path.abspath(temporary))


def temporary_path(path: Path) -> Path:
    """Where this process writes what is going to be `path`; `remove_left_over` knows the name, and it ends in the suffix of `path`."""
    path = path if path.name not in ("", "..") else Path(os.path.abspath(path))
    name, suffix = path.name.removesuffix(path.suffix), path.suffix
    if len(os.fsencode(path.name)) > _LONGEST:
        name, suffix = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32], suffix if len(suffix) < 10 else ""
    temporary = path.with_name(f".{name}.{os.getpid()}.ttfnet-part{suffix}")
    _being_written.add(os.path.abspath(temporary))
    return temporary


def remove_left_over(folder: Path, *, again: bool = False) -> None:
    """Removes temporary files and folders of killed processes from a folder; a process looks once, unless it asks for it again."""
    key = (os.getpid(), os.path.abspath(folder))
    if key in _swept and not again:
        return
    _swept.add(key)
    for entry in list(os.scandir(folder)):
        found = _TEMPORARY.fullmatch(entry.name)
        if found and _is_left_over(int(found[1]), entry.path):
            remove(Path(entry.path))


def _is_left_over(process: int, path: str) -> bool:
    """Whether nobody writes a temporary file any more."""
    return os.path.abspath(path) not in _being_written if process == os.getpid() else not is_alive(process)


def remove(path: Path) -> None:
    """Removes a file, or a folder with all that it holds; what cannot be removed stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def sync_tree(folder: Path) -> None:
    """Waits until every file below a folder is on the disk."""
    for parent, _, names in os.walk(folder):
        for name in names:
            sync_file(Path(parent, name))
        sync_folder(Path(parent))


def sync_file(path: Path) -> None:
    """Waits until a file is on the disk."""
    if os.name == "nt":  # which takes files open for writing only
        return
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk, where the file system can do that."""
    with contextlib.suppress(OSError):
        sync_file(folder)


def cannot_write(path: object, error: OSError) -> UserError:
    """The error for a file that could not be written."""
    is_full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    advice = "free some space, then start the same command again" if is_full else "name another folder"
    return UserError(f"{path}: cannot be written ({error.strerror}); {advice}")


def is_alive(process: int) -> bool:
    """Whether a process of this machine has that number; also True where it cannot be known."""
    if os.name == "nt":  # where asking would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # not ours; or no number of a process
        pass
    return True
