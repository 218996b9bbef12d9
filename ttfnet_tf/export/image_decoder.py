"""The JPEG and PNG decoder of the served graph: bytes of image files to network input, as training reads the same files.

The structure is checked before the image is decoded: files that are no image, too large, cut short or damaged are refused with the number
of their row. The EXIF orientation is read from the header too, because TensorFlow's decoders ignore it. `data/jpeg_header.py` has the
same rules in Python; both accept the same files.

Reference: JPEG: ITU-T T.81, annex B; EXIF 2.3, sections 4.5 and 4.6; PNG: ISO/IEC 15948, section 11.2.2.
"""

from __future__ import annotations

import tensorflow as tf

from ttfnet_tf.data import image_headers as headers
from ttfnet_tf.data import jpeg_header
from ttfnet_tf.data.opencv_resize import fit, resize

_MAX_ENTRIES = headers.MAX_MARKERS // 2  # of an EXIF directory
_PARALLEL_IMAGES = 4  # decoded at the same time: bounds the memory of a request to this many images of `max_pixels`
_CHANNELS, _COEFFICIENTS = 4, 10  # of a JPEG: at most, and those of each channel that decoders guess where they are missing
_ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"  # says that inks are stored inverted
_CUT_SHORT, _DAMAGED, _COMPLETE = 1, 2, 3  # states of a walk; 0: it goes on
_OTHER, _FRAME, _SCAN, _ALONE, _SKIPPED, _HARMLESS = range(6)  # kinds of markers; the last two have a length
_KINDS = [
    _FRAME
    if marker in jpeg_header.FRAMES
    else _ALONE
    if marker in jpeg_header.ALONE
    else _HARMLESS
    if marker in jpeg_header.HARMLESS
    else _SKIPPED
    if marker in jpeg_header.SKIPPED
    else _SCAN
    if marker == 0xDA
    else _OTHER
    for marker in range(256)
]


