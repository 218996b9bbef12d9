"""Bilinear upsampling by two whose corner cells keep their values (`align_corners=True`), with its own gradient."""

from __future__ import annotations

import tensorflow as tf


class UpsampleBilinear2x(tf.keras.layers.Layer):
    """Doubles height and width by bilinear interpolation with aligned corners.

    Output row p reads input row p (H - 1) / (2 H - 1), columns likewise: 0, 3/7, 6/7, ... for H = 4. Keras' `UpSampling2D`
    has half-pixel centres instead, which shifts every map by a fraction of a cell against the reference.

    Input: [B, H, W, C]. Output: [B, 2 H, 2 W, C] in the type of the input.

    Reference: `nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)` (PyTorch; `ttf_head.py`).
    """

    def call(self, inputs):
        return _upsample(inputs)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = tf.TensorShape(input_shape).as_list()
        return tf.TensorShape([batch, height and 2 * height, width and 2 * width, channels])


@tf.custom_gradient
def _upsample(x):
    # The gradient of the stock operation accumulates in no fixed order on GPU; two small products do the same in a fixed one.
    def gradient(grad):
        height, width, channels = (tf.shape(x)[i] if n is None else n for i, n in enumerate(x.shape[1:], start=1))
        grad = tf.reshape(grad, [-1, 2 * width, channels])
        grad = tf.matmul(_interpolation(width, grad.dtype)[None], grad, transpose_a=True)  # [B 2H, W, C]
        grad = tf.reshape(grad, [-1, 2 * height, width * channels])
        grad = tf.matmul(_interpolation(height, grad.dtype)[None], grad, transpose_a=True)  # [B, H, W C]
        return tf.reshape(grad, tf.shape(x))

    out = tf.raw_ops.ResizeBilinear(images=x, size=2 * tf.shape(x)[1:3], align_corners=True)  # float32 whatever the input
    out.set_shape([x.shape[0], *(n and 2 * n for n in x.shape[1:3]), x.shape[3]])
    return tf.cast(out, x.dtype), gradient


def _interpolation(length, dtype):
    """[2 n, n] matrix that interpolates n values at 2 n places."""
    n = tf.cast(length, tf.float32)
    place = tf.range(2.0 * n) * (n - 1.0) / (2.0 * n - 1.0)
    return tf.cast(tf.maximum(1.0 - tf.abs(place[:, None] - tf.range(n)), 0.0), dtype)
