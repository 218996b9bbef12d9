"""The JPEG and PNG decoder of the served graph: bytes of image files to network input, as training reads the same files.

The header is parsed before the image is decoded: files that are no image, too large or cut short are refused with the number of their
row. The EXIF orientation is read from the header too, because TensorFlow's decoders ignore it.

Reference: JPEG: ITU-T T.81, annex B; EXIF 2.3, sections 4.5 and 4.6; PNG: ISO/IEC 15948, section 11.2.2.
"""

from __future__ import annotations

import tensorflow as tf

from ttfnet_tf.export.opencv_resize import resize

_MAX_SEGMENTS = 512  # of a header; each is one turn of a loop
_MAX_ENTRIES = 256  # of an EXIF directory
_PARALLEL_IMAGES = 4  # decoded at the same time: bounds the memory of a request to this many images of `max_pixels`
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_START_OF_FRAME = tuple(marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))


def decode_and_resize(contents: tf.Tensor, size: tuple[int, int], *, max_pixels: int) -> tf.Tensor:
    """Decodes JPEG and PNG files of any size, applies their EXIF orientation and resizes them.

    Args:
        contents: string [N], one file each.
        size: (height, width) of the result in pixels.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        uint8 [N, height, width, 3] RGB.

    Raises:
        tf.errors.InvalidArgumentError: at run time, for an empty string, another format, a header without a size, an image that is too
            large, or a file that is cut short; the message has the row. Damaged image data gets the message of TensorFlow's decoder.
    """

    def decode_row(arguments):
        row, content = arguments
        return resize(decode(content, row, max_pixels=max_pixels), size)

    return tf.map_fn(
        decode_row,
        (tf.range(tf.size(contents)), contents),
        fn_output_signature=tf.TensorSpec([*size, 3], tf.uint8),
        parallel_iterations=_PARALLEL_IMAGES,
    )


def decode(content: tf.Tensor, row: tf.Tensor, *, max_pixels: int) -> tf.Tensor:
    """Decodes one file, with the checks and errors of `decode_and_resize`.

    Args:
        content: string [].
        row: int32 [], for error messages.
        max_pixels: larger images are refused before they are decoded.

    Returns:
        uint8 [H, W, 3] RGB.
    """
    is_jpeg = tf.strings.substr(content, 0, 3) == b"\xff\xd8\xff"
    is_png = tf.strings.substr(content, 0, 8) == _PNG_SIGNATURE
    with tf.control_dependencies([_check(is_jpeg | is_png, row, "is neither a JPEG nor a PNG file")]):
        # Zeros after the end, so that an offset in a damaged header that points past the end reads 0.
        data = tf.concat([tf.io.decode_raw(content, tf.uint8), tf.zeros([32], tf.uint8)], 0)
    height, width, orientation, is_complete = tf.cond(is_jpeg, lambda: _jpeg_header(data), lambda: _png_header(data))
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    checks = [
        _check((height > 0) & (width > 0), row, "has a header without a size"),
        _check(pixels <= max_pixels, row, f"has more than {max_pixels} pixels; its height and width are", height, width),
        _check(is_complete, row, "is cut short"),
    ]
    with tf.control_dependencies(checks):
        content = tf.identity(content)
    image = tf.cond(
        is_jpeg,
        # The transform that OpenCV uses; TensorFlow's default is faster and less accurate.
        lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"),
        lambda: tf.io.decode_png(content, channels=3),
    )
    return _orient(image, orientation)


def _check(condition, row, *message):
    return tf.debugging.Assert(condition, ["image_bytes, row", row, *message])


