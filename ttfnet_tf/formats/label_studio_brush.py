"""Masks of Label Studio's brush: bytes of a packed run-length code of RGBA pixels, decoded within stated bounds.

Reference: the code of thi.ng/rle-pack, which Label Studio's front end uses. 32 bits: number of values; 5: bits of a value - 1; four times
4: bits of a length - 1. Then blocks: 1 bit (1: one value repeated, 0: values one by one), 2: which of the four sizes, the length - 1, and
the value or values.
"""

from __future__ import annotations

import numpy as np

CHANNELS = 4


class BrokenBrush(ValueError):
    """Bytes that are no mask of the expected size."""


class _Bits:
    """Whole numbers of any number of bits, read one after another."""

    def __init__(self, data: bytes):
        self._data, self._place = data, 0

    def read(self, size: int) -> int:
        first, last = self._place, self._place + size
        if last > 8 * len(self._data):
            raise BrokenBrush("cut short")
        self._place = last
        part = int.from_bytes(self._data[first // 8 : (last + 7) // 8], "big")
        return (part >> (-last % 8)) & ((1 << size) - 1)


def brush_mask(data: bytes, size: tuple[int, int]) -> np.ndarray:
    """bool [H, W]: the pixels that are not transparent.

    Args:
        data: of the key `rle`.
        size: (H, W) of the image.

    Raises:
        BrokenBrush: the bytes do not hold H x W pixels.
    """
    bits = _Bits(data)
    count = bits.read(32)
    if count != CHANNELS * size[0] * size[1]:
        raise BrokenBrush(f"holds {count / CHANNELS:g} pixels")
    word = bits.read(5) + 1
    if word > 8:
        raise BrokenBrush(f"has values of {word} bits")
    sizes = [bits.read(4) + 1 for _ in range(4)]
    values, place = np.zeros(count, np.uint8), 0
    while place < count:
        is_run = bits.read(1)
        end = place + 1 + bits.read(sizes[bits.read(2)])
        if end > count:
            raise BrokenBrush("has a run beyond its end")
        if is_run:
            values[place:end] = bits.read(word)
        else:
            values[place:end] = [bits.read(word) for _ in range(end - place)]
        place = end
    return values.reshape(*size, CHANNELS)[..., CHANNELS - 1] > 0
