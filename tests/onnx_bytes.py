"""ONNX files byte by byte, as protocol buffers are encoded; needs no package of ONNX.

Numbers are those of fields in onnx.proto: ModelProto ir_version 1, graph 7, opset_import 8, metadata_props 14; GraphProto node 1, name 2,
initializer 5; TensorProto external_data 13, data_location 14; NodeProto attribute 5; AttributeProto t 5, g 6.
"""

from __future__ import annotations

import json

CARD = {
    "classes": [{"name": "cat", "category_id": 3}],
    "image_size": [64, 64],
    "score_threshold": 0.1,
    "top_k": 5,
    "config": {"data": {"image_size": [64, 64]}, "decode": {"top_k": 5, "score_threshold": 0.1}},
    "training": {"step": 1},
}


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def field(number: int, content: bytes | int) -> bytes:
    """A field of bytes or of a number."""
    if isinstance(content, int):
        return varint(8 * number) + varint(content)
    return varint(8 * number + 2) + varint(len(content)) + content


def text_entry(key: str, value: str) -> bytes:
    """A StringStringEntryProto."""
    return field(1, key.encode()) + field(2, value.encode())


def onnx_model(*, graph: bytes = b"", texts: dict[str, str] | None = None, opset: int = 17) -> bytes:
    """A model with a model card of one class, unless `texts` are others."""
    texts = {"model_card.json": json.dumps(CARD)} if texts is None else texts
    entries = b"".join(field(14, text_entry(*one)) for one in texts.items())
    return field(1, 8) + field(7, field(2, b"detector") + graph) + field(8, field(2, opset)) + entries


def outside(path: str) -> bytes:
    """A tensor whose numbers are in another file."""
    return field(2, 1) + field(8, b"weights") + field(13, text_entry("location", path)) + field(14, 1)
