"""The structure of a JPEG file, from its bytes alone: nothing is decoded.

`export/image_decoder.py` applies the same rules in a graph. Both must accept the same files.

Reference: ITU-T T.81, annex B, read as libjpeg's `jdmarker.c` does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np

from ttfnet_tf.data.image_headers import MAX_MARKERS, DamagedImageError, exif_orientation

MAX_SCANS = 100  # of a progressive JPEG; encoders write about 10
MAX_SCANNED = 2**30  # scans after the first x pixels of a JPEG: every scan goes over the whole image

FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, with Huffman codes
SKIPPED = (0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0))  # segments with a length
HARMLESS = (0xDC, 0xFE, *range(0xE0, 0xF0))  # those of them that may follow a complete image
ALONE = (0x01, *range(0xD0, 0xD8))  # markers without a length
_MARKER = re.compile(rb"\xff[^\x00\xff]", re.DOTALL)
_ENDS_SCAN = np.array([byte not in (0x00, 0xFF, *range(0xD0, 0xD8)) for byte in range(256)])  # after a byte 0xff
_SEARCHED, _MAX_SEARCHED = 1 << 15, 1 << 21  # bytes of a scan that are searched at first, and at most, at a time


@dataclass
class JpegHeader:
    """A JPEG file up to its end marker.

    Attributes:
        size: (height, width) in pixels, as stored.
        channels: 1 grey, 3 colours, 4 inks.
        orientation: of the EXIF structure, 1..8.
        kept: (start, end) of the segments before the first scan that decoding needs: all but notes and profiles.
        scan: offset of the first scan's header.
        end: offset after the end marker.
    """

    size: tuple[int, int] = (0, 0)
    channels: int = 0
    orientation: int = 1
    kept: list[tuple[int, int]] = field(default_factory=list)
    scan: int = 0
    end: int = 0


class _JpegScans:
    """What the scans of a JPEG have brought so far."""

    def __init__(self, ids: bytes, pixels: int, is_progressive: bool):
        self.ids, self.pixels, self.is_progressive = ids, pixels, is_progressive
        self.count = 0
        # Bits that are missing of the first ten coefficients of every channel: decoders guess them, each in its own way.
        self.missing = [[1] * (10 if is_progressive else 1) for _ in ids]

    def add(self, segment: bytes) -> None:
        """Takes the header of a scan, from its marker on."""
        number = segment[4] if len(segment) > 4 else 0
        if not 1 <= number <= 4 or len(segment) < 8 + 2 * number:
            raise DamagedImageError("a scan without a header")
        self.count += 1
        if self.count > MAX_SCANS or (self.count - 1) * self.pixels > MAX_SCANNED:
            raise DamagedImageError(f"too many scans: {self.count} of {self.pixels} pixels")
        first, last, low = segment[5 + 2 * number], segment[6 + 2 * number], segment[7 + 2 * number] & 15
        for row, one in zip(self.missing, self.ids):
            if one in segment[5 : 5 + 2 * number : 2]:
                if self.is_progressive:
                    row[first : last + 1] = [low] * len(row[first : last + 1])
                else:
                    row[0] = 0

    @property
    def is_complete(self) -> bool:
        return not any(any(row) for row in self.missing)


def jpeg_header(data: bytes) -> JpegHeader:
    """Walks the markers of a JPEG file as libjpeg does, to its end.

    Raises:
        DamagedImageError: the file is cut short, has no size, lacks scans, or has a marker where none can be. Decoders differ on those.
    """
    header, scans, place, is_exif_found = JpegHeader(), None, 2, False
    for _ in range(MAX_MARKERS):
        found = _MARKER.search(data, place)
        if found is None:
            raise DamagedImageError("cut short")
        start, marker = found.start(), data[found.start() + 1]
        is_scanned = scans is not None and scans.count > 0
        is_over = scans is not None and is_scanned and not scans.is_progressive and scans.is_complete
        if is_scanned and data[place:start].strip(b"\xff"):
            raise DamagedImageError("bytes between its scans")
        if marker == 0xD9:
            if scans is None or not scans.is_complete:
                raise DamagedImageError("without all of its scans")
            header.end = start + 2
            return header
        if marker in ALONE and not is_scanned:
            place = start + 2
            continue
        length = int.from_bytes(data[start + 2 : start + 4], "big")
        place = start + 2 + length
        segment = data[start:place]
        is_kept = marker in (0xC4, 0xCC, 0xDB, 0xDD, *FRAMES) or (marker == 0xE0 or marker == 0xEE)
        if marker == 0xDA and scans is not None and not is_over:
            header.scan = header.scan or start
            scans.add(segment)
            place = _end_of_scan(data, place)
            continue
        if marker in FRAMES and scans is None:
            scans = _frame(header, segment, marker)
        elif marker not in SKIPPED or length < 2:
            raise DamagedImageError(f"marker {marker:02x} out of place")
        elif is_over and marker not in HARMLESS:
            raise DamagedImageError(f"marker {marker:02x} after its scans")
        elif not is_scanned and not is_exif_found and marker == 0xE1 and segment[4:10] == b"Exif\0\0":
            header.orientation, is_exif_found = exif_orientation(data, start + 10), True
        if is_kept and not is_scanned:
            header.kept.append((start, place))
    raise DamagedImageError(f"more than {MAX_MARKERS} markers")


def _end_of_scan(data: bytes, place: int) -> int:
    """Offset of the first marker from `place` on that ends a scan.

    This is most of the time that a header takes. NumPy gives the interpreter's lock back meanwhile; a regular expression, as fast, would
    not.
    """
    values, step = np.frombuffer(data, np.uint8), _SEARCHED
    while place < len(data) - 1:
        starts = np.flatnonzero(np.equal(values[place : min(place + step, len(data) - 1)], 0xFF)) + place
        ends = starts[_ENDS_SCAN[values[starts + 1]]]
        if len(ends):
            return int(ends[0])
        place, step = place + step, min(4 * step, _MAX_SEARCHED)
    raise DamagedImageError("cut short")


def _frame(header: JpegHeader, segment: bytes, marker: int) -> _JpegScans:
    if len(segment) < 10 or segment[9] not in (1, 3, 4) or len(segment) != 10 + 3 * segment[9]:
        raise DamagedImageError("a frame that is not of 1, 3 or 4 channels")
    if segment[4] != 8:
        raise DamagedImageError(f"{segment[4]} bits a channel")
    header.size = int.from_bytes(segment[5:7], "big"), int.from_bytes(segment[7:9], "big")
    if not all(header.size):
        raise DamagedImageError("a header without a size")
    header.channels = segment[9]
    return _JpegScans(segment[10::3], header.size[0] * header.size[1], marker == 0xC2)
