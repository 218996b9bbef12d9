"""A work directory on an object store: training works in a local copy, which is uploaded after every checkpoint.

The store has the same files under the same names. They are uploaded in the order in which training writes them: logs, the data of a
checkpoint, its index, and at last the small `checkpoints/checkpoint`, which names the current one. An object appears complete or not at
all, so that a kill at any moment leaves what a kill of training on a disk leaves, and the next start resumes from the store alone.

The lock is an object `.lock` that its holder writes again every few seconds; whoever finds one watches it before taking over. Stores do
not tell two starts of the same moment apart for sure, so each looks again after a while whether it is still the holder.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import is_alive, new_file_by_name
from ttfnet_tf.json_text import is_integer, json_text, parse_json
from ttfnet_tf.locations import RemotePath, copy_of, is_url, location

WRITTEN_EVERY = 5.0  # seconds; the lock
WATCHED_FOR = 16.0  # seconds
SETTLES_IN = 1.0  # seconds
_LOCK = ".lock"
_STATE = "checkpoints/checkpoint"
_READ = ("config.yaml", "labels.json", "environment.json", "data.json", "metrics.jsonl")  # and what lies in these folders:
_READ_FOLDERS = ("checkpoints/", "eval/", "divergence/")
_EVENTS = "events.out.tfevents."


@functools.lru_cache(maxsize=8)
def fetched(path: str) -> Path:
    """The local copy of a run, a checkpoint in it, or an exported model that lies at a URL; made once in a process.

    Raises:
        UserError: there is none, or the store cannot be read.
    """
    remote = location(path)
    try:
        runs = [(remote, "")]
        if "/checkpoints/" in path:
            runs.append((RemotePath(path.rpartition("/checkpoints/")[0]), f"checkpoints/{path.rpartition('/checkpoints/')[2]}"))
        for run, inner in runs:
            if (run / "config.yaml").exists():
                copy = RemoteRun(run, copy_of(run, "read"), writes=False)
                copy.download()
                return copy.folder / inner
        names = remote.files()
        if remote.suffix != ".tflite" and not any(PurePosixPath(name).name == "saved_model.pb" for name in names):
            raise UserError(f"{path}: holds no run and no exported model")
        folder = copy_of(remote, "read") / remote.name
        shutil.rmtree(folder, ignore_errors=True)
        for name in names or [""]:
            file = folder / name
            file.parent.mkdir(parents=True, exist_ok=True)
            with new_file_by_name(file) as temporary:
                (remote / name if name else remote).download(temporary)
        return folder
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


@contextlib.contextmanager
def local_work_directory(work_dir: str | Path, *, writes: bool) -> Iterator[LocalRun]:
    """The folder to train in: `work_dir` itself, or the local copy of a URL, which is uploaded at the end, too.

    Args:
        work_dir: path or URL.
        writes: False for the workers of a multi-worker run that are not the chief; they upload nothing.

    Raises:
        UserError: another process trains there, or the store cannot be read or written.
    """
    if not is_url(work_dir):
        yield LocalRun(Path(work_dir))
        return
    remote = location(str(work_dir))
    folder = copy_of(remote, "runs")
    folder = folder if writes else folder.with_name(f"{folder.name}-worker-{os.getpid()}")
    with _Lock(remote) if writes else contextlib.nullcontext():
        run = RemoteRun(remote, folder, writes=writes)
        run.download()
        try:
            yield run
        finally:
            run.upload()
            if not writes:
                shutil.rmtree(folder, ignore_errors=True)


class LocalRun:
    """A work directory on a disk."""

    def __init__(self, folder: Path):
        self.folder = folder

    def upload(self) -> None:
        """Nothing to do."""


class RemoteRun(LocalRun):
    """The local copy of a work directory on a store.

    Args:
        remote: the work directory.
        folder: the copy.
        writes: whether `upload` does anything.
    """

    def __init__(self, remote: RemotePath, folder: Path, *, writes: bool = True):
        super().__init__(folder)
        self._remote, self._writes = remote, writes
        self._known: dict[str, tuple[int, int]] = {}  # name -> (bytes, time of change) of the local file that the store has

    def download(self) -> None:
        """Makes the copy anew: everything that a run reads, without the events of TensorBoard."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with self._errors("read"):
            for name in self._remote.files():
                if name in _READ or (name.startswith(_READ_FOLDERS) and not PurePosixPath(name).name.startswith(_EVENTS)):
                    file = self.folder / name
                    file.parent.mkdir(parents=True, exist_ok=True)
                    with new_file_by_name(file) as temporary:
                        (self._remote / name).download(temporary)
                    self._known[name] = _signature(file)

    def upload(self) -> None:
        """Brings the store to what the copy holds; deletes what has gone from it since it was there."""
        if not self._writes or not self.folder.is_dir():
            return
        found = {name: _signature(self.folder / name) for name in _names(self.folder)}
        changed = sorted((name for name, signature in found.items() if self._known.get(name) != signature), key=_order)
        with self._errors("written"):
            for name in changed:
                if _order(name)[0] == 1 and name in self._known:  # data of a step that was saved before: no index may name them
                    (self._remote / _index_of(name)).remove()
            for name in changed:
                (self._remote / name).upload(self.folder / name)
                self._known[name] = found[name]
            for name in sorted(set(self._known) - set(found), key=_order, reverse=True):
                (self._remote / name).remove()
                del self._known[name]

    @contextlib.contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._remote}: cannot be {what} ({error.strerror}); start the same command again to resume") from None