def _orient(image, orientation):
    """Applies an EXIF orientation 1..8: 5 to 8 transpose, then rows and columns are mirrored."""
    image = tf.cond(orientation >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
    is_mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
    image = tf.cond(is_mirrored, lambda: image[:, ::-1], lambda: image)
    is_upside_down = tf.reduce_any(orientation == [3, 4, 7, 8])
    return tf.cond(is_upside_down, lambda: image[::-1], lambda: image)


def _png_header(data):
    """(height, width, orientation, whether the last chunk is there); the orientation is that of an eXIf chunk before the data, else 1."""
    end = tf.size(data)  # `exif` is an offset; -1: not found yet, 0: there is none

    def is_searching(offset, exif, count):
        return (offset < end) & (exif < 0) & (count < _MAX_SEGMENTS)

    def next_chunk(offset, exif, count):
        length = tf.minimum(_number(data, offset, 4), end)
        is_last = _equals(data, offset + 4, b"IDAT") | _equals(data, offset + 4, b"IEND")
        exif = tf.where(is_last, 0, tf.where(_equals(data, offset + 4, b"eXIf"), offset + 8, exif))
        return offset + 12 + length, exif, count + 1

    _, exif, _ = tf.while_loop(is_searching, next_chunk, (8, -1, 0))
    is_header = _equals(data, 12, b"IHDR")
    height, width = (tf.where(is_header, _number(data, offset, 4), 0) for offset in (20, 16))
    return height, width, _orientation(data, exif), _contains(data, b"IEND")


def _jpeg_header(data):
    """(height, width, orientation, whether the end marker is there).

    Height and width are those of the first frame, 0 without one; the orientation is that of the first EXIF segment before it, else 1.
    """
    end = tf.size(data)  # `frame` and `exif` are offsets; -1: not found yet, 0: there is none

    def is_searching(offset, frame, exif, count):
        return (offset < end) & (frame < 0) & (count < _MAX_SEGMENTS)

    def next_segment(offset, frame, exif, count):
        first, marker = _byte(data, offset), _byte(data, offset + 1)
        is_fill = (first == 0xFF) & (marker == 0xFF)
        is_last = (first != 0xFF) | (marker == 0xDA) | (marker == 0xD9)
        is_frame = tf.reduce_any(marker == _START_OF_FRAME)
        is_exif = (marker == 0xE1) & _equals(data, offset + 4, b"Exif\0\0")
        frame = tf.where(is_fill, frame, tf.where(is_last, 0, tf.where(is_frame, offset, frame)))
        exif = tf.where(is_exif & (exif < 0), offset + 10, exif)
        return offset + tf.where(is_fill, 1, 2 + _number(data, offset + 2, 2)), frame, exif, count + 1

    _, frame, exif, _ = tf.while_loop(is_searching, next_segment, (2, -1, -1, 0))
    height, width = (tf.where(frame > 0, _number(data, frame + offset, 2), 0) for offset in (5, 7))
    return height, width, _orientation(data, exif), _contains(data[tf.maximum(frame, 0) :], b"\xff\xd9")


def _orientation(data, start):
    """Value of tag 0x0112 in the first directory of the TIFF structure at `start`; 1 if there is none, or no valid one."""
    is_little_endian = _equals(data, start, b"II")

    def number(offset, size):
        values = _bytes(data, offset, size)
        return _join(tf.where(is_little_endian, tf.reverse(values, [0]), values))

    def read():
        directory = start + tf.minimum(number(start + 4, 4), tf.size(data))
        entries = directory + 2 + 12 * tf.range(tf.minimum(number(directory, 2), _MAX_ENTRIES))
        low, high = tf.where(is_little_endian, 0, 1), tf.where(is_little_endian, 1, 0)
        tags = _byte(data, entries + low) + 256 * _byte(data, entries + high)
        values = _byte(data, entries + 8 + low) + 256 * _byte(data, entries + 8 + high)
        value = tf.concat([tf.boolean_mask(values, tags == 0x0112), [1]], 0)[0]
        return tf.where((value >= 1) & (value <= 8), value, 1)

    return tf.cond(start > 0, read, lambda: 1)


def _byte(data, offset):
    """The bytes at one or more offsets as int32; past the end they are 0."""
    return tf.cast(tf.gather(data, tf.clip_by_value(offset, 0, tf.size(data) - 1)), tf.int32)


def _bytes(data, offset, count: int):
    return _byte(data, offset + tf.range(count))


def _equals(data, offset, expected: bytes):
    return tf.reduce_all(_bytes(data, offset, len(expected)) == list(expected))


def _contains(data, expected: bytes):
    """Whether `expected` occurs anywhere in the data, which ends in zeros."""
    length = tf.size(data) - len(expected)
    found = tf.fill([length], True)
    for shift, value in enumerate(expected):
        found &= data[shift : length + shift] == value
    return tf.reduce_any(found)


def _number(data, offset, size: int):
    """The big-endian number of `size` bytes at an offset."""
    return _join(_bytes(data, offset, size))


def _join(values):
    """Bytes, most significant first, as one int32 of 0 or more; numbers above 31 bits become the largest."""
    total = tf.constant(0, tf.int64)
    for value in tf.unstack(tf.cast(values, tf.int64)):
        total = 256 * total + value
    return tf.cast(tf.minimum(total, 2**31 - 1), tf.int32)
