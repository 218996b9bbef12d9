"""Copies of packed folders that lie on an object store: training reads images in a random order, which only a disk gives fast.

Every file is copied once, to a temporary name, and counts when it has its own. index.json comes last.
"""

from __future__ import annotations

import concurrent.futures
import hashlib
import shutil
from pathlib import Path

from ttfnet_tf.data.packed import ANNOTATIONS, INDEX, list_of, read_index
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import new_file_by_name, remove_left_over, write_bytes
from ttfnet_tf.locations import RemotePath, copy_of
from ttfnet_tf.progress import ProgressMeter

_PARALLEL = 8  # files at a time
_SPARE = 1 << 28  # bytes of the disk that stay free


def staged(remote: RemotePath) -> Path:
    """The local copy of a packed folder, complete.

    Raises:
        UserError: the folder is not complete, a file cannot be read, or the disk is too small.
    """
    try:
        content = (remote / INDEX).read_bytes()
    except OSError as error:
        raise UserError(f"{remote / INDEX}: cannot be read ({error.strerror})") from None
    folder = copy_of(remote, "packed") / hashlib.sha256(content).hexdigest()[:16]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        remove_left_over(folder, again=True)
        if not (folder / INDEX).is_file():
            _copy(remote, folder, content)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); set TTFNET_CACHE to another folder") from None
    return folder


def _copy(remote: RemotePath, folder: Path, content: bytes) -> None:
    aside = folder / f"new-{INDEX}"
    write_bytes(aside, content)
    index = read_index(folder, aside.name)
    if not index.get("complete"):
        raise UserError(f"{remote}: is not packed to the end; run the same ttfnet data pack again")
    sizes = {shard["file"]: shard["bytes"] for shard in index["shards"]}
    wanted = {name: size for name, size in sizes.items() if not _is_there(folder / name, size)}
    needed, free = sum(wanted.values()) + _SPARE, shutil.disk_usage(folder).free
    if needed > free:
        raise UserError(
            f"{remote}: its copy needs {needed / 1e9:.1f} GB, and {folder} has {free / 1e9:.1f} GB free; "
            "free some space, or set TTFNET_CACHE to another folder"
        )
    others = [ANNOTATIONS, *map(list_of, sizes)]
    names = [*(name for name in others if not (folder / name).is_file()), *wanted]
    with ProgressMeter("copy shards", len(names)) as meter, concurrent.futures.ThreadPoolExecutor(_PARALLEL) as pool:
        for done, _ in enumerate(pool.map(lambda name: _download(remote / name, folder / name), names), start=1):
            meter.update(done)
    aside.replace(folder / INDEX)


def _is_there(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size


def _download(remote: RemotePath, file: Path) -> None:
    try:
        with new_file_by_name(file) as temporary:
            remote.download(temporary)
    except FileNotFoundError as error:
        raise UserError(f"{remote}: cannot be read ({error.strerror}); pack the images again") from None
