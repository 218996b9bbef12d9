"""Convolution whose filter gradient in bfloat16 is a matrix product where that is faster than the library's own.

An AMX tile multiplies 32 cells at a time, and the time of oneDNN's filter gradient hardly decreases when the rows of a map are shorter than
that: of 512 x 512 channels it takes 6.1 ms for 4 x 4 cells and 7.2 for 8 x 8. Here the windows of all cells are written side by side, and
one product takes the whole map: 2.1 and 3.2 ms (docs/benchmarks/speed.md).
"""

from __future__ import annotations

import functools

import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.processor import bfloat16_unit

_LONGEST_ROW = 12  # cells; from 14 on the library is as fast
_FEWEST_WEIGHTS = 256 * 256  # input times output channels; below it both take about a millisecond


class Conv2D(keras.layers.Conv2D):
    """`keras.layers.Conv2D` with the same values. Its filter gradient has another rounding where `has_short_rows` holds."""

    def convolution_op(self, inputs, kernel):
        if self.strides == (1, 1) and self.padding == "same" and has_short_rows(inputs, kernel.shape):
            return convolve(inputs, tf.cast(kernel, inputs.dtype))
        return super().convolution_op(inputs, kernel)


def has_short_rows(inputs: tf.Tensor, kernel_shape: tf.TensorShape) -> bool:
    """Whether the filter gradient of a convolution with stride 1 is faster as a matrix product.

    Args:
        inputs: [B, H, W, C].
        kernel_shape: [s, s, C, D].
    """
    side, _, channels, filters = kernel_shape
    short = inputs.shape[2] is not None and inputs.shape[2] <= _LONGEST_ROW and channels * filters >= _FEWEST_WEIGHTS
    return side > 1 and short and inputs.dtype == tf.bfloat16 and _computes_on_amx()


@functools.cache
def _computes_on_amx() -> bool:
    return bfloat16_unit() == "amx_bf16" and not tf.config.list_physical_devices("GPU")


@tf.custom_gradient
def convolve(x, kernel):
    """Convolution with stride 1 and zeros around the map, whose filter gradient is one matrix product.

    Args:
        x: [B, H, W, C].
        kernel: [s, s, C, D] with s odd, in the type of x.

    Returns:
        [B, H, W, D] in the type of x.
    """
    side = kernel.shape[0]

    def gradient(grad):
        grad_x = tf.raw_ops.Conv2DBackpropInput(
            input_sizes=tf.shape(x), filter=kernel, out_backprop=grad, strides=[1, 1, 1, 1], padding="SAME"
        )
        height, width = (tf.shape(x)[i] if x.shape[i] is None else x.shape[i] for i in (1, 2))
        padded = tf.pad(x, [[0, 0], [side // 2] * 2, [side // 2] * 2, [0, 0]])
        taps = [padded[:, row : row + height, column : column + width] for row in range(side) for column in range(side)]
        columns = tf.reshape(tf.concat(taps, axis=-1), [-1, side**2 * x.shape[-1]])  # [B H W, s s C]
        product = tf.matmul(columns, tf.reshape(grad, [-1, grad.shape[-1]]), transpose_a=True)
        return grad_x, tf.reshape(product, kernel.shape)

    return tf.nn.conv2d(x, kernel, 1, "SAME"), gradient
