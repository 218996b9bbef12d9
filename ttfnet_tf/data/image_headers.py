"""Formats, sizes and structure of image files, from their bytes alone: nothing is decoded.

JPEG files have `jpeg_header.py`.

Reference: PNG: ISO/IEC 15948, section 5; EXIF 2.3, sections 4.5 and 4.6.
"""

from __future__ import annotations

import re
import zlib
from typing import Any

MAX_MARKERS = 512  # of a JPEG file, and entries of an EXIF directory / 2; bounds the time that a header can take
MAX_CHUNKS = 1_000_000  # of a PNG file; one of 50 million pixels has about 20,000
MAX_STRIPS = 200_000  # and tiles of a TIFF file
MAX_SLOW_BYTES = 10_000_000  # of netpbm files in text and of compressed BMP files, which Pillow decodes in Python
DEEP_LIMIT = 16  # an image of 16 bits a channel must have a value whose upper 8 bits reach this, else it has 12 bits or fewer

JPEG, PNG, BMP, GIF, WEBP, TIFF, PPM, TGA, AVIF = "JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "TGA", "AVIF"
HEIF = "HEIF"  # read where a package for it is installed, so `image_format` does not know it
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_CHUNKS = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # what decoding needs; others are notes, profiles and animations
_PNG_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}  # bits a channel of each colour type
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))  # x, y, steps of x, of y
_TGA_END = b"TRUEVISION-XFILE.\0"
_STARTS = (
    (JPEG, b"\xff\xd8\xff"),
    (PNG, PNG_SIGNATURE),
    (BMP, b"BM"),
    (GIF, b"GIF87a"),
    (GIF, b"GIF89a"),
    (TIFF, b"II*\0"),
    (TIFF, b"MM\0*"),
)
_TIFF_LISTS = (273, 279, 324, 325)  # offsets and sizes of strips and tiles
_PPM = re.compile(rb"P[1-6][\s#]")
# Recognised only to be named in the message.
_OTHERS = (
    ("a JPEG 2000 image", b"\0\0\0\x0cjP  "),
    ("a JPEG 2000 image", b"\xff\x4f\xff\x51"),
    ("a JPEG XL image", b"\0\0\0\x0cJXL "),
    ("a JPEG XL image", b"\xff\x0a"),
    ("a BigTIFF image", b"II+\0"),
    ("a BigTIFF image", b"MM\0+"),
    ("an OpenEXR image", b"v/1\x01"),
    ("a Radiance HDR image", b"#?RADIANCE"),
    ("a Photoshop document", b"8BPS"),
    ("a PDF document", b"%PDF"),
    ("a Windows icon", b"\0\0\1\0"),
    ("a ZIP archive", b"PK\x03\x04"),
)
_MOVIE_ATOMS = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_VIDEO_STARTS = (  # Matroska and WebM, MPEG, MPEG of cameras, Windows Media, Flash, Ogg, raw H.264
    b"\x1a\x45\xdf\xa3",
    b"\0\0\1\xba",
    b"\0\0\1\xb3",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
    b"FLV\1",
    b"OggS",
    b"\0\0\0\1\x67",
    b"YUV4MPEG2",
)
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_AVIF_BRANDS = (b"avif", b"avis")


class DamagedImageError(ValueError):
    """What is wrong with an image file, in a few words."""


def image_format(data: bytes) -> str | None:
    """The format of a file by its content, such as JPEG; None if it is not one that can be read."""
    for kind, start in _STARTS:
        if data.startswith(start):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return WEBP
    if data[4:8] == b"ftyp" and (data[8:12] in _AVIF_BRANDS or (data[8:12] in (b"mif1", b"msf1") and b"avif" in data[16:64])):
        return AVIF
    if _PPM.match(data):
        return PPM
    return TGA if data.endswith(_TGA_END) else None


def is_heif(data: bytes) -> bool:
    """Whether a file is a HEIC image, by its content."""
    return data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS


def foreign_format(data: bytes) -> str | None:
    """The name of a known format that is no image that can be read, with its article, such as "a video"; None for anything else."""
    if is_heif(data):
        return "a HEIC image"
    if data[4:8] in _MOVIE_ATOMS or data.startswith(_VIDEO_STARTS) or (data[:4] == b"RIFF" and data[8:12] == b"AVI "):
        return "a video"
    if any(data[place : place + 377 : 188] == b"GGG" for place in (0, 4)) or data[4:389:192] == b"GGG":  # transport streams: .ts, .mts
        return "a video"
    return next((name for name, start in _OTHERS if data.startswith(start)), None)


