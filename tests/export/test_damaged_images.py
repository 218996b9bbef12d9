"""Damaged JPEG and PNG files: our reader and the served graph give the same pixels, or both refuse.

The damage is drawn from a seed: flipped bits, files cut and closed again, parts of other files, markers and chunks where none belong.
"""

import io
import random
import zlib

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ttfnet_tf.data.images import MAX_PIXELS, read_rgb
from ttfnet_tf.errors import UserError
from ttfnet_tf.export.image_decoder import decode

RNG = np.random.default_rng(0)
RGB = cv2.resize(RNG.integers(0, 256, (7, 9, 3), np.uint8), (90, 60), interpolation=cv2.INTER_CUBIC)
IMAGE = Image.fromarray(RGB)
EXIF = Image.Exif()
EXIF[274] = 6
END_OF_PNG = b"\0\0\0\0IEND\xaeB`\x82"
MARKERS = (0x01, 0x72, 0xC0, 0xC2, 0xC4, 0xCC, 0xD0, 0xD3, 0xD8, 0xD9, 0xDA, 0xDB, 0xDC, 0xDD, 0xE1, 0xFE, 0xFF)
CHUNKS = (b"IDAT", b"PLTE", b"IHDR", b"IEND", b"ABCD", b"1234", b"tEXt", b"iCCP", b"eXIf", b"acTL", b"fdAT", b"tRNS")


def _encode(kind, image=IMAGE, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _png(chunks):
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big") for name, content in chunks
    )


def _chunks(data):
    chunks, place = [], 8
    while place < len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return chunks


FILES = {
    "jpg": _encode("JPEG"),
    "jpg 4:4:4": _encode("JPEG", subsampling=0, quality=95),
    "jpg progressive": _encode("JPEG", progressive=True),
    "jpg grey": _encode("JPEG", IMAGE.convert("L")),
    "jpg turned": _encode("JPEG", exif=EXIF),
    "jpg cmyk": _encode("JPEG", IMAGE.convert("CMYK")),
    "jpg restarts": cv2.imencode(".jpg", RGB, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes(),
    "png": _encode("PNG"),
    "png palette": _encode("PNG", IMAGE.quantize(16), transparency=3),
    "png grey": _encode("PNG", IMAGE.convert("L")),
    "png alpha": _encode("PNG", IMAGE.convert("RGBA")),
    "png 16 bits": cv2.imencode(".png", RNG.integers(0, 65536, (20, 30, 3)).astype(np.uint16))[1].tobytes(),
    "png turned": _encode("PNG", exif=EXIF),
    "png animated": _encode("PNG", save_all=True, append_images=[IMAGE.rotate(90), IMAGE.rotate(180)]),
}


def _flip(data, draw):
    for _ in range(draw.choice([1, 1, 3, 20])):
        place = draw.randrange(len(data))
        data = data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]
    return data


def _cut_and_close(data, draw):
    return data[: draw.randrange(1, len(data))] + draw.choice([b"", b"\xff\xd9", END_OF_PNG])


def _splice(data, draw):
    other = FILES[draw.choice(list(FILES))]
    return data[: draw.randrange(len(data))] + other[draw.randrange(len(other)) :]


def _repeat(data, draw):
    start = draw.randrange(len(data))
    end = start + draw.randrange(1, 200)
    return data[:end] + data[start:end] + data[end:]


def _mark(data, draw):
    place, marker = draw.randrange(2, len(data)), bytes([0xFF, draw.choice(MARKERS)])
    return data[:place] + marker + draw.choice([b"", b"\0\2", b"\0\4ab"]) + data[place + draw.choice([0, 2]) :]


def _edit_chunks(data, draw):
    """With checksums that are right."""
    if not data.startswith(b"\x89PNG"):
        return _mark(data, draw)
    chunks = _chunks(data)
    place = draw.randrange(len(chunks))
    name, content = chunks[place]
    edit = draw.randrange(6)
    if edit == 0:
        del chunks[place]
    elif edit == 1:
        chunks.insert(draw.randrange(len(chunks) + 1), chunks[place])
    elif edit == 2 and content:
        chunks[place] = (name, _flip(content, draw))
    elif edit == 3:
        cut = draw.randrange(len(content) + 1)
        chunks[place : place + 1] = [(name, content[:cut]), (draw.choice(CHUNKS), b"x"), (name, content[cut:])]
    elif edit == 4:
        chunks.insert(draw.randrange(len(chunks) + 1), (draw.choice(CHUNKS), bytes(draw.randrange(256) for _ in range(13))))
    else:
        chunks[place] = (draw.choice(CHUNKS), content)
    return _png(chunks)


def _edit_stream(data, draw):
    """Rows that are missing, too many or filtered by nothing, and a wrong end of their compression."""
    chunks = _chunks(data) if data.startswith(b"\x89PNG") else []
    at = next((place for place, (name, _) in enumerate(chunks) if name == b"IDAT"), None)
    if at is None:
        return _flip(data, draw)
    rows = zlib.decompress(chunks[at][1])
    rows = draw.choice([rows, rows[:-1], rows[:-100], rows + b"a", rows + b"abc", rows + b"abc" * 50, b"\7" + rows[1:]])
    stream = zlib.compress(rows)
    chunks[at] = (b"IDAT", draw.choice([stream, stream[:-4], stream[:-1], stream[:-4] + b"abcd", stream + b"more"]))
    return _png(chunks)


