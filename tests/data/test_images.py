"""Image files of every supported format against known colours."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from ttfnet_tf.data.images import READABLE, read_rgb
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
        (_encode(Image.fromarray(NOISE), "JPEG")[:16], "x: is a damaged image (Truncated File Read)"),
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
    with pytest.raises(UserError, match=r"^x: is a damaged image \(image file is truncated"):
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