def png_contents(data: bytes) -> tuple[bytes, int]:
    """(a PNG file of the same pixels and nothing else, whose data is sound; EXIF orientation).

    Raises:
        DamagedImageError: the file is cut short, or libpng would refuse a chunk of it.
    """
    kept: dict[bytes, list[bytes]] = {name: [] for name in (b"IHDR", b"PLTE", b"IDAT")}
    place, orientation, previous = 8, 1, b""
    for number in range(MAX_CHUNKS):
        if previous == b"IEND":
            break
        length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        start, end = place + 8, place + 12 + length
        if end > len(data):
            raise DamagedImageError("cut short")
        if (name == b"IHDR") != (place == 8) or not name.isalpha():
            raise DamagedImageError("a chunk out of place")
        if not name[0] & 0x20:  # decoding needs it
            if zlib.crc32(memoryview(data)[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
                raise DamagedImageError(f"a wrong checksum of {name.decode()}")
            if name not in PNG_CHUNKS:
                raise DamagedImageError(f"an unknown chunk {name.decode()}")
            is_late = bool(kept[b"IDAT"]) and (name != b"IDAT" or previous != b"IDAT")  # ignored, as libpng does
            if name == b"PLTE" and kept[b"PLTE"]:
                raise DamagedImageError("a second palette")
            if name != b"IEND" and not is_late:
                kept[name].append(data[start : end - 4])
        elif name == b"eXIf" and orientation == 1 and not kept[b"IDAT"] and number < MAX_MARKERS:
            orientation = exif_orientation(data, start)
        place, previous = end, name
    else:
        raise DamagedImageError(f"more than {MAX_CHUNKS} chunks")
    header = kept[b"IHDR"][0]
    palette = _png_palette(header, kept[b"PLTE"])
    pixels = _inflated(b"".join(kept[b"IDAT"]), _png_data_size(header))
    chunks = [(b"IHDR", header), *palette, (b"IDAT", zlib.compress(pixels, 0)), (b"IEND", b"")]
    written = [
        part
        for name, one in chunks
        for part in (len(one).to_bytes(4, "big"), name, one, zlib.crc32(one, zlib.crc32(name)).to_bytes(4, "big"))
    ]
    return PNG_SIGNATURE + b"".join(written), orientation


def _png_palette(header: bytes, palettes: list[bytes]) -> list[tuple[bytes, bytes]]:
    is_grey, is_palette = header[9:10] in (b"\0", b"\4"), header[9:10] == b"\3"
    if not is_grey and b"" in palettes:
        raise DamagedImageError("an empty palette")
    if not is_palette:
        return []
    if not palettes or len(palettes[0]) % 3 or len(palettes[0]) > 768:
        raise DamagedImageError("without a palette")
    return [(b"PLTE", palettes[0])]


def _png_data_size(header: bytes) -> int:
    """Bytes of the rows of a PNG image, each with its filter."""
    if len(header) != 13:
        raise DamagedImageError("a header of another size")
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    depth, kind, compression, filters, interlace = header[8:]
    if depth not in _PNG_DEPTHS.get(kind, ()) or compression or filters or interlace > 1 or not 0 < width < 2**31 or not 0 < height < 2**31:
        raise DamagedImageError("a header that no PNG file has")
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind]
    passes = _ADAM7 if interlace else ((0, 0, 1, 1),)
    sizes = ((-(-(width - x) // step_x), -(-(height - y) // step_y)) for x, y, step_x, step_y in passes)
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if rows > 0 and columns > 0)


def _inflated(data: bytes, size: int) -> bytes:
    """The first `size` bytes of a zlib stream, as libpng reads it: more are ignored, fewer are an error."""
    stream = zlib.decompressobj()
    try:
        pixels = stream.decompress(data, size)
    except zlib.error as error:
        raise DamagedImageError(str(error)) from None
    if len(pixels) < size:
        raise DamagedImageError("cut short")
    spare = 0
    try:
        while not stream.eof and spare <= size:
            more = stream.decompress(stream.unconsumed_tail, 2**16)
            if not more and not stream.eof and not stream.unconsumed_tail:
                raise DamagedImageError("cut short")
            spare += len(more)
    except zlib.error as error:
        # A wrong checksum; libpng does not look at it where there are more bytes than it needs.
        if len(zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[2:], size + 1)) == size:
            raise DamagedImageError(str(error)) from None
    return pixels


def png_size(data: bytes) -> tuple[int, int]:
    """(width, height) in the header of a PNG file."""
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def webp_size(data: bytes) -> tuple[int, int]:
    """(width, height) in the first chunk of a WebP file."""
    first = data[12:16]
    if first == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if first == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if first == b"VP8 ":
        return int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
    raise DamagedImageError("without an image")


def check_tiff(data: bytes) -> None:
    """Refuses a TIFF file whose lists of strips or tiles would take more memory than its image.

    Raises:
        DamagedImageError: they are too long.
    """
    order: Any = "little" if data[:2] == b"II" else "big"
    directory = int.from_bytes(data[4:8], order)
    entries = int.from_bytes(data[directory : directory + 2], order)
    for entry in range(directory + 2, min(directory + 2 + 12 * entries, len(data)), 12):
        tag, count = int.from_bytes(data[entry : entry + 2], order), int.from_bytes(data[entry + 4 : entry + 8], order)
        if tag in _TIFF_LISTS and count > MAX_STRIPS:
            raise DamagedImageError(f"{count} strips or tiles")


def is_slow(data: bytes) -> bool:
    """Whether a BMP or netpbm file is of a kind that takes long to decode."""
    return data[:2] in (b"P1", b"P2", b"P3") or (data[:2] == b"BM" and int.from_bytes(data[30:34], "little") in (1, 2))


def exif_orientation(data: bytes, start: int) -> int:
    """Value of tag 0x0112 in the first directory of the TIFF structure at `start`; 1 if there is none, or no valid one."""
    order = "little" if data[start : start + 2] == b"II" else "big"

    def number(offset: int, size: int) -> int:
        return int.from_bytes(data[offset : offset + size].ljust(size, b"\0"), order)  # type: ignore[arg-type]

    directory = start + number(start + 4, 4)
    for entry in range(directory + 2, directory + 2 + 12 * min(number(directory, 2), MAX_MARKERS // 2), 12):
        if number(entry, 2) == 0x0112:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
