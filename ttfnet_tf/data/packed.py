"""A packed folder, as `ttfnet data pack` writes it: images of one annotation file in a few large files, found by their names.

index.json                         what is packed: the fingerprint of the annotations, categories, and every shard with its size
annotations.json                   the annotation file, byte for byte
shard-00000-of-00008.tfrecord      images, each a `tf.train.Example` with the features of TensorFlow's Object Detection API
shard-00000-of-00008.json          where its images are: a row of `FIELDS` for each

An image in a shard is the file as it was where TensorFlow decodes it to the pixels of our reader, else a PNG file of those pixels.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import weakref
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.json_text import is_integer, parse_json
from ttfnet_tf.locations import RemotePath, location

INDEX, ANNOTATIONS = "index.json", "annotations.json"
WRITER = "ttfnet data pack"
VERSION = 1
# Of an image: name in the annotations; offset of its record in bytes; offset, length and zlib.crc32 of the image file within the shard;
# its (height, width) as it is read, and the EXIF orientation that is not yet applied.
FIELDS = ("file_name", "record", "start", "length", "checksum", "height", "width", "orientation")
_opened: weakref.WeakSet[PackedFolder] = weakref.WeakSet()  # to find which shard TensorFlow means by "corrupted record at <offset>"


@dataclass(frozen=True)
class PackedImage:
    """One image of a packed folder; stands where the path of an image file stands."""

    folder: PackedFolder
    file_name: str
    position: int  # in `folder.table`; -1 if the folder has no such image

    @property
    def name(self) -> str:
        return Path(self.file_name).name

    @property
    def suffix(self) -> str:
        return Path(self.file_name).suffix

    def __str__(self) -> str:
        return f"{self.folder.path}/{self.file_name}"

    def is_file(self) -> bool:
        return self.position >= 0

    def read_bytes(self) -> bytes:
        """The image file.

        Raises:
            UserError: the shard is damaged.
            OSError: it cannot be read, or the folder has no such image.
        """
        if not self.is_file():
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self))
        shard, _, start, length, checksum = self.folder.table[self.position, :5].tolist()
        data = os.pread(self.folder.descriptor(shard), length, start)
        if len(data) != length or zlib.crc32(data) != checksum:
            raise damaged(self.folder.shards[shard])
        return data


class PackedFolder:
    """A packed folder, opened and checked; `folder / file_name` is an image of it.

    Args:
        path: the folder.

    Attributes:
        shards: the files, in order.
        table: int64 [N, 8], of each image the position of its shard, then `FIELDS` from "record" on.

    Raises:
        UserError: it is not complete, or its files are damaged.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        index = read_index(self.path)
        if not index.get("complete"):
            raise UserError(f"{self.path}: is not packed to the end; run the same {WRITER} again")
        self.shards: list[Path] = []
        self._positions: dict[str, int] = {}
        numbers = []
        for shard in index["shards"]:
            self.shards.append(self.path / shard["file"])
            check_size(self.shards[-1], shard["bytes"])
            for row in read_rows(self.path, shard["file"], shard["images"], shard["bytes"]):
                self._positions[row[0]] = len(numbers)
                numbers.append((len(self.shards) - 1, *row[1:]))
        self.table = np.array(numbers, np.int64).reshape(-1, len(FIELDS))
        self._descriptors: dict[int, int] = {}
        weakref.finalize(self, _close, self._descriptors)
        _opened.add(self)

    @property
    def annotations(self) -> Path:
        """The annotation file that came with the images."""
        return self.path / ANNOTATIONS

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, file_name: str) -> PackedImage:
        return PackedImage(self, file_name, self._positions.get(file_name, -1))

    def is_dir(self) -> bool:
        return True

    def __fspath__(self) -> str:
        return str(self.path)

    def positions(self, file_names: Iterable[str]) -> np.ndarray:
        """int64, of each name the row of `table`; -1 for an image that the folder does not have."""
        return np.array([self._positions.get(name, -1) for name in file_names], np.int64)

    def descriptor(self, shard: int) -> int:
        """An open file of a shard."""
        if shard not in self._descriptors:
            self._descriptors[shard] = os.open(self.shards[shard], os.O_RDONLY)
        return self._descriptors[shard]

    def images_at(self, offset: int) -> Iterator[PackedImage]:
        """The images whose record holds an offset of a shard, in any of them, up to the beginning of its image file."""
        names = list(self._positions)
        for position in np.flatnonzero((self.table[:, 1] <= offset) & (offset <= self.table[:, 2])).tolist():
            yield PackedImage(self, names[position], position)


def is_packed(path: str | Path | RemotePath) -> bool:
    """Whether a folder is one that `ttfnet data pack` has written."""
    try:
        return _is_ours(parse_json((location(path) / INDEX).read_bytes()))
    except (OSError, ValueError):
        return False


