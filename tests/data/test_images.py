"""Image files of every supported format against known colours."""

import contextlib
import io
import os
import random
import resource
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image, TiffImagePlugin, features

from ttfnet_tf import files
from ttfnet_tf.config.schema import Config
from ttfnet_tf.data.images import IMAGE_SUFFIXES, READABLE, read_rgb, rgb_of
from ttfnet_tf.errors import UserError

LEFT, RIGHT = (204, 102, 51), (0, 153, 255)  # both in Pillow's web palette


@pytest.fixture
def halves():
    """[16, 24, 3]: LEFT and RIGHT."""
    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:, :12], pixels[:, 12:] = LEFT, RIGHT
    return Image.fromarray(pixels)


def _encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _assert_halves(image, left, right, tolerance=0):
    assert (image.shape, image.dtype) == ((16, 24, 3), np.uint8)
    expected = np.empty((16, 24, 3), int)
    expected[:, :12], expected[:, 12:] = left, right
    np.testing.assert_allclose(image.astype(int), expected, atol=tolerance, rtol=0)


GREY = tuple(round(0.299 * r + 0.587 * g + 0.114 * b) for r, g, b in (LEFT, RIGHT))


def test_rgb_png_is_exact(halves):
    _assert_halves(read_rgb(_encode(halves)), LEFT, RIGHT)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey(halves, mode):
    _assert_halves(read_rgb(_encode(halves.convert(mode))), [GREY[0]] * 3, [GREY[1]] * 3)


def test_palette(halves):
    _assert_halves(read_rgb(_encode(halves.convert("P"))), LEFT, RIGHT)


def test_palette_with_transparency_keeps_its_colours(halves):
    palette = halves.convert("P")
    data = _encode(palette, transparency=palette.getpixel((0, 0)))
    assert Image.open(io.BytesIO(data)).info["transparency"] is not None
    _assert_halves(read_rgb(data), LEFT, RIGHT)


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_alpha_is_dropped_not_blended(halves, alpha):
    halves.putalpha(alpha)
    _assert_halves(read_rgb(_encode(halves)), LEFT, RIGHT)


def test_black_and_white(halves):
    one_bit = Image.fromarray(np.arange(24)[None].repeat(16, 0) < 12)
    assert one_bit.mode == "1"
    _assert_halves(read_rgb(_encode(one_bit)), (255,) * 3, (0,) * 3)


def test_sixteen_bits_keep_the_upper_eight():
    pixels = np.full((16, 24, 3), [51 * 256 + 7, 102 * 256 + 200, 204 * 256 + 255], np.uint16)  # blue, green, red
    _assert_halves(read_rgb(cv2.imencode(".png", pixels)[1].tobytes()), (204, 102, 51), (204, 102, 51))
    _assert_halves(read_rgb(_encode(Image.fromarray(np.full((16, 24), 200 * 256 + 9, np.uint16)))), (200,) * 3, (200,) * 3)


def test_jpeg(halves):
    _assert_halves(read_rgb(_encode(halves, "JPEG", quality=100, subsampling=0)), LEFT, RIGHT, tolerance=2)
    _assert_halves(read_rgb(_encode(halves.convert("L"), "JPEG", quality=100)), [GREY[0]] * 3, [GREY[1]] * 3, tolerance=2)


def test_cmyk_jpeg_as_adobe_writes_it(halves):
    """Adobe stores 255 - ink, and says so in a marker; without the marker the reference reads the same."""
    data = _encode(halves.convert("CMYK"), "JPEG", quality=100, subsampling=0)
    marker = data.index(b"\xff\xee")
    assert data[marker + 4 : marker + 9] == b"Adobe"
    _assert_halves(read_rgb(data), LEFT, RIGHT, tolerance=2)
    length = int.from_bytes(data[marker + 2 : marker + 4], "big")
    _assert_halves(read_rgb(data[:marker] + data[marker + 2 + length :]), LEFT, RIGHT, tolerance=2)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation):
    """Stored corners A B / C D in red, green, blue, white, upright by the rule of the EXIF standard."""
    red, green, blue, white = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:8, :16], pixels[:8, 16:], pixels[8:, :16], pixels[8:, 16:] = red, green, blue, white
    upright = {
        1: [red, green, blue, white],
        2: [green, red, white, blue],  # mirrored
        3: [white, blue, green, red],  # upside down
        4: [blue, white, red, green],
        5: [red, blue, green, white],  # transposed
        6: [blue, red, white, green],  # turned right
        7: [white, green, blue, red],
        8: [green, white, red, blue],  # turned left
    }[orientation]
    exif = Image.Exif()
    exif[274] = orientation
    image = read_rgb(_encode(Image.fromarray(pixels), kind, exif=exif, **({"quality": 100} if kind == "JPEG" else {})))
    assert image.shape == ((16, 32, 3) if orientation < 5 else (32, 16, 3))
    corners = [image[1, 1], image[1, -2], image[-2, 1], image[-2, -2]]
    np.testing.assert_allclose(np.array(corners, int), upright, atol=4)


