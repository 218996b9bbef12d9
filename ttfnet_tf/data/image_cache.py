"""Decoded and resized images, kept for the next epoch: in memory, or in one file on a disk.

Only what comes before the random changes is kept, so that an epoch with the cache equals one without it, bit for bit. Every image has its
place from the start; a cache that does not fit is refused before the first step. An image of a file on a disk counts when its checksum is
right: one that a kill or a power failure has cut short is read again from its own file.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import weakref
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.transforms import new_pixels
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_json
from ttfnet_tf.json_text import read_json
from ttfnet_tf.locations import RemotePath, cache_folder

_ROW = np.dtype([("checksum", "<u4"), ("height", "<i4"), ("width", "<i4")])  # of the image in its own file; height 0: not yet there
_SPARE = 1 << 29  # bytes of memory or disk that stay free
_VERSION = 1  # of what is stored; another one is another folder
_caches: weakref.WeakKeyDictionary[CocoSplit, dict[tuple, ImageCache]] = weakref.WeakKeyDictionary()


class ImageCache:
    """Images by their index in a split. Threads and processes may use it at the same time: they write the same.

    Args:
        pixels: uint8 [N, H, W, 3], in memory or in a file.
        rows: `_ROW` [N], beside it.
        checked: whether checksums are computed and compared.
    """

    def __init__(self, pixels: np.ndarray, rows: np.ndarray, *, checked: bool):
        self._pixels, self._rows, self._checked = pixels, rows, checked

    def get(self, index: int) -> tuple[np.ndarray, tuple[int, int]] | None:
        """(uint8 [H, W, 3], (height, width) of the image in its own file), or None where it is not kept yet."""
        checksum, height, width = self._rows[index].item()
        if not height:
            return None
        image = new_pixels((self._pixels.shape[1], self._pixels.shape[2]))
        np.copyto(image, self._pixels[index])
        if self._checked and zlib.crc32(image.data) != checksum:
            return None
        return image, (height, width)

    def put(self, index: int, image: np.ndarray, original_size: tuple[int, int]) -> None:
        """Keeps an image.

        Args:
            index: of the image in its split.
            image: uint8 [H, W, 3].
            original_size: (height, width) of the image in its own file.
        """
        self._pixels[index] = image
        self._rows[index] = (zlib.crc32(image.data) if self._checked else 0, *original_size)  # last: from now on it counts

    def __contains__(self, index: int) -> bool:
        """Whether an image is kept; in a file it may still be cut short."""
        return bool(self._rows["height"][index] > 0)

    def __len__(self) -> int:
        """Number of images that are kept."""
        return int((self._rows["height"] > 0).sum())


def cache_of(split: CocoSplit, kind: str, image_size: tuple[int, int], keep_ratio: bool = False) -> ImageCache | None:
    """The cache of a split, the same in every call as long as the split is in use.

    Args:
        split: whose images are kept.
        kind: "none", "ram" or "disk".
        image_size: (H, W) of the network's input in pixels.
        keep_ratio: whether images keep their ratio, see `boxes.fitted_size`.

    Raises:
        UserError: it does not fit, or its folder cannot be written.
    """
    if kind == "none":
        return None
    known = _caches.setdefault(split, {})
    key = kind, image_size, keep_ratio
    if key not in known:
        known[key] = _in_memory(split, image_size) if kind == "ram" else _on_disk(split, image_size, keep_ratio)
    return known[key]


def _in_memory(split: CocoSplit, image_size: tuple[int, int]) -> ImageCache:
    count = len(split.images)
    free = free_memory()
    _check_room("ram", count, image_size, free, f"{free / 1e9:.1f} GB of memory are free; set data.cache=disk or none")
    return ImageCache(np.empty([count, *image_size, 3], np.uint8), np.zeros(count, _ROW), checked=False)


def _on_disk(split: CocoSplit, image_size: tuple[int, int], keep_ratio: bool) -> ImageCache:
    count, shape = len(split.images), [len(split.images), *image_size, 3]
    folder = cache_folder() / "images" / f"{_fingerprint(split)[:16]}-{image_size[0]}x{image_size[1]}{'-letterbox' if keep_ratio else ''}"
    about = {"version": _VERSION, "images": count, "image_size": list(image_size), "annotations": str(split.annotations)}
    pixels, rows = folder / "pixels.bin", folder / "rows.bin"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not _is_complete(folder, about):
            for file in (pixels, rows):
                file.unlink(missing_ok=True)
            free = shutil.disk_usage(folder).free
            _check_room("disk", count, image_size, free, f"{folder} has {free / 1e9:.1f} GB free; free some space, or set TTFNET_CACHE")
            # Zeros in `rows`: nothing is kept yet. All blocks are taken now: a full disk would end the process later, at a write.
            _allocate(rows, count * _ROW.itemsize)
            _allocate(pixels, int(np.prod(shape)))
            write_json(folder / "about.json", about)
        return ImageCache(np.memmap(pixels, np.uint8, "r+", shape=tuple(shape)), np.memmap(rows, _ROW, "r+", shape=(count,)), checked=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror}); set TTFNET_CACHE to another folder, or data.cache=none") from None


def _is_complete(folder: Path, about: dict[str, Any]) -> bool:
    """Whether the files of a cache are there, as large as they must be."""
    height, width = about["image_size"]
    sizes = {"pixels.bin": about["images"] * height * width * 3, "rows.bin": about["images"] * _ROW.itemsize}
    try:
        is_same = read_json(folder / "about.json") == about
        return is_same and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError):
        return False


def _allocate(file: Path, size: int) -> None:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, size)
        else:
            os.truncate(descriptor, size)
    finally:
        os.close(descriptor)


def _check_room(kind: str, count: int, image_size: tuple[int, int], free: int, advice: str) -> None:
    height, width = image_size
    needed = count * (3 * height * width + _ROW.itemsize)
    if needed + _SPARE > free:
        raise UserError(f"data.cache={kind}: {count} images of {height} x {width} need {needed / 1e9:.1f} GB, {advice}")


def free_memory() -> int:
    """Bytes of memory that this process may still take, by the kernel and by the limit of its container; very large where unknown."""
    free = [1 << 62]
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free.append(1024 * int(next(line for line in lines if line.startswith("MemAvailable:")).split()[1]))
    for limit, used in (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes")):
        with contextlib.suppress(OSError, ValueError):  # "max" is no number
            root = Path("/sys/fs/cgroup")
            free.append(int((root / limit).read_text(encoding="ascii")) - int((root / used).read_text(encoding="ascii")))
    return max(0, min(free))


def _fingerprint(split: CocoSplit) -> str:
    """Of the image files of a split, by their names, sizes and times; packed ones by their checksums."""
    digest = hashlib.sha256()
    images = split.images
    if split.packed is not None:
        positions = split.packed.positions(images.names)
        digest.update(split.packed.table[positions].tobytes() + positions.tobytes())
    elif isinstance(images.folder, RemotePath):
        known = images.folder.known_files()
        digest.update(repr([str(images.folder), *((name, known.get(name)) for name in images.names)]).encode())
    else:
        for index, name in enumerate(images.names):
            with contextlib.suppress(OSError):  # a missing one, which may be skipped
                status = os.stat(images.file(index))
                digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
    if images.tiles is not None:
        digest.update(images.tiles.views.tobytes())
    digest.update(f"{len(images)}".encode())
    return digest.hexdigest()
