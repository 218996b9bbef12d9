"""HEIC images, with pillow-heif and without it."""

import contextlib
import io
import random
import sys

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf.data.images import read_rgb, read_with_header
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.image_files import find_images

HEADER = b"\0\0\0\x18ftypheic" + bytes(500)


def test_without_the_package_the_line_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "a.heic").write_bytes(HEADER)
    with pytest.raises(UserError) as caught:
        read_rgb(tmp_path / "a.heic")
    what = "is a HEIC image, which needs pillow-heif; pip install 'ttfnet-tf[heic]', or convert it to JPEG or PNG"
    assert str(caught.value) == f"{tmp_path}/a.heic: {what}"
    assert find_images([str(tmp_path)]).notes == [
        f"{tmp_path}: skipped 1 HEIC image (a.heic); pip install 'ttfnet-tf[heic]' reads HEIC images"
    ]


def test_without_a_codec_of_avif_the_line_names_the_command(monkeypatch):
    from ttfnet_tf.data import images

    monkeypatch.delitem(images._DECODERS, "AVIF", raising=False)
    with pytest.raises(
        UserError, match=r"^x: is an AVIF image, which needs Pillow 11\.3 or later; pip install 'Pillow>=11\.3', or convert"
    ):
        read_rgb(b"\0\0\0\x18ftypavif" + bytes(100), "x")


@pytest.fixture
def heif():
    return pytest.importorskip("pillow_heif", exc_type=ImportError)


def _encoded(heif, pixels, **options):
    file = io.BytesIO()
    heif.from_pillow(Image.fromarray(pixels)).save(file, quality=95, **options)
    return file.getvalue()


PIXELS = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 255, (5, 8, 3), np.uint8), 16, axis=0), 16, axis=1)


def test_pixels_size_and_orientation(heif, tmp_path):
    image, header = read_with_header(_encoded(heif, PIXELS), "x")
    assert (header.format, header.size) == ("HEIF", (80, 128))
    assert np.abs(image.astype(int) - PIXELS).mean() < 3  # lossy
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter, clockwise
    (tmp_path / "a.data").write_bytes(_encoded(heif, PIXELS, exif=exif.tobytes()))
    assert np.abs(read_rgb(tmp_path / "a.data").astype(int) - np.rot90(PIXELS, -1)).mean() < 3
    assert len(find_images([str(tmp_path)]).images) == 1
    alpha = np.dstack([PIXELS, np.zeros_like(PIXELS[..., 0])])
    assert read_rgb(_encoded(heif, alpha)).shape == PIXELS.shape  # dropped, not blended


def test_damaged_files_are_one_line_or_an_image(heif):
    draw, whole = random.Random(0), _encoded(heif, PIXELS)
    with pytest.raises(UserError, match="is a damaged image"):
        read_rgb(whole[: len(whole) // 2])
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(draw.choice([1, 5, 20])):
            data[draw.randrange(len(data))] = draw.randrange(256)
        with contextlib.suppress(UserError):
            assert read_rgb(bytes(data)).ndim == 3


def test_too_many_pixels_are_refused_before_decoding(heif, monkeypatch):
    monkeypatch.setattr("ttfnet_tf.data.images.MAX_PIXELS", 5000)
    with pytest.raises(UserError, match=r"has 128 x 80 pixels; images may have up to 5000"):
        read_rgb(_encoded(heif, PIXELS))