def test_gif_takes_the_first_frame(halves):
    data = _encode(halves, "GIF", save_all=True, append_images=[Image.new("RGB", halves.size)])
    _assert_halves(read_rgb(data), LEFT, RIGHT)


@pytest.mark.parametrize("kind", ["BMP", "TIFF"])
def test_other_formats(halves, kind):
    _assert_halves(read_rgb(_encode(halves, kind)), LEFT, RIGHT)


def test_a_file_equals_what_the_reference_reads(halves, tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (37, 53, 3), np.uint8)
    path = tmp_path / "noise.jpg"
    Image.fromarray(noise).save(path, quality=80)
    np.testing.assert_array_equal(read_rgb(path), cv2.imread(str(path))[:, :, ::-1])


def test_the_path_may_hold_any_letters(halves, tmp_path):
    path = tmp_path / "Öl 図.png"
    halves.save(path)
    _assert_halves(read_rgb(str(path)), LEFT, RIGHT)


NOISE = np.random.default_rng(1).integers(0, 255, (64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "x: is empty; an image was expected"),
        (b"not an image\n" * 20, f"x: is not a readable image; expected {READABLE}"),
        (_encode(Image.fromarray(NOISE), "JPEG")[:16], "x: is a damaged image (cut short)"),
    ],
    ids=["empty", "text", "start of a JPEG"],
)
def test_files_that_are_not_images(data, message):
    with pytest.raises(UserError) as caught:
        read_rgb(data, name="x")
    assert str(caught.value) == message


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.97])
def test_a_truncated_image_is_damaged(kind, fraction):
    data = _encode(Image.fromarray(NOISE), kind)
    with pytest.raises(UserError, match=r"^x: is a damaged image \(.+\)$"):
        read_rgb(data[: int(len(data) * fraction)], name="x")


def test_a_jpeg_without_its_end_is_damaged():
    with pytest.raises(UserError, match=r"^x: is a damaged image \(cut short\)$"):
        read_rgb(_encode(Image.fromarray(NOISE), "JPEG")[:-2], name="x")


def test_bytes_after_the_end_of_a_jpeg_do_no_harm(halves):
    data = _encode(halves, "JPEG", quality=100, subsampling=0)
    np.testing.assert_array_equal(read_rgb(data + b"\0" * 9 + b"camera notes"), read_rgb(data))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(UserError) as caught:
        read_rgb(tmp_path / "no.jpg")
    assert str(caught.value) == f"{tmp_path}/no.jpg: cannot be read (No such file or directory)"
    with pytest.raises(UserError, match=r"cannot be read \(Is a directory\)$"):
        read_rgb(tmp_path)


# Formats: by content, from a list, whatever the name.


@pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "TIFF", "PPM", "TGA"])
def test_formats_without_loss_are_read_exactly(halves, kind):
    _assert_halves(read_rgb(_encode(halves, kind)), LEFT, RIGHT)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_tiff(halves, compression, orientation):
    image = read_rgb(_encode(halves, "TIFF", compression=compression, tiffinfo={274: orientation}))
    upright = {1: halves, 3: halves.rotate(180), 6: halves.rotate(-90, expand=True)}[orientation]
    np.testing.assert_array_equal(image, np.asarray(upright))


