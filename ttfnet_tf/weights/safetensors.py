"""The safetensors format: eight bytes of length, a JSON header, then the raw values one after the other.

Nothing in such a file can run, so it is read with NumPy alone. Every figure of the header is checked before it is used.

Reference: https://github.com/huggingface/safetensors, section "Format".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ttfnet_tf.errors import UserError

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "U8": "u1", "BOOL": "?"}
_NAMES = {"<f8": "F64", "<f4": "F32", "<f2": "F16", "<i8": "I64", "<i4": "I32", "|u1": "U8", "|b1": "BOOL"}
_LONGEST_HEADER = 100_000_000  # bytes, of the format


def read_safetensors(path: str | Path) -> dict[str, np.ndarray]:
    """Name -> array; BF16 becomes float32, which holds every value of it.

    Raises:
        OSError: it cannot be read.
        UserError: the file is cut short, too long, or its header does not describe it.
    """
    content = Path(path).read_bytes()
    try:
        header, data = _split(content)
        _check_layout(header, len(data))
        return {name: _array(entry, data) for name, entry in header.items()}
    except (ValueError, RecursionError) as error:  # RecursionError: JSON nested without end
        raise UserError(f"{path}: is not a whole safetensors file ({error}); fetch it again") from None


def write_safetensors(file: BinaryIO, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as they are, in the order of their names.

    Args:
        file: open for writing.
        tensors: float64, float32, float16, int64, int32, uint8 or bool.

    Raises:
        ValueError: an array of another type.
    """
    header: dict[str, Any] = {}
    chunks, end = [], 0
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name]).reshape(np.shape(tensors[name]))  # the former makes scalars vectors
        code = array.dtype.newbyteorder("<").str
        if code not in _NAMES:
            raise ValueError(f"{name} is of type {array.dtype}, received for a safetensors file")
        chunks.append(array.astype(code, copy=False).tobytes())
        begin, end = end, end + len(chunks[-1])
        header[name] = {"dtype": _NAMES[code], "shape": list(array.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode("utf-8")
    text += b" " * (-len(text) % 8)  # so that the values start at a multiple of 8
    file.write(len(text).to_bytes(8, "little") + text)
    for chunk in chunks:
        file.write(chunk)


def _split(content: bytes) -> tuple[dict[str, dict[str, Any]], memoryview]:
    """(tensor entries of the header, the bytes behind it)."""
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or not 2 <= length <= min(_LONGEST_HEADER, len(content) - 8):
        raise ValueError("its header has no possible length")
    try:
        header = json.loads(content[8 : 8 + length].decode("utf-8"), object_pairs_hook=_without_repeats)
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError("its header is not JSON") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not an object")
    header.pop("__metadata__", None)
    return header, memoryview(content)[8 + length :]


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        raise ValueError("its header names something twice")
    return entries


def _check_layout(header: dict[str, dict[str, Any]], size: int) -> None:
    """Every entry as long as its shape says; together they cover the data with neither gap nor overlap."""
    spans = []
    for name, entry in header.items():
        shape, span = (entry.get(key) if isinstance(entry, dict) else None for key in ("shape", "data_offsets"))
        if not _are_counts(shape) or not _are_counts(span) or len(span) != 2:
            raise ValueError(f"the entry of {name} is damaged")
        if not isinstance(entry.get("dtype"), str) or entry["dtype"] not in _DTYPES:
            raise ValueError(f"{name} is of the unknown type {entry.get('dtype')}")
        if span[1] - span[0] != math.prod(shape) * np.dtype(_DTYPES[entry["dtype"]]).itemsize:
            raise ValueError(f"{name} is not as long as its shape says")
        spans.append(tuple(span))
    end = 0
    for begin, after in sorted(spans):
        if begin != end:
            raise ValueError("its tensors do not lie one after the other")
        end = after
    if end != size:
        raise ValueError(f"its tensors take {end} bytes, found {size}")


def _are_counts(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def _array(entry: dict[str, Any], data: memoryview) -> np.ndarray:
    begin, end = entry["data_offsets"]
    array = np.frombuffer(data[begin:end], _DTYPES[entry["dtype"]]).reshape(entry["shape"])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        return (array.astype("<u4") << 16).view("<f4")
    return array