def decode_and_resize(
    contents: tf.Tensor, size: tuple[int, int], *, max_pixels: int, keep_ratio: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes JPEG and PNG files of any size, applies their EXIF orientation and resizes them.

    Args:
        contents: string [N], one file each.
        size: (height, width) of the result in pixels.
        max_pixels: larger images are refused before they are decoded.
        keep_ratio: whether images keep their ratio, see `boxes.fitted_size`.

    Returns:
        uint8 [N, height, width, 3] RGB, and int32 [N, 2] height and width of the images in it.

    Raises:
        tf.errors.InvalidArgumentError: at run time, for an empty string, another format, a header without a size, an image that is too
            large, or a file that is cut short; the message has the row. Damaged image data gets the message of TensorFlow's decoder.
    """

    def decode_row(arguments):
        row, content = arguments
        image = decode(content, row, max_pixels=max_pixels)
        return fit(image, size) if keep_ratio else (resize(image, size), tf.constant(size))

    return tf.map_fn(
        decode_row,
        (tf.range(tf.size(contents)), contents),
        fn_output_signature=(tf.TensorSpec([*size, 3], tf.uint8), tf.TensorSpec([2], tf.int32)),
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
    is_png = tf.strings.substr(content, 0, 8) == headers.PNG_SIGNATURE
    with tf.control_dependencies([_check(is_jpeg | is_png, row, "is neither a JPEG nor a PNG file")]):
        # Zeros after the end, so that an offset in a damaged header that points past the end reads 0.
        data = tf.concat([tf.io.decode_raw(content, tf.uint8), tf.zeros([32], tf.uint8)], 0)
    height, width, orientation, state, needs_adobe = tf.cond(is_jpeg, lambda: _jpeg_header(data), lambda: _png_header(data))
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    checks = [
        _check((height > 0) & (width > 0), row, "has a header without a size"),
        _check(pixels <= max_pixels, row, f"has more than {max_pixels} pixels; its height and width are", height, width),
        _check(state != _CUT_SHORT, row, "is cut short"),
        _check(state == _COMPLETE, row, "is damaged: its markers or scans are incomplete or out of place"),
    ]
    with tf.control_dependencies(checks):
        content = tf.identity(content)
    image = tf.cond(is_jpeg, lambda: _decode_jpeg(content, needs_adobe), lambda: _decode_png(content, data, row))
    return _orient(image, orientation)


def _decode_jpeg(content, needs_adobe):
    # Four inks are stored inverted, as Adobe does it, whether the file says so or not; so does the reference.
    content = tf.cond(
        needs_adobe,
        lambda: tf.strings.join([tf.strings.substr(content, 0, 2), _ADOBE, tf.strings.substr(content, 2, -1)]),
        lambda: content,
    )
    # The transform that OpenCV and Pillow use; TensorFlow's default is faster and less accurate.
    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_png(content, data, row):
    image = tf.io.decode_png(content, channels=3)
    is_deep = _byte(data, 24) == 16
    is_bright = tf.cast(tf.reduce_max(image), tf.int32) >= headers.DEEP_LIMIT
    with tf.control_dependencies([_check(~is_deep | is_bright, row, "has 16 bits a channel and no value above 4095")]):
        return tf.identity(image)


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
    """(height, width, orientation, state, False); the orientation is that of the first eXIf chunk before the data, else 1."""
    end = tf.size(data)  # `exif` is an offset; -1: not found yet, 0: there is none

    def is_searching(offset, exif, count):
        return (offset < end) & (exif < 0) & (count < headers.MAX_MARKERS)

    def next_chunk(offset, exif, count):
        length = tf.minimum(_number(data, offset, 4), end)
        is_last = _equals(data, offset + 4, b"IDAT") | _equals(data, offset + 4, b"IEND")
        exif = tf.where(is_last, 0, tf.where(_equals(data, offset + 4, b"eXIf"), offset + 8, exif))
        return offset + 12 + length, exif, count + 1

    _, exif, _ = tf.while_loop(is_searching, next_chunk, (8, -1, 0))
    is_header = _equals(data, 12, b"IHDR")
    height, width = (tf.where(is_header, _number(data, offset, 4), 0) for offset in (20, 16))
    state = tf.where(_contains(data, b"IEND"), _COMPLETE, _CUT_SHORT)
    return height, width, _orientation(data, exif), state, False


def _jpeg_header(data):
    """(height, width, orientation, state, whether four inks come without Adobe's marker), by the rules of `data.jpeg_header`.

    Height and width are those of the frame, 0 without one; the orientation is that of the first EXIF segment, else 1.
    """
    end = tf.size(data) - 32  # of the file
    markers, ends_of_scans = _markers(data)
    header = _before_scans(data, markers, end)
    frame = _frame(data, header["frame"], end)
    walk = _scans(data, markers, ends_of_scans, end, header, frame)
    state = tf.where(walk["state"] == 0, _DAMAGED, walk["state"])
    needs_adobe = (frame["channels"] == 4) & ~header["is_adobe"]
    return frame["size"][0], frame["size"][1], _orientation(data, header["exif"]), state, needs_adobe


def _before_scans(data, markers, end):
    """Walks to the first scan: its offset is `place`; with the offsets of frame and EXIF, -1 where there is none."""

    def goes_on(walk):
        return (walk["state"] == 0) & ~walk["is_scan"] & (walk["count"] < headers.MAX_MARKERS)

    def next_marker(walk):
        start = _first_from(markers, walk["place"])
        head = _bytes(data, start, 10)
        marker, length = head[1], 256 * head[2] + head[3]
        kind = tf.gather(_KINDS, marker)
        has_frame = walk["frame"] >= 0
        is_exif = (marker == 0xE1) & tf.reduce_all(head[4:] == list(b"Exif\0\0")) & (walk["exif"] < 0)
        is_frame = (kind == _FRAME) & ~has_frame
        is_scan = (kind == _SCAN) & has_frame
        is_in_place = is_frame | is_scan | (kind == _ALONE) | ((kind >= _SKIPPED) & (length >= 2))
        return {
            "place": tf.where(is_scan, start, start + 2 + tf.where(kind == _ALONE, 0, length)),
            "count": walk["count"] + 1,
            "state": tf.where(start >= end, _CUT_SHORT, tf.where(is_in_place, 0, _DAMAGED)),
            "is_scan": is_scan & (start < end),
            "frame": tf.where(is_frame, start, walk["frame"]),
            "exif": tf.where(is_exif, start + 10, walk["exif"]),
            "is_adobe": walk["is_adobe"] | ((marker == 0xEE) & tf.reduce_all(head[4:9] == list(b"Adobe"))),
        }

    start = {name: tf.constant(value) for name, value in (("place", 2), ("count", 0), ("state", 0), ("frame", -1), ("exif", -1))}
    start |= {"is_scan": tf.constant(False), "is_adobe": tf.constant(False)}
    (walk,) = tf.while_loop(goes_on, lambda walk: (next_marker(walk),), (start,))
    return walk


def _frame(data, start, end):
    """Size, channels and their names in the frame at `start`; zeros where that is negative."""
    is_there, length = start >= 0, _number(data, start + 2, 2)
    channels = tf.where(is_there, _byte(data, start + 9), 0)
    is_valid = (_byte(data, start + 4) == 8) & _is_in(channels, (1, 3, 4)) & (length == 8 + 3 * channels) & (start + 2 + length <= end)
    size = tf.where(is_there, tf.stack([_number(data, start + 5, 2), _number(data, start + 7, 2)]), 0)
    rows = tf.range(_CHANNELS)
    return {
        "size": size,
        "channels": channels,
        "is_progressive": _byte(data, start + 1) == 0xC2,
        "ids": tf.where(rows < channels, _byte(data, start + 10 + 3 * rows), -1),
        "is_valid": is_valid & tf.reduce_all(size > 0),
    }


def _scans(data, markers, ends_of_scans, end, header, frame):
    """Walks from the first scan to the end of the image; its `state` says how that went."""
    is_progressive, pixels = frame["is_progressive"], tf.reduce_prod(tf.cast(frame["size"], tf.int64))

    def goes_on(walk):
        return (walk["state"] == 0) & (walk["count"] < headers.MAX_MARKERS)

    def next_marker(walk):
        start = _first_from(markers, walk["place"])
        head = _bytes(data, start, 16)
        marker, length = head[1], 256 * head[2] + head[3]
        kind, after = tf.gather(_KINDS, marker), start + 2 + length
        is_complete = (walk["scans"] > 0) & (tf.reduce_max(walk["missing"]) == 0)
        is_over = is_complete & ~is_progressive  # a progressive image may go on until its end
        is_scan = (kind == _SCAN) & ~is_over
        missing, is_valid = _after_scan(walk["missing"], head, start, end, frame)
        scans = walk["scans"] + tf.cast(is_scan, tf.int32)
        is_valid &= (scans <= jpeg_header.MAX_SCANS) & (tf.cast(scans - 1, tf.int64) * pixels <= jpeg_header.MAX_SCANNED)
        is_skipped = (length >= 2) & ((kind == _HARMLESS) | ((kind == _SKIPPED) & ~is_over))
        is_contiguous = tf.reduce_all(data[tf.minimum(walk["place"], start) : start] == 255)
        is_in_place = is_contiguous & (is_skipped | (is_scan & is_valid))
        place = tf.where(is_scan, _first_from(ends_of_scans, after), after)
        is_cut = (start >= end) | (is_in_place & is_scan & (place >= end))
        state = tf.where(is_in_place, 0, tf.where((marker == 0xD9) & is_complete & is_contiguous, _COMPLETE, _DAMAGED))
        return {
            "place": place,
            "count": walk["count"] + 1,
            "state": tf.where(is_cut, _CUT_SHORT, state),
            "scans": scans,
            "missing": tf.where(is_scan, missing, walk["missing"]),
        }

    is_there = tf.range(_CHANNELS) < frame["channels"]
    start = {
        "place": header["place"],
        "count": header["count"] - 1,
        "state": tf.where(header["state"] != 0, header["state"], tf.where(header["is_scan"] & frame["is_valid"], 0, _DAMAGED)),
        "scans": tf.constant(0),
        # Bits of the first coefficients of every channel that have not come.
        "missing": tf.repeat(tf.cast(is_there, tf.int32)[:, None], _COEFFICIENTS, axis=1),
    }
    (walk,) = tf.while_loop(goes_on, lambda walk: (next_marker(walk),), (start,))
    return walk


def _after_scan(missing, head, start, end, frame):
    """(what is missing after the scan whose first 16 bytes are `head`, whether its header is valid)."""
    number, length = head[4], 256 * head[2] + head[3]
    is_valid = (number >= 1) & (number <= _CHANNELS) & (length >= 6 + 2 * number) & (start + 8 + 2 * number <= end)
    scanned = tf.where(tf.range(_CHANNELS) < number, head[5:12:2], -2)
    first, last, low = tf.unstack(tf.gather(head, tf.clip_by_value(2 * number + tf.constant([5, 6, 7]), 0, 15)))
    coefficients = tf.range(_COEFFICIENTS)
    is_brought = ~frame["is_progressive"] | ((coefficients >= first) & (coefficients <= last))
    is_brought &= tf.reduce_any(frame["ids"][:, None] == scanned, axis=1)[:, None]
    return tf.where(is_brought, tf.where(frame["is_progressive"], low % 16, 0), missing), is_valid


def _markers(data):
    """Offsets of all markers of a JPEG, and of those that end a scan; both end in the length of the file."""
    end, codes = tf.size(data) - 32, data[1:]
    is_marker = (data[:-1] == 255) & (codes != 0) & (codes != 255)
    is_restart = (codes >= 0xD0) & (codes <= 0xD7)
    found = (tf.cast(tf.where(mask)[:, 0], tf.int32) for mask in (is_marker, is_marker & ~is_restart))
    return tuple(tf.concat([offsets, [end]], 0) for offsets in found)


def _first_from(offsets, place):
    """The first of ascending offsets that is not below `place`, else the last."""
    return offsets[tf.minimum(tf.searchsorted(offsets, [place])[0], tf.size(offsets) - 1)]


def _is_in(value, values):
    return tf.reduce_any(value == list(values))


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
