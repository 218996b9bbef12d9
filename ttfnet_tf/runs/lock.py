"""The lock of a work directory: one training process writes into it at a time.

The operating system holds the lock (`flock` on the file `.lock`) and lets go of it when the process ends, however it ends. The file says
who holds it. On network folders that lack such locks, or do not share them between machines, the file itself is the lock: its holder
touches it every few seconds, and whoever finds the file of another machine watches it for some time before taking over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import is_alive
from ttfnet_tf.json_text import is_integer, json_text, parse_json

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

NAME = ".lock"
TOUCHED_EVERY = 3.0  # seconds
WATCHED_FOR = 16.0  # seconds, of which a network folder may hide some
SETTLES_IN = 1.0  # seconds after which one of two simultaneous starts finds the other, where nothing locks
_UNSUPPORTED = (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL)
_held: set[int] = set()  # file descriptors, which a forked process must not keep


class RunLock:
    """Holds the lock of a work directory as a context manager.

    Args:
        folder: the work directory, which must exist.
        holds: False makes it do nothing (workers other than the chief); so does Windows.
        option: that names the folder, for messages.

    Raises:
        UserError: another process holds it, or the folder cannot be written.
    """

    def __init__(self, folder: Path, *, holds: bool = True, option: str = "--work-dir"):
        self._option = option
        self._file, self._holds = folder / NAME, holds and fcntl is not None
        self._descriptor = -1
        self._ended = threading.Event()

    def __enter__(self) -> RunLock:
        if self._holds:
            try:
                self._take()
            except OSError as error:
                raise UserError(f"{self._file.parent}: cannot be written ({error.strerror}); choose another {self._option}") from None
            threading.Thread(target=self._touch, daemon=True).start()
        return self

    def __exit__(self, *error) -> None:
        if self._descriptor >= 0:
            self._ended.set()
            with contextlib.suppress(OSError):
                self._file.unlink()  # before it is released, or it could be the next holder's
            self._close()

    def _take(self) -> None:
        while True:
            self._descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o644)
            _held.add(self._descriptor)
            try:
                is_locked = self._lock_or_refuse()
                holder = self._holder()
                if holder and (not is_locked or holder.get("boot") != _boot()) and not self._is_over(holder, is_locked):
                    raise self._in_use(holder)
                if self._is_still_the_file():
                    break
            except BaseException:
                self._close()
                raise
            self._close()  # the last holder has just deleted it
        content = {"host": socket.gethostname(), "process": os.getpid(), "boot": _boot(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json_text(content).encode(), 0)
        os.fsync(self._descriptor)
        if not is_locked:
            time.sleep(SETTLES_IN)
            if self._holder() != content:  # another process started in the same moment
                holder = self._holder()
                self._close()
                raise self._in_use(holder)

    def _lock_or_refuse(self) -> bool:
        """Whether the operating system has given the lock; False where the file system has none."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._in_use(self._holder()) from None
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            return False
        return True

    def _is_over(self, holder: dict[str, Any], is_locked: bool) -> bool:
        """Whether the holder has ended, as far as the file says."""
        if not is_locked and holder.get("boot") == _boot() and holder.get("host") == socket.gethostname():
            process: Any = holder.get("process")
            return is_integer(process) and not is_alive(process)
        before, end = self._touched(), time.monotonic() + WATCHED_FOR
        while time.monotonic() < end:
            time.sleep(min(1.0, WATCHED_FOR / 4))
            if self._touched() != before:
                return False
        return True

    def _touched(self) -> float:
        """When the file was changed or touched; opened anew, since network folders look again only then."""
        try:
            with open(self._file, "rb") as file:
                return os.fstat(file.fileno()).st_mtime
        except OSError:
            return 0.0

    def _touch(self) -> None:
        while not self._ended.wait(TOUCHED_EVERY):
            with contextlib.suppress(OSError):
                os.utime(self._file)

    def _holder(self) -> dict[str, Any]:
        """What the file says about its holder; empty if nothing."""
        try:
            content = parse_json(os.pread(self._descriptor, 4096, 0))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def _is_still_the_file(self) -> bool:
        try:
            found = os.stat(self._file)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self._descriptor))

    def _in_use(self, holder: dict[str, Any]) -> UserError:
        who = f"process {holder.get('process')} on {holder.get('host')}, since {holder.get('since')}" if holder else "another process"
        return UserError(f"{self._file.parent}: is in use by {who}; wait for it, or choose another {self._option}")

    def _close(self) -> None:
        if self._descriptor >= 0:
            _held.discard(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1


def _boot() -> str:
    """Of this start of this machine; containers of a machine share it."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return socket.gethostname()


def _close_in_child() -> None:
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)