def read_index(folder: Any, name: str = INDEX) -> dict[str, Any]:
    """index.json of a packed folder, a path or a URL; it may still have another name.

    Raises:
        UserError: it is missing, damaged or of a later version.
    """
    file = folder / name
    try:
        index = parse_json(file.read_bytes())
    except (OSError, ValueError):
        raise UserError(f"{file}: is missing or damaged; pack the images again into another folder") from None
    if not _is_ours(index):
        raise UserError(f"{file}: was not written by {WRITER}; name another folder")
    if index.get("version") != VERSION:
        raise UserError(f"{file}: is of version {index.get('version')}; this ttfnet reads version {VERSION}")
    shards = index.get("shards")
    if not isinstance(shards, list) or not all(_is_shard(one, bool(index.get("complete"))) for one in shards):
        raise UserError(f"{file}: is damaged; pack the images again into another folder")
    return index


def _is_shard(shard: Any, is_complete: bool) -> bool:
    if not isinstance(shard, dict) or not isinstance(shard.get("file"), str) or "/" in shard["file"]:
        return False
    return is_integer(shard.get("images")) and (is_integer(shard.get("bytes")) or not is_complete)


def read_rows(folder: Any, shard: str, count: int, size: int) -> list[list]:
    """The rows of the images of a shard of `size` bytes, in its order; `folder` is a path or a URL.

    Raises:
        UserError: the file is missing or damaged.
    """
    file = folder / list_of(shard)
    try:
        content = parse_json(file.read_bytes())
        rows = content["images"]
        if content["fields"] != list(FIELDS) or len(rows) != count or not all(_is_row(row, size) for row in rows):
            raise ValueError
    except (OSError, ValueError, TypeError, KeyError):
        raise UserError(f"{file}: is missing or damaged; delete it and {shard}, and run the same ttfnet data pack again") from None
    return rows


def list_of(shard: str) -> str:
    """The name of the file beside a shard that says where its images are."""
    return f"{shard.removesuffix('.tfrecord')}.json"


def _is_row(row: Any, size: int) -> bool:
    if not (isinstance(row, list) and len(row) == len(FIELDS) and isinstance(row[0], str) and all(map(is_integer, row[1:]))):
        return False
    record, start, length, checksum, height, width, orientation = row[1:]
    is_inside = 0 <= record < start and 0 < length <= size - start
    return is_inside and 0 <= checksum < 2**32 and min(height, width) > 0 and height * width <= MAX_PIXELS and 1 <= orientation <= 8


def check_size(shard: Path, size: Any) -> None:
    """Raises UserError if a shard is not there or does not have as many bytes as it was written with."""
    try:
        found = os.stat(shard).st_size
    except OSError as error:
        raise UserError(f"{shard}: cannot be read ({error.strerror}); delete index.json of its folder and pack again") from None
    if found != size:
        raise UserError(f"{shard}: has {found} bytes, not {size} as packed; copy it again, or delete it and pack again")


def damaged(shard: Path) -> UserError:
    """The error for a shard with a wrong checksum."""
    return UserError(f"{shard}: is damaged (a checksum is wrong); copy it again, or delete it and run the same ttfnet data pack again")


def damage_of(message: str) -> UserError | None:
    """What TensorFlow means by "corrupted record at <offset>", which does not name the file; and shards that it cannot read."""
    if (gone := re.search(r"(\S+shard-\d+-of-\d+\.tfrecord); (No such file[a-z ]*|Permission denied)", message)) is not None:
        return UserError(f"{gone[1]}: cannot be read ({gone[2]}); workers of data.service must see the folder under the same name")
    match = re.search(r"record at (\d+)", message)
    for folder in list(_opened) if match is not None else ():
        found = list(folder.images_at(int(match[1])))  # type: ignore[index]
        for image in found:
            try:
                image.read_bytes()
            except UserError as error:
                return error
        if len(found) == 1:  # damaged beside the image file
            return damaged(folder.shards[folder.table[found[0].position, 0]])
        if found:
            return UserError(f"{folder.path}: one of its shards is damaged; copy them again")
    return None


def _is_ours(index: Any) -> bool:
    return isinstance(index, dict) and index.get("written_by") == WRITER


def _close(descriptors: dict[int, int]) -> None:
    for descriptor in descriptors.values():
        os.close(descriptor)


@functools.lru_cache(maxsize=8)
def _opened_folder(path: str, changed: int) -> PackedFolder:
    return PackedFolder(path)


def open_packed(path: str | Path) -> PackedFolder:
    """The packed folder, read once in a process as long as its index does not change.

    Raises:
        UserError: it is not complete, or its files are damaged.
    """
    return _opened_folder(os.path.abspath(path), os.stat(Path(path) / INDEX).st_mtime_ns)
