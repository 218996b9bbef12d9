"""Text files inside an .onnx file: its labels and its model card, as `metadata_props`.

An .onnx file is a protocol buffer. Its fields are read and written here one by one, so that a runtime alone is enough to use a model (the
package onnx is not needed), and a file that names other files is refused before a runtime opens it.

Reference: field numbers of onnx/onnx.proto, https://github.com/onnx/onnx, version 1.17; protocol buffers' encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Union

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_bytes
from ttfnet_tf.inference.card import checked_card
from ttfnet_tf.json_text import parse_json
from ttfnet_tf.protobuf_fields import field

CARD = "model_card.json"  # see `export.model_card.texts`
_LARGEST = 2**31  # bytes of a protocol buffer
_DEEPEST = 32  # graphs in graphs
_METADATA_PROPS = 14  # of a ModelProto; each is a StringStringEntryProto with these two fields
_KEY, _VALUE = 1, 2
_GRAPH = 7  # of a ModelProto
_DATA_LOCATION, _EXTERNAL = 14, 1  # of a TensorProto: its numbers are in another file
_EXTERNAL_DATA = 13
# Message -> field -> message, for all that may hold a tensor.
_MESSAGES = {
    "model": {_GRAPH: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_Value = Union[int, memoryview]


def with_files(content: bytes, texts: Mapping[str, str]) -> bytes:
    """Appends text files to a model.

    Args:
        content: an .onnx model without metadata of these names.
        texts: file name -> content.
    """
    entries = [field(_KEY, name.encode()) + field(_VALUE, text.encode()) for name, text in texts.items()]
    return content + b"".join(field(_METADATA_PROPS, entry) for entry in entries)


def replace_files(path: str | Path, texts: Mapping[str, str]) -> None:
    """Replaces text files of a model; those that `texts` does not name stay.

    Args:
        path: an .onnx file with text files; a reader sees the old model or the new one.
        texts: file name -> content.

    Raises:
        UserError: there is no such file, it is no model, or it cannot be written.
    """
    path = Path(path)
    content = read_model(path)
    merged = {**_texts(content), **texts}
    model = b"".join(whole for number, _, whole in _fields(memoryview(content)) if number != _METADATA_PROPS)
    write_bytes(path, with_files(model, merged))


def read_card(path: str | Path) -> dict[str, Any]:
    """The model card of a model, see `export.model_card.model_card`.

    Raises:
        UserError: there is no such file, it is no model, it names other files, or it has no card.
    """
    return card_of(path, read_model(path))


def card_of(path: str | Path, content: bytes) -> dict[str, Any]:
    """The model card in the content of a file; `path` is for the message.

    Raises:
        UserError: it has no card.
    """
    try:
        return checked_card(parse_json(_texts(content)[CARD]))
    except (KeyError, ValueError):
        raise UserError(f"{path}: has no {CARD}; name an .onnx file that this package has exported") from None


def read_model(path: str | Path) -> bytes:
    """The content of a file that is an ONNX model in itself.

    Raises:
        UserError: there is no such file, it is no model, or some of its numbers are in other files.
    """
    try:
        size = Path(path).stat().st_size
        if size > _LARGEST:
            raise UserError(f"{path}: has more than 2 GB, which no .onnx file has; name one that this package has exported")
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    try:
        names_files = _names_files(memoryview(content), "model", 0)
        has_graph = any(number == _GRAPH for number, _, _ in _fields(memoryview(content)))
    except ValueError as error:
        raise UserError(f"{path}: is no ONNX model ({error}); name an .onnx file that this package has exported") from None
    if not has_graph:
        raise UserError(f"{path}: is no ONNX model (it has no graph); name an .onnx file that this package has exported")
    if names_files:
        raise UserError(f"{path}: keeps numbers in other files, which is refused; save the model as one file, without external data")
    return content


def _texts(content: bytes) -> dict[str, str]:
    """The metadata of a model, name -> content.

    Raises:
        ValueError: it is no text.
    """
    found = {}
    for number, entry, _ in _fields(memoryview(content)):
        if number == _METADATA_PROPS and isinstance(entry, memoryview):
            parts = {key: bytes(value) for key, value, _ in _fields(entry) if isinstance(value, memoryview)}
            found[parts.get(_KEY, b"").decode()] = parts.get(_VALUE, b"").decode()
    return found


def _names_files(content: memoryview, message: str, depth: int) -> bool:
    """Whether a tensor in a message is in another file."""
    if depth > 4 * _DEEPEST:
        raise ValueError("too many graphs in each other")
    for number, value, _ in _fields(content):
        if message == "tensor":
            if number == _EXTERNAL_DATA or (number == _DATA_LOCATION and value == _EXTERNAL):
                return True
        elif (inner := _MESSAGES[message].get(number)) and isinstance(value, memoryview) and _names_files(value, inner, depth + 1):
            return True
    return False


def _fields(content: memoryview) -> Iterator[tuple[int, _Value, memoryview]]:
    """(number, value, all bytes of it) of each field of a message.

    Raises:
        ValueError: it is no message.
    """
    place = 0
    while place < len(content):
        start = place
        key, place = _varint_at(content, place)
        number, kind = key >> 3, key & 7
        value: _Value
        if kind == 0:
            value, place = _varint_at(content, place)
        elif kind in (1, 2, 5):
            length, place = _varint_at(content, place) if kind == 2 else (8 if kind == 1 else 4, place)
            value, place = content[place : place + length], place + length
        else:
            raise ValueError("it has fields of an unknown type")
        if place > len(content):
            raise ValueError("it is cut short")
        if not number:
            raise ValueError("it has a field without number")
        yield number, value, content[start:place]


def _varint_at(content: memoryview, place: int) -> tuple[int, int]:
    """The number at a place, seven bits a byte with the lowest first, and the place after it."""
    number = 0
    for shift in range(0, 70, 7):
        if place >= len(content):
            raise ValueError("it is cut short")
        byte = content[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise ValueError("it has a number of more than 64 bits")
