"""Fields of a protocol buffer's message, written byte by byte, where the package that has the message need not be installed."""

from __future__ import annotations


def field(number: int, content: bytes) -> bytes:
    """A field of bytes, a text or a message inside a message."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit is set if more bytes follow."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])
