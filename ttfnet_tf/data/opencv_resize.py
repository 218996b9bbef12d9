"""OpenCV's bilinear resize as TensorFlow operations, bit for bit.

Training resizes with OpenCV. A served graph and a pipeline without Python have only TensorFlow, whose own resize rounds differently, so
OpenCV's integer arithmetic is rebuilt here.

Reference: OpenCV 4.x, `modules/imgproc/src/resize.cpp` (`HResizeLinear`, `VResizeLinear` of uchar).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf

from ttfnet_tf.models.normalization import PADDING

_WEIGHT_BITS = 11  # of OpenCV's fixed-point weights


def resize(images: tf.Tensor, size: Sequence) -> tf.Tensor:
    """Resizes as `cv2.resize` with INTER_LINEAR does on bytes, without keeping the aspect ratio.

    The weights have 11 bits. Columns are weighted first and lose 4 bits; rows are weighted next, lose 16 bits and are rounded at the end.

    Args:
        images: uint8 [..., H, W, 3]; H and W may be unknown while tracing, but must not be 0.
        size: (height, width) of the result in pixels; numbers or int32 [].

    Returns:
        uint8 [..., height, width, 3].
    """
    shape = tf.shape(images)
    rank = images.shape.rank
    top, bottom, upper, lower = _source_lines(shape[-3], size[0], is_column=False)
    left, right, before, after = _source_lines(shape[-2], size[1], is_column=True)

    def only_used_rows():
        rows = tf.range(2 * size[0])
        return tf.gather(images, tf.concat([top, bottom], 0), axis=rank - 3), rows[: size[0]], rows[size[0] :]

    # Columns are weighted row by row: of a large image only in the rows that are used.
    images, top, bottom = tf.cond(shape[-3] > 2 * size[0], only_used_rows, lambda: (images, top, bottom))
    first, second = (tf.cast(tf.gather(images, columns, axis=rank - 2), tf.int32) for columns in (left, right))
    columns = tf.bitwise.right_shift(first * before[:, None] + second * after[:, None], 4)  # [..., H, width, 3]
    first = tf.bitwise.right_shift(tf.gather(columns, top, axis=rank - 3) * upper[:, None, None], 16)
    second = tf.bitwise.right_shift(tf.gather(columns, bottom, axis=rank - 3) * lower[:, None, None], 16)
    return tf.cast(tf.bitwise.right_shift(first + second + 2, 2), tf.uint8)


def resize_image(image: tf.Tensor, size: Sequence) -> tf.Tensor:
    """`resize` of one image on a processor, in less time: the weights as sparse matrices, each used by one operation.

    Args:
        image: uint8 [H, W, 3]; H and W may be unknown while tracing, but must not be 0.
        size: (height, width) of the result in pixels; numbers or int32 [].

    Returns:
        uint8 [height, width, 3].
    """
    height, width = size
    shape = tf.shape(image)
    top, bottom, upper, lower = _source_lines(shape[0], height, is_column=False)
    left, right, before, after = _source_lines(shape[1], width, is_column=True)
    lines = tf.reshape(tf.transpose(tf.cast(image, tf.int32), [1, 0, 2]), [shape[1], -1])  # [W, H 3]
    both = tf.range(2 * width) % width
    columns = _product(both, tf.concat([left, right], 0), tf.concat([before, after], 0), [width, shape[1]], lines)
    columns = tf.transpose(tf.reshape(tf.bitwise.right_shift(columns, 4), [width, shape[0], 3]), [1, 0, 2])
    # The two products of a row are shifted before they are added, so each has a row of its own.
    lines = tf.reshape(columns, [shape[0], width * 3])
    products = _product(tf.range(2 * height), tf.concat([top, bottom], 0), tf.concat([upper, lower], 0), [2 * height, shape[0]], lines)
    products = tf.bitwise.right_shift(products, 16)
    return tf.reshape(tf.cast(tf.bitwise.right_shift(products[:height] + products[height:] + 2, 2), tf.uint8), [height, width, 3])


def fitted_size(from_size: tf.Tensor, to_size: tuple[int, int]) -> tf.Tensor:
    """`boxes.fitted_size` with keep_ratio: int32 [..., 2] of int32 [..., 2]."""
    from_height, from_width = tf.unstack(tf.cast(from_size, tf.int64), axis=-1)
    height, width = (side + tf.zeros_like(from_height) for side in to_size)
    low = tf.stack([(2 * from_height * width + from_width) // (2 * from_width), width], axis=-1)
    high = tf.stack([height, (2 * from_width * height + from_height) // (2 * from_height)], axis=-1)
    is_low = (width * from_height <= height * from_width)[..., None]
    return tf.cast(tf.maximum(tf.where(is_low, low, high), 1), tf.int32)


def fit(images: tf.Tensor, size: tuple[int, int], *, resize: Callable = resize) -> tuple[tf.Tensor, tf.Tensor]:
    """`transforms.fit` with keep_ratio.

    Args:
        images: uint8 [..., H, W, 3]; H and W may be unknown while tracing, but must not be 0.
        size: (height, width) of the result in pixels.
        resize: `resize`, or `resize_image` for one image.

    Returns:
        uint8 [..., height, width, 3], and `fitted_size` int32 [2].
    """
    fitted = fitted_size(tf.shape(images)[-3:-1], size)
    images = resize(images, tf.unstack(fitted))
    spare = tf.concat([tf.zeros([images.shape.rank - 3], tf.int32), size - fitted, [0]], 0)
    is_image = (tf.range(size[0]) < fitted[0])[:, None, None] & (tf.range(size[1]) < fitted[1])[None, :, None]
    padded = tf.where(is_image, tf.pad(images, tf.stack([tf.zeros_like(spare), spare], 1)), tf.constant(PADDING, tf.uint8))
    return tf.ensure_shape(padded, [*images.shape[:-3], *size, 3]), fitted


def _product(rows, columns, values, shape, dense):
    """A sparse matrix of integers times a dense one, int32 [shape[0], ...]."""
    indices = tf.cast(tf.stack([rows, columns], axis=1), tf.int64)
    return tf.raw_ops.SparseTensorDenseMatMul(a_indices=indices, a_values=values, a_shape=tf.cast(tf.stack(shape), tf.int64), b=dense)


def _source_lines(length, target, *, is_column: bool):
    """(first, second, weight of the first, weight of the second): the two source rows or columns of each target one, int32 [target].

    Weights are in units of 1/2048. OpenCV moves columns outside the image to its border; a row outside is the border row twice, with both
    weights.
    """
    scale = 1.0 / (tf.cast(target, tf.float64) / tf.cast(length, tf.float64))
    position = tf.cast((tf.cast(tf.range(target), tf.float64) + 0.5) * scale - 0.5, tf.float32)
    first = tf.floor(position)
    fraction = position - first
    first = tf.cast(first, tf.int32)
    if is_column:
        fraction = tf.where((first < 0) | (first >= length - 1), 0.0, fraction)
    unit = float(1 << _WEIGHT_BITS)
    weights = [tf.cast(tf.round(weight * unit), tf.int32) for weight in (1.0 - fraction, fraction)]
    return tf.clip_by_value(first, 0, length - 1), tf.clip_by_value(first + 1, 0, length - 1), *weights
