"""Upsampling: bilinear by two with aligned corners, and by transposed convolutions that start as bilinear."""

from __future__ import annotations

import tensorflow as tf

from ttfnet_tf.keras2 import keras


class UpsampleBilinear2x(keras.layers.Layer):
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
    # The gradient of the stock operation sums in no fixed order on a GPU; two small products do so in a fixed one.
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


class LearnedUpsample(keras.layers.Layer):
    """Upsampling by a transposed convolution of each channel on its own, which starts as bilinear interpolation.

    The kernel has the side 2 * factor and the stride is `factor`, so each output cell reads 2 x 2 input cells, those outside the
    map being 0: along the border the start is darker than interpolation, as in the reference. Half-pixel centres.

    One low-resolution convolution computes all factor x factor output cells of an input cell, and `depth_to_space` puts them in
    place. That is the same sum as the transposed convolution, in operations that TFLite has; Keras has no grouped `Conv2DTranspose`.

    Input: [B, H, W, C]. Output: [B, factor H, factor W, C] in the type of the input.
    Weight `kernel`: [2 factor, 2 factor, 1, C], the official [C, 1, 2 factor, 2 factor] with its axes turned.

    Args:
        factor: even.

    Raises:
        ValueError: an odd factor.

    Reference: `nn.ConvTranspose2d(C, C, 2 f, stride=f, padding=f // 2, groups=C, bias=False)` with `fill_up_weights`
        (xingyizhou/CenterNet `pose_dla_dcn.py`).
    """

    def __init__(self, factor: int, **kwargs):
        super().__init__(**kwargs)
        if factor < 2 or factor % 2:
            raise ValueError(f"factor must be even, received {factor}")
        self.factor = factor

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel", shape=(2 * self.factor, 2 * self.factor, 1, input_shape[-1]), initializer=_bilinear_kernel
        )
        super().build(input_shape)

    def call(self, inputs):
        factor, channels = self.factor, inputs.shape[-1]
        # Tap k of the kernel takes input cell i to output cell factor * i + k - factor / 2. Padded by factor / 2 on both sides the
        # kernel falls into three blocks of `factor` taps: for the next input cell, this one and the one before, in this order.
        kernel = tf.pad(tf.convert_to_tensor(self.kernel)[:, :, 0], [[factor // 2] * 2, [factor // 2] * 2, [0, 0]])
        kernel = tf.reshape(kernel, [3, factor, 3, factor, channels])[::-1, :, ::-1]
        kernel = tf.reshape(tf.transpose(kernel, [0, 2, 1, 3, 4]), [3, 3, factor**2 * channels, 1])
        copies = tf.tile(inputs, [1, 1, 1, factor**2])  # one for each cell of the output block
        return tf.nn.depth_to_space(tf.nn.depthwise_conv2d(copies, kernel, [1, 1, 1, 1], "SAME"), factor)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = tf.TensorShape(input_shape).as_list()
        return tf.TensorShape([batch, height and self.factor * height, width and self.factor * width, channels])


def _bilinear_kernel(shape, dtype=None, **_):
    """[2 f, 2 f, 1, C]: the hat function of half width f, sampled at the middles of its cells."""
    factor = shape[0] // 2
    hat = 1.0 - tf.abs(tf.range(2 * factor, dtype=tf.float32) + 0.5 - factor) / factor
    return tf.cast(tf.broadcast_to((hat[:, None] * hat)[:, :, None, None], shape), dtype or tf.float32)
