"""Bytes of JPEG and PNG files to network input inside a TensorFlow graph, with the arithmetic of `data.images` and `data.transforms`.

Training decodes and resizes with OpenCV. A served graph has TensorFlow alone, so that OpenCV's bilinear rule is rebuilt here from integer
operations, bit for bit, and the EXIF orientation is read from the bytes. Headers are looked at before anything is decoded: what is no
image, or too large, is refused by the number of its row.

Reference: OpenCV 4.x, `modules/imgproc/src/resize.cpp` (`HResizeLinear`, `VResizeLinear` of uchar); JPEG: ITU-T T.81, annex B; EXIF 2.3,
sections 4.5 and 4.6; PNG: ISO/IEC 15948, section 11.2.2.
"""

from __future__ import annotations

import tensorflow as tf

_WEIGHT_BITS = 11  # of OpenCV's fixed-point weights
_MAX_SEGMENTS = 512  # of a header; each costs a turn of a loop
_MAX_ENTRIES = 256  # of an EXIF directory
_PARALLEL_IMAGES = 4  # decoded at once, which bounds the memory of a call to so many images of `max_pixels`
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_START_OF_FRAME = tuple(marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))


def resize(images: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Resizes as `cv2.resize` with INTER_LINEAR does on bytes, without keeping the ratio.

    Weights have 11 bits; a row is weighted in full, then cut to 4 bits less, weighted again, cut to its upper bits and rounded at last.

    Args:
        images: uint8 [..., H, W, 3], H and W may be unknown while tracing but not 0.
        size: (height, width) of the result in pixels.

    Returns:
        uint8 [..., height, width, 3].
    """
    shape = tf.shape(images)
    top, bottom, upper, lower = _taps(shape[-3], size[0], inside=False)
    left, right, before, after = _taps(shape[-2], size[1], inside=True)
    rank = images.shape.rank
    cells = tf.gather(images, tf.concat([top, bottom], 0), axis=rank - 3)
    cells = tf.cast(tf.gather(cells, tf.concat([left, right], 0), axis=rank - 2), tf.int32)  # [..., 2 height, 2 width, 3]
    columns = cells[..., : size[1], :] * before[:, None] + cells[..., size[1] :, :] * after[:, None]
    columns = tf.bitwise.right_shift(columns, 4)
    first = tf.bitwise.right_shift(columns[..., : size[0], :, :] * upper[:, None, None], 16)
    second = tf.bitwise.right_shift(columns[..., size[0] :, :, :] * lower[:, None, None], 16)
    return tf.cast(tf.bitwise.right_shift(first + second + 2, 2), tf.uint8)


def _taps(length, target: int, *, inside: bool):
    """Positions of the two source lines of each target line, and their weights in 1/2048; all int32 [target].

    OpenCV moves the position of a column into the image, while a row outside is the border twice, with its two weights.
    """
    scale = 1.0 / (tf.constant(float(target), tf.float64) / tf.cast(length, tf.float64))
    position = tf.cast((tf.range(target, dtype=tf.float64) + 0.5) * scale - 0.5, tf.float32)
    first = tf.floor(position)
    fraction = position - first
    first = tf.cast(first, tf.int32)
    if inside:
        fraction = tf.where((first < 0) | (first >= length - 1), 0.0, fraction)
    unit = float(1 << _WEIGHT_BITS)
    weights = [tf.cast(tf.round(weight * unit), tf.int32) for weight in (1.0 - fraction, fraction)]
    return tf.clip_by_value(first, 0, length - 1), tf.clip_by_value(first + 1, 0, length - 1), *weights


def decode_and_resize(contents: tf.Tensor, size: tuple[int, int], *, max_pixels: int) -> tf.Tensor:
    """Decodes JPEG and PNG files of any sizes, each turned as its EXIF orientation says, and resizes them.

    Args:
        contents: string [N], a file each.
        size: (height, width) of the result in pixels.
        max_pixels: an image with more is refused before it is decoded.

    Returns:
        uint8 [N, height, width, 3] RGB.

    Raises:
        tf.errors.InvalidArgumentError: at run time. An empty string, another format, a header without a size, an image that is too
            large and one that is cut short are told with their row; damage inside the image's data is told by the decoder.
    """

    def one(arguments):
        row, content = arguments
        return resize(decode(content, row, max_pixels=max_pixels), size)

    return tf.map_fn(
        one,
        (tf.range(tf.size(contents)), contents),
        fn_output_signature=tf.TensorSpec([*size, 3], tf.uint8),
        parallel_iterations=_PARALLEL_IMAGES,
    )


def decode(content: tf.Tensor, row: tf.Tensor, *, max_pixels: int) -> tf.Tensor:
    """Decodes one file; what else is to know stands at `decode_and_resize`.

    Args:
        content: string [].
        row: int32 [], for messages.
        max_pixels: a larger image is refused before it is decoded.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    is_jpeg = tf.strings.substr(content, 0, 3) == b"\xff\xd8\xff"
    is_png = tf.strings.substr(content, 0, 8) == _PNG_SIGNATURE
    with tf.control_dependencies([_check(is_jpeg | is_png, row, "is neither a JPEG nor a PNG file")]):
        # Zeros behind the end: a place that a damaged header points to reads as 0.
        data = tf.concat([tf.io.decode_raw(content, tf.uint8), tf.zeros([32], tf.uint8)], 0)
    height, width, orientation, is_whole = tf.cond(is_jpeg, lambda: _jpeg_header(data), lambda: _png_header(data))
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    checks = [
        _check((height > 0) & (width > 0), row, "has a header without a size"),
        _check(pixels <= max_pixels, row, f"has more than {max_pixels} pixels; its height and width are", height, width),
        _check(is_whole, row, "is cut short"),
    ]
    with tf.control_dependencies(checks):
        content = tf.identity(content)
    image = tf.cond(
        is_jpeg,
        # OpenCV's transform; TensorFlow would choose a faster one of lower accuracy.
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(content, channels=3),
    )
    return _turn(image, orientation)


def _check(condition, row, *message):
    return tf.debugging.Assert(condition, ["image_bytes, row", row, *message])


def _turn(image, orientation):
    """Applies an EXIF orientation 1..8: transposes from 5 on, then mirrors."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    mirrors = tf.reduce_any(orientation == [2, 3, 6, 7])
    image = tf.cond(mirrors, lambda: image[:, ::-1], lambda: image)
    upends = tf.reduce_any(orientation == [3, 4, 7, 8])
    return tf.cond(upends, lambda: image[::-1], lambda: image)


def _png_header(data):
    """Height, width, orientation by a chunk eXIf before the image's data (else 1), and whether the last chunk is there."""
    end = tf.size(data)  # `exif` is its place; -1 is not found yet, 0 is none

    def goes_on(place, exif, count):
        return (place < end) & (exif < 0) & (count < _MAX_SEGMENTS)

    def step(place, exif, count):
        length = tf.minimum(_number(data, place, 4), end)
        is_over = _equals(data, place + 4, b"IDAT") | _equals(data, place + 4, b"IEND")
        exif = tf.where(is_over, 0, tf.where(_equals(data, place + 4, b"eXIf"), place + 8, exif))
        return place + 12 + length, exif, count + 1

    _, exif, _ = tf.while_loop(goes_on, step, (8, -1, 0))
    is_header = _equals(data, 12, b"IHDR")
    height, width = (tf.where(is_header, _number(data, place, 4), 0) for place in (20, 16))
    return height, width, _orientation(data, exif), _contains(data, b"IEND")


def _jpeg_header(data):
    """Height and width of the first frame (0 if there is none), orientation by the first EXIF segment before it (else 1), and whether
    the image has an end.
    """
    end = tf.size(data)  # `frame` and `exif` are places; -1 is not found yet, 0 is none

    def goes_on(place, frame, exif, count):
        return (place < end) & (frame < 0) & (count < _MAX_SEGMENTS)

    def step(place, frame, exif, count):
        first, marker = _byte(data, place), _byte(data, place + 1)
        is_fill = (first == 0xFF) & (marker == 0xFF)
        is_over = (first != 0xFF) | (marker == 0xDA) | (marker == 0xD9)
        is_frame = tf.reduce_any(marker == _START_OF_FRAME)
        is_exif = (marker == 0xE1) & _equals(data, place + 4, b"Exif\0\0")
        frame = tf.where(is_fill, frame, tf.where(is_over, 0, tf.where(is_frame, place, frame)))
        exif = tf.where(is_exif & (exif < 0), place + 10, exif)
        return place + tf.where(is_fill, 1, 2 + _number(data, place + 2, 2)), frame, exif, count + 1

    _, frame, exif, _ = tf.while_loop(goes_on, step, (2, -1, -1, 0))
    height, width = (tf.where(frame > 0, _number(data, frame + place, 2), 0) for place in (5, 7))
    return height, width, _orientation(data, exif), _contains(data[tf.maximum(frame, 0) :], b"\xff\xd9")


def _orientation(data, start):
    """Value of tag 0x0112 in the first directory of the TIFF structure at `start`; 1 if there is none that makes sense."""
    is_little = _equals(data, start, b"II")

    def number(place, size):
        values = _bytes(data, place, size)
        return _join(tf.where(is_little, tf.reverse(values, [0]), values))

    def read():
        directory = start + tf.minimum(number(start + 4, 4), tf.size(data))
        places = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), _MAX_ENTRIES))
        low, high = tf.where(is_little, 0, 1), tf.where(is_little, 1, 0)
        tags = _byte(data, places + low) + 256 * _byte(data, places + high)
        values = _byte(data, places + 8 + low) + 256 * _byte(data, places + 8 + high)
        value = tf.concat([tf.boolean_mask(values, tags == 0x0112), [1]], 0)[0]
        return tf.where((value >= 1) & (value <= 8), value, 1)

    return tf.cond(start > 0, read, lambda: 1)


def _byte(data, place):
    """Bytes at one or more places as int32; 0 outside."""
    return tf.cast(tf.gather(data, tf.clip_by_value(place, 0, tf.size(data) - 1)), tf.int32)


def _bytes(data, place, count: int):
    return _byte(data, place + tf.range(count))


def _equals(data, place, expected: bytes):
    return tf.reduce_all(_bytes(data, place, len(expected)) == list(expected))


def _contains(data, expected: bytes):
    """Whether the bytes stand anywhere in the data, which end in zeros."""
    length = tf.size(data) - len(expected)
    found = tf.fill([length], True)
    for shift, value in enumerate(expected):
        found &= data[shift : length + shift] == value
    return tf.reduce_any(found)


def _number(data, place, size: int):
    """The big-endian number at a place."""
    return _join(_bytes(data, place, size))


def _join(values):
    """Bytes, the highest first, to one int32 of 0 or more: what does not fit in 31 bits is the largest one."""
    total = tf.constant(0, tf.int64)
    for value in tf.unstack(tf.cast(values, tf.int64)):
        total = 256 * total + value
    return tf.cast(tf.minimum(total, 2**31 - 1), tf.int32)
