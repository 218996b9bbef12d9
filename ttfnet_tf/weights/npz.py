"""Reads `.npz` files that are not trusted: nothing is unpickled, and a header cannot ask for more memory than the file has values."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO

import numpy as np

LARGEST_COMPRESSED = 2**30  # bytes that the compressed arrays of one file may become; a plain array is never larger than its file


class NotArrays(ValueError):
    """A file that is not an `.npz` of plain arrays; the message completes "the file ..."."""


def read_npz(path: str | Path, *, largest_compressed: int = LARGEST_COMPRESSED) -> dict[str, np.ndarray]:
    """Name -> array.

    Args:
        path: the file.
        largest_compressed: bytes that all compressed arrays together may become.

    Raises:
        OSError: it cannot be opened.
        NotArrays: it is damaged, encrypted, or holds something else than plain arrays.
    """
    with open(path, "rb") as file:
        try:
            return _read(file, largest_compressed)
        except NotArrays:
            raise
        except Exception:  # zipfile, zlib and NumPy raise a dozen classes for damaged files
            raise NotArrays("is no archive of arrays, or is damaged") from None


def _read(file: IO[bytes], largest_compressed: int) -> dict[str, np.ndarray]:
    if file.read(6) == b"\x93NUMPY":
        raise NotArrays("holds a single array; it must be an .npz file of named arrays")
    size = file.seek(0, 2)
    if not zipfile.is_zipfile(file):
        raise NotArrays("is not an .npz file of plain arrays")
    with zipfile.ZipFile(file) as archive:
        members = [one for one in archive.infolist() if not one.is_dir()]
        plain = sum(one.file_size for one in members if one.compress_type == zipfile.ZIP_STORED)
        compressed = sum(one.file_size for one in members if one.compress_type != zipfile.ZIP_STORED)
        if plain > size or compressed > largest_compressed:
            raise NotArrays(f"claims arrays of {(plain + compressed) / 1e9:.3g} GB")
        return {one.filename.removesuffix(".npy"): _read_array(archive, one) for one in members}


def _read_array(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.flag_bits & 1:
        raise NotArrays(f"has an encrypted member ({member.filename!r})")
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version not in ((1, 0), (2, 0)):
            raise NotArrays(f"has an array of an unknown version ({member.filename!r})")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, is_fortran, dtype = read_header(stream)
        if dtype.hasobject or dtype.kind not in "biufcSUV":
            raise NotArrays(f"holds Python objects ({member.filename!r}), which are not read")
        if not all(type(side) is int and side >= 0 for side in shape) or math.prod(shape) * dtype.itemsize > member.file_size:
            raise NotArrays(f"claims {member.filename!r} of shape {str(tuple(shape))[:80]}, for which it is too short")
        content = bytearray(math.prod(shape) * dtype.itemsize)
        view, filled = memoryview(content), 0
        while filled < len(content):
            count = stream.readinto(view[filled:])  # type: ignore[attr-defined]  # streams of zipfile have it
            if not count:
                raise NotArrays(f"ends inside {member.filename!r}")
            filled += count
        stream.read()  # to the end, where the checksum is compared
    array = np.frombuffer(content, dtype) if dtype.itemsize and content else np.empty(math.prod(shape), dtype)
    return array.reshape(shape, order="F" if is_fortran else "C")