class _Lock:
    """Holds the lock of a work directory on a store."""

    def __init__(self, remote: RemotePath):
        self._remote, self._object = remote, remote / _LOCK
        self._content = {"host": socket.gethostname(), "process": os.getpid(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
        self._ended, self._thread = threading.Event(), threading.Thread(target=self._write_again, daemon=True)

    def __enter__(self) -> _Lock:
        try:
            holder = self._holder()
            if holder and not self._is_over(holder):
                raise self._in_use(holder)
            self._write()
            if holder is not None:  # not the first run there: somebody else may have found it, too
                time.sleep(SETTLES_IN)
                holder = self._holder() or {}
                if {key: holder.get(key) for key in self._content} != self._content:
                    raise self._in_use(holder)
        except OSError as error:
            raise UserError(f"{self._remote}: cannot be written ({error.strerror}); choose another --work-dir") from None
        self._thread.start()
        return self

    def __exit__(self, *error) -> None:
        self._ended.set()
        self._thread.join()
        with contextlib.suppress(OSError):
            self._object.remove()

    def _holder(self) -> dict[str, Any] | None:
        """What the object says; None where there is none, empty if it says nothing."""
        try:
            content = parse_json(self._object.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}

    def _is_over(self, holder: dict[str, Any]) -> bool:
        """Whether the holder has ended: its process is gone, or its object does not change."""
        process: Any = holder.get("process")
        if holder.get("host") == socket.gethostname() and is_integer(process) and not is_alive(process):
            return True
        end = time.monotonic() + WATCHED_FOR
        while time.monotonic() < end:
            time.sleep(min(1.0, WATCHED_FOR / 4))
            if self._holder() not in (holder, None):
                return False
        return True

    def _write(self) -> None:
        self._object.put(json_text({**self._content, "written": time.time()}).encode())

    def _write_again(self) -> None:
        while not self._ended.wait(WRITTEN_EVERY):
            with contextlib.suppress(OSError):
                self._write()

    def _in_use(self, holder: dict[str, Any]) -> UserError:
        who = f"process {holder.get('process')} on {holder.get('host')}, since {holder.get('since')}"
        return UserError(f"{self._remote}: is in use by {who}; wait for it, or choose another --work-dir")


def _names(folder: Path) -> Iterator[str]:
    """The files of a work directory, without its lock and what is being written."""
    for file in folder.rglob("*"):
        name = file.relative_to(folder).as_posix()
        if file.is_file() and name != _LOCK and ".ttfnet-part" not in name:
            yield name


def _signature(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_size, status.st_mtime_ns


def _order(name: str) -> tuple[int, str]:
    """Where a file comes in an upload: logs, data of checkpoints, their indices, which is the best, which is the current one."""
    if not name.startswith("checkpoints/"):
        return 0, name
    if name == _STATE:
        return 4, name
    return (3 if name.endswith(".json") else 2 if name.endswith(".index") else 1), name


def _index_of(name: str) -> str:
    """The index of the checkpoint that a file of data belongs to."""
    return f"{name.partition('.data-')[0]}.index"
