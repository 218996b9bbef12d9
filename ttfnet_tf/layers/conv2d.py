"""Convolution whose filter gradient in bfloat16 is a matrix product where that is faster than the library's own.

An AMX tile multiplies 32 cells at a time, and the time of oneDNN's filter gradient hardly decreases when the rows of its output are shorter
than that: of 512 x 512 channels it takes 5.1 ms for 4 x 4 cells and 7.1 for 8 x 8. Here the windows of all cells are gathered side by side,
and one product takes the whole map. docs/benchmarks/speed.md has the times.
"""

from __future__ import annotations

import functools

import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.layers.sizes import size_of
from ttfnet_tf.processor import bfloat16_unit

# Stride -> the longest row of the output in cells, and the fewest weights of a tap (input times output channels), of a product that is
# faster. Other strides have none.
_SHORT_ROWS = {1: (14, 256 * 256), 2: (32, 128 * 256)}


class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with the same values. Its filter gradient has another rounding where `has_short_rows` holds."""

    def convolution_op(self, inputs, kernel):
        stride, padding = self.strides[0], self.padding.upper()
        if self.strides[1] == stride and has_short_rows(inputs, kernel.shape, stride, padding):
            return convolve(inputs, tf.cast(kernel, inputs.dtype), stride, padding)
        return super().convolution_op(inputs, kernel)


def has_short_rows(inputs: tf.Tensor, kernel_shape: tf.TensorShape, stride: int, padding: str) -> bool:
    """Whether the filter gradient of a convolution is faster as a matrix product.

    Args:
        inputs: [B, H, W, C].
        kernel_shape: [s, s, C, D].
        stride: distance of the output cells in input cells.
        padding: "SAME" with stride 1, "VALID" with a larger one; the answer to any other is no.
    """
    side, _, channels, filters = kernel_shape
    if inputs.dtype != tf.bfloat16 or stride not in _SHORT_ROWS or padding != ("SAME" if stride == 1 else "VALID"):
        return False
    if inputs.shape[2] is None or side == stride == 1:  # nothing is gathered for one cell
        return False
    row = inputs.shape[2] if stride == 1 else (inputs.shape[2] - side) // stride + 1
    longest, fewest = _SHORT_ROWS[stride]
    return row <= longest and channels * filters >= fewest and _computes_on_amx()


@functools.cache
def _computes_on_amx() -> bool:
    return bfloat16_unit() == "amx_bf16" and not tf.config.list_physical_devices("GPU")


def convolve(x, kernel, stride: int, padding: str) -> tf.Tensor:
    """Convolution whose filter gradient is one matrix product.

    Args:
        x: [B, H, W, C].
        kernel: [s, s, C, D] with s odd, in the type of x.
        stride: distance of the output cells in input cells.
        padding: "SAME" with stride 1, or "VALID".

    Returns:
        [B, h, w, D] in the type of x.
    """

    @tf.custom_gradient
    def function(x, kernel):
        def gradient(grad):
            grad_x = tf.raw_ops.Conv2DBackpropInput(
                input_sizes=tf.shape(x), filter=kernel, out_backprop=grad, strides=[1, stride, stride, 1], padding=padding
            )
            around = kernel.shape[0] // 2 if padding == "SAME" else 0
            padded = tf.pad(x, [[0, 0], [around] * 2, [around] * 2, [0, 0]]) if around else x
            columns = _columns(padded, kernel.shape[0], stride, grad)
            product = tf.matmul(columns, tf.reshape(grad, [-1, grad.shape[-1]]), transpose_a=True)
            return grad_x, tf.reshape(product, kernel.shape)

        return tf.nn.conv2d(x, kernel, stride, padding), gradient

    return function(x, kernel)


def _columns(x, side, stride, out):
    """[B h w, s s C]: the window of each cell of `out` [B, h, w, D], row after row."""
    batch, height, width, channels = size_of(x)
    _, rows, columns, _ = size_of(out)
    taps = tf.range(side)
    row = (tf.range(batch)[:, None] * height + tf.range(rows) * stride)[:, :, None] + taps  # [B, h, s]
    column = tf.range(columns)[:, None] * stride + taps  # [w, s]
    cells = row[:, :, None, :, None] * width + column[:, None, :]  # [B, h, w, s, s]
    return tf.reshape(tf.gather(tf.reshape(x, [-1, channels]), cells), [-1, side**2 * channels])
