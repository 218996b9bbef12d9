"""The quick reader of the pipeline: the pixels and the messages of `images.read_rgb`, for every file."""

import io
import os
import random
import re

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf.data import image_reader, jpeg_header
from ttfnet_tf.data.image_reader import ImageReader, plain_jpeg_parts
from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.errors import UserError

SMOOTH = np.add.outer(np.arange(50) * 3, np.arange(67))[..., None] * np.array([1, 2, 3]) % 256


def _encoded(mode="RGB", kind="JPEG", **options):
    pixels = Image.fromarray(SMOOTH.astype(np.uint8)).convert(mode)
    file = io.BytesIO()
    pixels.save(file, kind, **options)
    return file.getvalue()


def _exif(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    exif[271] = "a camera"
    return exif


FILES = {
    **{f"JPEG {sampling}": (_encoded(subsampling=sampling), True) for sampling in ("4:4:4", "4:2:2", "4:2:0")},
    "progressive": (_encoded(progressive=True, quality=50), True),
    "restart markers": (_encoded(restart_marker_rows=1), True),
    "grey": (_encoded("L"), True),
    "with notes": (_encoded(comment=b"x" * 300, icc_profile=b"y" * 70_000, exif=_exif(1)), True),
    "bytes after the end": (_encoded() + b"more", True),
    "rotated": (_encoded(exif=_exif(6)), False),
    "inks": (_encoded("CMYK"), False),
    "PNG": (_encoded(kind="PNG"), False),
    "GIF": (_encoded("P", kind="GIF"), False),
}


@pytest.fixture
def without_pillow(monkeypatch):
    monkeypatch.setattr(image_reader, "read_rgb", lambda path, name: pytest.fail("the general reader was asked"))


@pytest.mark.parametrize(("data", "is_plain"), FILES.values(), ids=FILES)
def test_pixels_are_those_of_the_general_reader(tmp_path, data, is_plain):
    path = tmp_path / "a"
    path.write_bytes(data)
    reader, expected = ImageReader(3), read_rgb(path)
    for _ in range(2):
        found = reader.read(1, str(path), "x")
        np.testing.assert_array_equal(found, expected)
        assert (found.dtype, found.flags.c_contiguous, found.flags.writeable) == (np.uint8, True, True)
    assert (plain_jpeg_parts(data) is not None) is is_plain


def test_a_plain_jpeg_is_checked_once(tmp_path, without_pillow, monkeypatch):
    path, checked = tmp_path / "a.jpg", []
    path.write_bytes(FILES["with notes"][0])
    monkeypatch.setattr(image_reader, "plain_jpeg_parts", lambda data: checked.append(len(data)) or plain_jpeg_parts(data))
    reader = ImageReader(1)
    for _ in range(3):
        reader.read(0, str(path), "x")
    assert checked == [path.stat().st_size]
    path.write_bytes(_encoded(quality=20))
    reader.read(0, str(path), "x")
    assert checked[1:] == [path.stat().st_size]


def test_the_decoder_gets_nothing_but_what_pixels_depend_on():
    data = FILES["with notes"][0]
    parts = plain_jpeg_parts(data)
    kept = b"".join(data[start:end] for start, end in zip(parts[::2], parts[1::2]))
    assert not any(note in kept for note in (b"xxxx", b"yyyy", b"Exif", b"a camera"))
    np.testing.assert_array_equal(read_rgb(kept), read_rgb(data))


def test_messages_are_those_of_the_general_reader(tmp_path):
    good = _encoded()
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "text").write_bytes(b"hello " * 9)
    (tmp_path / "cut").write_bytes(good[:-900])
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    reader = ImageReader(1)
    for name in ("empty", "text", "cut", "folder", "pipe", "gone", "a\0b"):
        path, lines = str(tmp_path / name), []
        for read in (lambda path: reader.read(0, path, "image 7"), lambda path: read_rgb(path, "image 7")):
            with pytest.raises(UserError) as caught:
                read(path)
            lines.append(str(caught.value))
        assert lines[0] == lines[1]


def test_a_file_that_is_cut_after_it_was_checked_is_refused(tmp_path):
    path, reader = tmp_path / "a.jpg", ImageReader(1)
    path.write_bytes(_encoded())
    reader.read(0, str(path), "x")
    path.write_bytes(_encoded()[:-300])
    with pytest.raises(UserError, match="x: is a damaged image"):
        reader.read(0, str(path), "x")


def test_damaged_data_give_the_same_pixels_or_the_same_message(tmp_path):
    draw, path, seen = random.Random(0), tmp_path / "a.jpg", set()
    for trial in range(150):
        data = bytearray(FILES[draw.choice(["JPEG 4:2:0", "progressive", "grey", "with notes"])][0])
        for _ in range(draw.choice([1, 2, 8])):
            data[draw.randrange(2 if trial % 2 else len(data) // 2, len(data))] = draw.choice([0, 255, draw.randrange(256)])
        path.write_bytes(bytes(data))
        results = []
        for read in (lambda: ImageReader(1).read(0, str(path), "x"), lambda: read_rgb(path, "x")):
            try:
                results.append(read())
            except UserError as error:
                results.append(str(error))
        seen.add(type(results[0]))
        np.testing.assert_array_equal(results[0], results[1])
    assert seen == {np.ndarray, str}


@pytest.mark.parametrize("searched", [(1, 1), (2, 8), (1 << 15, 1 << 21)])
def test_the_end_of_a_scan_is_the_first_marker_that_ends_one(monkeypatch, searched):
    """Against a regular expression, from every place, also where the bytes that are searched at a time end inside a marker."""
    for name, value in zip(("_SEARCHED", "_MAX_SEARCHED"), searched):
        monkeypatch.setattr(jpeg_header, name, value)
    twin, draw, ends = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL), random.Random(1), set()
    for length in (0, 1, 2, 3, 9, 40):
        for _ in range(8):
            data = bytes(draw.choice([0xFF, 0xFF, 0x00, 0xD0, 0xD7, 0xD9, 0x0A, 7]) for _ in range(length))
            for place in range(length + 2):
                expected = twin.search(data, place)
                ends.add(expected is not None)
                if expected is None:
                    with pytest.raises(jpeg_header.DamagedImageError, match="cut short"):
                        jpeg_header._end_of_scan(data, place)
                else:
                    assert jpeg_header._end_of_scan(data, place) == expected.start()
    assert ends == {True, False}
