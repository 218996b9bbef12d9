"""The decoder of the served graph against OpenCV, which training uses."""

import io

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.export.image_decoder import decode, decode_and_resize

RNG = np.random.default_rng(0)
RGB = cv2.resize(RNG.integers(0, 256, (7, 9, 3), np.uint8), (61, 45), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def decoded():
    return tf.function(
        lambda content: decode(content, tf.constant(0), max_pixels=10_000), input_signature=[tf.TensorSpec([], tf.string)], autograph=False
    )


@pytest.fixture(scope="module")
def batch():
    return tf.function(
        lambda contents: decode_and_resize(contents, (64, 32), max_pixels=10_000)[0],
        input_signature=[tf.TensorSpec([None], tf.string)],
        autograph=False,
    )


def _pillow(kind, image=RGB, **options):
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, kind, **options)
    return buffer.getvalue()


def _opencv(suffix, image):
    return cv2.imencode(suffix, image)[1].tobytes()


def _orientation(value, order="MM", entries=1):
    """An EXIF structure; the last entry is the orientation, the others have the tag 0x0100."""
    endian = "big" if order == "MM" else "little"

    def number(value, size):
        return value.to_bytes(size, endian)

    other = number(0x0100, 2) + number(3, 2) + number(1, 4) + number(3, 2) + bytes(2)
    last = number(0x0112, 2) + number(3, 2) + number(1, 4) + number(value, 2) + bytes(2)
    directory = number(entries, 2) + (entries - 1) * other + last + bytes(4)
    return order.encode() + number(42, 2) + number(8, 4) + directory


def _with_exif(structure, before=b""):
    jpeg, segment = _pillow("JPEG"), b"Exif\0\0" + structure
    return jpeg[:2] + before + b"\xff\xe1" + (len(segment) + 2).to_bytes(2, "big") + segment + jpeg[2:]


KINDS = {
    "jpeg": _pillow("JPEG"),
    "jpeg 4:4:4": _pillow("JPEG", subsampling=0),
    "jpeg 4:2:2": _pillow("JPEG", subsampling=1, quality=50),
    "jpeg progressive": _pillow("JPEG", progressive=True),
    "jpeg noise": _pillow("JPEG", RNG.integers(0, 256, (33, 31, 3), np.uint8), quality=30),
    "jpeg grey": _pillow("JPEG", RGB[..., 0]),
    "jpeg with a large profile": _pillow("JPEG", icc_profile=bytes(100_000)),
    "jpeg and more bytes": _pillow("JPEG") + b"more",
    "png": _pillow("PNG"),
    "png grey": _pillow("PNG", RGB[..., 0]),
    "png alpha": _opencv(".png", RNG.integers(0, 256, (20, 30, 4), np.uint8)),
    "png grey and alpha": _pillow("PNG", Image.fromarray(RGB[..., 0]).convert("LA")),
    "png palette": _pillow("PNG", Image.fromarray(RGB).quantize(16)),
    "png palette and transparency": _pillow("PNG", Image.fromarray(RGB).quantize(16), transparency=3),
    "png 1 bit": _pillow("PNG", Image.fromarray(RGB).convert("1")),
    "png 16 bits": _opencv(".png", RNG.integers(0, 65536, (20, 30, 3)).astype(np.uint16)),
    "png 16 bits grey": _opencv(".png", RNG.integers(0, 65536, (20, 30)).astype(np.uint16)),
    "one pixel": _opencv(".png", RGB[:1, :1]),
    **{f"orientation {value}": _with_exif(_orientation(value)) for value in range(1, 9)},
    "orientation, little endian": _with_exif(_orientation(8, "II", entries=5)),
    "invalid orientation": _with_exif(_orientation(9)),
    "orientation behind fill bytes": _with_exif(_orientation(7), before=b"\xff\xff\xff"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_files_are_decoded_as_opencv_does(decoded, kind):
    np.testing.assert_array_equal(decoded(KINDS[kind]), read_rgb(KINDS[kind]))


def test_the_files_are_rotated_and_have_colours():
    assert read_rgb(KINDS["orientation 6"]).shape == (61, 45, 3)
    assert read_rgb(KINDS["jpeg"]).shape == (45, 61, 3)
    assert RGB.std() > 30


def test_orientation_of_a_png(decoded):
    # Expected by hand: OpenCV before 4.11 ignores it.
    exif = Image.Exif()
    exif[0x0112] = 6
    np.testing.assert_array_equal(decoded(_pillow("PNG", exif=exif)), np.rot90(RGB, -1))


@pytest.mark.parametrize("options", [{}, {"progressive": True, "subsampling": 0}])
def test_cmyk(decoded, options):
    inks = cv2.resize(RNG.integers(0, 256, (6, 8, 4), np.uint8), (61, 45), interpolation=cv2.INTER_CUBIC)
    content = _pillow("JPEG", Image.fromarray(inks, "CMYK"), **options)
    np.testing.assert_array_equal(decoded(content), read_rgb(content))
    opencv = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
    assert 1 <= np.abs(read_rgb(content).astype(int) - opencv).max() <= 2


def test_files_of_different_sizes_in_one_batch(batch):
    contents = [KINDS[kind] for kind in ("jpeg", "png alpha", "orientation 6", "one pixel")]
    expected = [cv2.resize(read_rgb(content), (32, 64)) for content in contents]
    np.testing.assert_array_equal(batch(contents), expected)


PNG = KINDS["png"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is neither a JPEG nor a PNG file"),
        (b"BM" + bytes(60), "is neither a JPEG nor a PNG file"),
        (b"\xff\xd8\xff", "has a header without a size"),
        (PNG[:8], "has a header without a size"),
        (PNG[:18], "has a header without a size"),
        (PNG[:16] + bytes(8) + PNG[24:], "has a header without a size"),
        (b"\xff\xd8" + b"\xff\xe0\0\2" * 2000, "has a header without a size"),  # a header without end
        (PNG[:16] + b"\xff" * 8 + PNG[24:], r"has more than 10000 pixels; its height and width are\] \[2147483647\] \[2147483647\]"),
        (_opencv(".png", np.zeros([101, 100, 3], np.uint8)), r"has more than 10000 pixels; its height and width are\] \[101\] \[100\]"),
        (_opencv(".jpg", np.zeros([100, 101, 3], np.uint8)), r"has more than 10000 pixels; its height and width are\] \[100\] \[101\]"),
        (KINDS["jpeg"][:-2], "is cut short"),
        (KINDS["orientation 6"][: len(KINDS["orientation 6"]) // 2], "is cut short"),
        (PNG[:-12], "is cut short"),
    ],
)
def test_broken_files_are_reported_with_their_row(batch, content, message):
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"image_bytes, row\] \[1\] \[{message}"):
        batch(tf.constant([PNG, content]))


def test_an_image_of_max_pixels_is_decoded(decoded):
    assert decoded(_opencv(".png", np.zeros([100, 100, 3], np.uint8))).shape == (100, 100, 3)