DAMAGES = (_flip, _cut_and_close, _splice, _repeat, _mark, _edit_chunks, _edit_stream)


@pytest.fixture(scope="module")
def served():
    graph = tf.function(
        lambda content: decode(content, tf.constant(0), max_pixels=MAX_PIXELS),
        input_signature=[tf.TensorSpec([], tf.string)],
        autograph=False,
    )

    def decoded(content):
        try:
            return graph(content).numpy()
        except tf.errors.InvalidArgumentError:
            return None

    return decoded


def _read(content):
    try:
        return read_rgb(content, name="x")
    except UserError as error:
        line = str(error)
    assert line.startswith("x: ")
    assert "\n" not in line
    return None


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
@pytest.mark.parametrize("file", FILES)
def test_both_readers_agree(served, file, damage):
    draw = random.Random(f"{file} {damage.__name__}")
    read = 0
    for _ in range(6):
        content = damage(FILES[file], draw)
        ours, theirs = _read(content), served(content)
        assert (ours is None) == (theirs is None), content.hex()
        if ours is not None:
            np.testing.assert_array_equal(ours, theirs, err_msg=content.hex())
            read += 1
    assert read < 6 or damage in (_flip, _mark, _edit_chunks, _edit_stream, _repeat)  # most damage is seen


@pytest.mark.parametrize("file", ["png", "png grey", "png palette"])
@pytest.mark.parametrize(
    "palettes", [["abc", None], [None, "abc"], ["abc", None, "abc"], [None, "abc", "abc"], ["abc", "abc", None], ["", None], [None, ""]]
)
def test_palettes_in_any_place(served, file, palettes):
    """None stands for the image data, and the palette of the file for its first."""
    chunks = _chunks(FILES[file])
    data = next(chunk for chunk in chunks if chunk[0] == b"IDAT")
    own = [chunk for chunk in chunks if chunk[0] == b"PLTE"]
    inner = [data if text is None else own[0] if own and text == "abc" else (b"PLTE", text.encode()) for text in palettes]
    content = _png([chunks[0], *inner, chunks[-1]])
    ours, theirs = _read(content), served(content)
    assert (ours is None) == (theirs is None)
    if ours is not None:
        np.testing.assert_array_equal(ours, theirs)


def _scans_of(data):
    return [place for place in range(len(data) - 1) if data[place : place + 2] == b"\xff\xda"]


def test_a_progressive_jpeg_that_lacks_scans_is_refused(served):
    """Decoders guess the missing detail, each version in its own way."""
    data = FILES["jpg progressive"]
    for end in _scans_of(data)[1:4]:
        with pytest.raises(UserError, match=r"^x: is a damaged image \(without all of its scans\)$"):
            read_rgb(data[:end] + b"\xff\xd9", name="x")
        assert served(data[:end] + b"\xff\xd9") is None


@pytest.mark.parametrize(
    "before", [b"\xff\x01", b"\xff\x01" * 3 + b"\xff\xff\xff\xd0", b"\xff\xfe\0\x0cno\xff\xc0\0\x11\x08\0\1\0", b"junk"]
)
def test_the_size_is_found_behind_any_marker(served, before):
    """Also where a comment looks like a frame: a limit that reads another size than the decoder is none."""
    data = FILES["jpg"]
    place, frame = data.index(b"\xff\xdb"), data.index(b"\xff\xc0")
    with_more = data[:place] + before + data[place:]
    np.testing.assert_array_equal(served(with_more), read_rgb(data))
    np.testing.assert_array_equal(read_rgb(with_more), read_rgb(data))
    large = data[:place] + before + data[place : frame + 5] + b"\xff\xff\xff\xff" + data[frame + 9 :]
    with pytest.raises(UserError, match=r"^x: has 65535 x 65535 pixels; images may have up to 50000000$"):
        read_rgb(large, name="x")
    assert served(large) is None


def test_a_jpeg_of_endless_scans_is_refused(served):
    """Each goes over the whole image: a few kilobytes would keep a core busy for minutes."""
    data = FILES["jpg progressive"]
    last = _scans_of(data)[-1]
    many = data[:last] + data[last:-2] * 100 + b"\xff\xd9"
    with pytest.raises(UserError, match="too many scans"):
        read_rgb(many, name="x")
    assert served(many) is None


def test_inks_are_inverted_with_and_without_the_marker_of_adobe(served):
    data = FILES["jpg cmyk"]
    place = data.index(b"\xff\xee")
    without = data[:place] + data[place + 2 + int.from_bytes(data[place + 2 : place + 4], "big") :]
    assert b"Adobe" not in without
    np.testing.assert_array_equal(served(without), read_rgb(without))
    np.testing.assert_array_equal(read_rgb(without), read_rgb(data))