@pytest.mark.parametrize(
    "kind", ["WEBP", pytest.param("AVIF", marks=pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF"))]
)
def test_formats_with_loss(halves, kind):
    exif = Image.Exif()
    exif[274] = 6
    image = read_rgb(_encode(halves, kind, quality=100, exif=exif))
    assert image.shape == (24, 16, 3)  # rotated
    np.testing.assert_allclose(image[[2, -3]].mean(axis=1), [LEFT, RIGHT], atol=6)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100), "a JPEG 2000 image"),
        (b"\xff\x4f\xff\x51" + bytes(100), "a JPEG 2000 image"),
        (b"\0\0\0\x18ftypisom" + bytes(100), "a video"),
        (b"8BPS" + bytes(100), "a Photoshop document"),
        (b"%PDF-1.4" + bytes(100), "a PDF document"),
    ],
)
@pytest.mark.parametrize("name", ["x.jpg", "x.jp2", "x"])
def test_other_formats_are_named_and_never_decoded(tmp_path, data, what, name):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError) as caught:
        read_rgb(tmp_path / name)
    assert str(caught.value) == f"{tmp_path / name}: is {what}, which is not supported; convert it to JPEG or PNG"


def test_a_real_jpeg_2000_file_is_refused(halves):
    with pytest.raises(UserError, match=r"^x: is a JPEG 2000 image, which is not supported"):
        read_rgb(_encode(halves, "JPEG2000"), name="x")


def test_an_animated_png_gives_its_first_image_without_a_look_at_the_others(halves):
    data = _encode(halves, save_all=True, append_images=[Image.new("RGB", halves.size), halves.rotate(180)])
    first, later = data.index(b"IDAT"), data.index(b"fdAT")
    for place in (
        *range(data.index(b"acTL"), first - 4),
        *range(first + 4 + int.from_bytes(data[first - 4 : first], "big") + 8, len(data), 3),
    ):
        with contextlib.suppress(UserError):
            _assert_halves(read_rgb(data[:place] + bytes([data[place] ^ 255]) + data[place + 1 :]), LEFT, RIGHT)
    end = later + 4 + int.from_bytes(data[later - 4 : later], "big")
    _assert_halves(read_rgb(data[: later + 4] + bytes(end - later - 4) + data[end:]), LEFT, RIGHT)


def test_every_name_of_an_image_is_of_a_format_that_is_read(halves):
    assert all(
        Image.registered_extensions()[suffix] in ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", "TGA", "AVIF")
        for suffix in IMAGE_SUFFIXES
    )


# Values that do not fit 8 bits.


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_values_of_12_bits_in_files_of_16_are_told(channels, suffix):
    pixels = np.linspace(0, 4095, 16 * 24 * channels).astype(np.uint16).reshape(16, 24, channels)
    with pytest.raises(UserError) as caught:
        read_rgb(cv2.imencode(suffix, pixels)[1].tobytes(), name="x")
    line = "x: has 16 bits a channel and no value above 4095; scale its values to 8 or 16 bits, or it would be black"
    assert str(caught.value) == line
    np.testing.assert_array_equal(
        read_rgb(cv2.imencode(suffix, pixels * 16)[1].tobytes())[..., ::-1], np.broadcast_to(pixels >> 4, (16, 24, 3))
    )


def test_a_netpbm_file_says_its_largest_value():
    values = bytes(range(0, 240, 5)) * 8  # of 239
    image = read_rgb(b"P5\n24 16\n239\n" + values)
    np.testing.assert_allclose(image[..., 0], np.frombuffer(values, np.uint8).reshape(16, 24) * (255 / 239), atol=0.5)
    twelve = (np.arange(16 * 24) * 4095 // 383).astype(">u2")
    image = read_rgb(b"P5\n24 16\n4095\n" + twelve.tobytes())
    np.testing.assert_allclose(image[..., 0].ravel(), twelve * (255 / 4095), atol=1)


@pytest.mark.parametrize("high", [1.0, 255.0, 4000.0])
@pytest.mark.parametrize("mode", ["F", "I"])
def test_floats_and_32_bits_are_refused(mode, high):
    values = np.linspace(0, high, 16 * 24).reshape(16, 24).astype({"F": np.float32, "I": np.int32}[mode])
    with pytest.raises(
        UserError, match=r"^x: has (floating-point values|values of 32 bits or with a sign); convert it to 8 bits a channel$"
    ):
        read_rgb(_encode(Image.fromarray(values), "TIFF"), name="x")


def test_a_tiff_of_float_colours_is_refused():
    with pytest.raises(UserError, match=r"^x: holds values or colours that are not supported; convert it to 8 bits a channel$"):
        read_rgb(cv2.imencode(".tiff", np.zeros((16, 24, 3), np.float32))[1].tobytes(), name="x")


# Limits.

HUGE = (100_000).to_bytes(4, "big")
BOMBS = {
    "png": _encode(Image.new("1", (64, 64))).replace((64).to_bytes(4, "big") * 2, HUGE * 2),
    "jpg": _encode(Image.new("L", (64, 64)), "JPEG").replace(b"\x08\0\x40\0\x40", b"\x08\xff\xff\xff\xff"),
    "bmp": _encode(Image.new("L", (64, 64)), "BMP").replace((64).to_bytes(4, "little") * 2, (100_000).to_bytes(4, "little") * 2),
    "gif": _encode(Image.new("L", (64, 64)), "GIF").replace(b"\x40\0\x40\0", b"\xff\xff\xff\xff"),
    "webp": _encode(Image.new("RGB", (64, 64)), "WEBP").replace(b"\x9d\x01\x2a\x40\0\x40\0", b"\x9d\x01\x2a\xff\x3f\xff\x3f"),
    "ppm": b"P5 100000 100000 255\n" + bytes(100),
    "pbm": b"P4 100000 100000\n" + bytes(100),
    "tga": _encode(Image.new("L", (64, 64)), "TGA").replace(b"\x40\0\x40\0", b"\xff\xff\xff\xff", 1),
    "tiff": _encode(Image.new("1", (64, 64)), "TIFF").replace(b"\x01\x04\0\x01\0\0\0\x40\0\0\0", b"\x01\x04\0\x01\0\0\0\xff\xff\0\0"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_header_that_promises_too_many_pixels_is_refused_before_decoding(kind):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"^x: has \d+ x \d+ pixels; images may have up to 50000000$"):
        read_rgb(BOMBS[kind], name="x")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB


def test_an_image_of_the_largest_size_is_read():
    assert read_rgb(_encode(Image.new("1", (10_000, 5_000)))).shape == (5_000, 10_000, 3)
    assert files.MAX_PIXELS == 50_000_000 == Config().export.max_pixels  # the same limit in served graphs


def test_a_png_that_inflates_without_end_is_not_inflated():
    header = (64).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    stream = zlib.compress(bytes(200_000_000), 9)
    chunks = ((b"IHDR", header), (b"IDAT", stream), (b"IEND", b""))
    data = b"\x89PNG\r\n\x1a\n" + b"".join(len(c).to_bytes(4, "big") + n + c + zlib.crc32(n + c).to_bytes(4, "big") for n, c in chunks)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert read_rgb(data).shape == (64, 64, 3)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # KB


def test_files_that_are_too_large_or_without_end(tmp_path):
    with open(tmp_path / "large.png", "wb") as file:
        file.truncate(300_000_001)
    os.mkfifo(tmp_path / "pipe.png")
    for name, line in (("large.png", "has 300000001 bytes; images may have up to 300000000"), ("pipe.png", "is not a regular file")):
        with pytest.raises(UserError) as caught:
            read_rgb(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: {line}"
    with pytest.raises(UserError, match=r"^/dev/zero: is not a regular file$"):
        read_rgb("/dev/zero")
    with pytest.raises(UserError, match="is not a file name"):
        read_rgb("a\0.png")


# What decoders print, and what they raise.

DAMAGED = {
    kind: _encode(Image.fromarray(NOISE), kind.partition(" ")[0], **({"compression": kind.partition(" ")[2]} if " " in kind else {}))
    for kind in (
        "JPEG",
        "PNG",
        "BMP",
        "GIF",
        "WEBP",
        "PPM",
        "TGA",
        "TIFF raw",
        "TIFF tiff_lzw",
        "TIFF tiff_adobe_deflate",
        "TIFF jpeg",
        "TIFF packbits",
    )
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", DAMAGED)
def test_damage_is_one_line_and_nothing_else_is_printed(capfd, kind):
    draw = random.Random(kind)
    for _ in range(60):
        data = bytearray(DAMAGED[kind])
        for _ in range(draw.choice([1, 2, 8])):
            data[draw.randrange(min(len(data), draw.choice([300, 20_000])))] = draw.choice([0, 255, draw.randrange(256)])
        data = bytes(data[: draw.choice([len(data), draw.randrange(1, len(data))])])
        start = time.process_time()
        with contextlib.suppress(UserError):
            image = read_rgb(data, name="x")
            assert (image.dtype, image.ndim) == (np.uint8, 3)
        assert time.process_time() - start < 5
    assert capfd.readouterr() == ("", "")


def test_what_others_print_while_a_tiff_is_read_is_not_lost(capfd, monkeypatch):
    real = TiffImagePlugin.TiffImageFile.load

    def load(self):
        if self.tile:  # not yet loaded
            os.write(2, b"TIFFReadDirectory: Warning.\ntrain 3/10\n")
        return real(self)

    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "load", load)
    read_rgb(DAMAGED["TIFF tiff_lzw"])
    printed = capfd.readouterr().err
    assert "train 3/10\n" in printed
    assert "TIFFRead" not in printed


# Images of Pillow.


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK", "1"])
def test_an_image_of_pillow_equals_its_file(halves, mode):
    image = halves.convert(mode)
    np.testing.assert_array_equal(rgb_of(image), np.asarray(image.convert("RGB")))


def test_an_image_of_pillow_is_rotated_and_its_values_are_checked(halves):
    exif = Image.Exif()
    exif[274] = 6
    data = _encode(halves, exif=exif)
    np.testing.assert_array_equal(rgb_of(Image.open(io.BytesIO(data))), read_rgb(data))
    deep = Image.fromarray(np.full((16, 24), 200 * 256 + 9, np.uint16))
    _assert_halves(rgb_of(deep), (200,) * 3, (200,) * 3)
    with pytest.raises(UserError, match=r"^image: has floating-point values"):
        rgb_of(Image.new("F", (24, 16)))


# Files that are small for the time or memory that they could take.


def _timed(data):
    start = time.process_time()
    with contextlib.suppress(UserError):
        read_rgb(data, name="x")
    return time.process_time() - start


def test_a_png_of_countless_chunks_takes_no_time():
    data = _encode(Image.fromarray(NOISE))
    pair = b"".join(len(b"a\0b").to_bytes(4, "big") + name + b"a\0b" + bytes(4) for name in (b"tEXt", b"zTXt"))
    many = data[:33] + pair * 100_000 + data[33:]
    np.testing.assert_array_equal(read_rgb(many), NOISE)
    assert _timed(many) < 3
    with pytest.raises(UserError, match=r"^x: is a damaged image \(more than 1000000 chunks\)$"):
        read_rgb(data[:33] + pair * 500_001 + data[33:], name="x")


def test_a_tiff_of_countless_strips_is_refused():
    data = bytearray(_encode(Image.fromarray(NOISE), "TIFF"))
    place = data.index((273).to_bytes(2, "little") + (4).to_bytes(2, "little"))
    data[place + 4 : place + 12] = (2_000_000).to_bytes(4, "little") + len(data).to_bytes(4, "little")
    with pytest.raises(UserError, match=r"^x: is a damaged image \(2000000 strips or tiles\)$"):
        read_rgb(bytes(data) + bytes(8_000_000), name="x")


@pytest.mark.parametrize("start", [b"P3 2000 2000 255\n" + b"1 " * 5_000_001, b"BM" + bytes(28) + b"\1\0\0\0" + bytes(10_000_000)])
def test_large_files_that_are_decoded_in_python_are_refused(start):
    with pytest.raises(UserError, match=r"^x: has \d+ bytes, a kind of (PPM|BMP) that is read up to 10000000; convert it to PNG$"):
        read_rgb(start, name="x")


def test_text_of_netpbm_is_read():
    np.testing.assert_array_equal(read_rgb(b"P3 2 1 255\n1 2 3 4 5 6\n"), [[[1, 2, 3], [4, 5, 6]]])
