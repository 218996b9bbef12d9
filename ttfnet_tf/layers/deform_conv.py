"""Modulated deformable convolution (DCNv2) from stock TensorFlow operations, with its own gradient.

    out[n] = bias + sum_k mask[n, k] * sample(x, base[n, k] + offset[n, k]) @ kernel[k]        k = 3 i + j over the taps

`sample` is bilinear on a map that is 0 outside; a sample that is not strictly inside (-1, H) x (-1, W) is 0 and has no
gradient at all. At the initial offsets of 0 the taps at the border sit exactly at -1, so this rule matters from the first step.

Sampling and the product with the kernel are both linear, so their order is free:
- `crop_and_resize` samples the input: each tap is a 1x1 crop, which is bilinear sampling in one C++ operation. The fastest on a CPU.
- `gather` multiplies first and samples the product, which has fewer channels in an upsampling neck, by four plain gathers.
  It floors the offset alone and adds the integer base afterwards, which keeps coordinates exact on large maps. XLA compiles it, and it has
  deterministic kernels on GPUs.
The operation CropAndResize computes in float32 alone. In bfloat16 and float16 `crop_and_resize` therefore multiplies first, too: the casts
of K samples for each cell would take longer than the sampling. It gathers all corners at once and keeps the product for the gradient; the
form `gather` computes it again.
Both have the same gradient, computed as in `gather`; they differ in the operation that adds up the gradient of the samples, see
`_add_by_segments`. Automatic differentiation through `tf.image.crop_and_resize` is never used: its CPU gradient for the image has a data
race, and its gradient for the boxes is serial.

Reference: Zhu et al., "Deformable ConvNets v2", arXiv:1811.11168, eq. 1; mmdetection 1.0 `mmdet/ops/dcn` (CUDA kernels).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.layers.sizes import size_of

SAMPLERS = ("crop_and_resize", "gather")


def deformable_conv2d(x, offset, mask, kernel, bias=None, *, sampler: str = "crop_and_resize", strides: int = 1) -> tf.Tensor:
    """Deformable convolution with the offset layout of the reference.

    Args:
        x: [B, H, W, C] floating point.
        offset: [B, h, w, 2 K] float32 shifts in input cells, interleaved: channel 2 k is dy and 2 k + 1 is dx of tap k.
        mask: [B, h, w, K] float32 factors of the taps.
        kernel: [s, s, C, D] with s odd and K = s * s.
        bias: [D] or None.
        sampler: `crop_and_resize` or `gather`; equal up to rounding.
        strides: distance of the output cells in input cells; h = ceil(H / strides).

    Returns:
        [B, h, w, D] in the type of x. The padding is s // 2 on each side.

    Raises:
        ValueError: unknown sampler or channels that do not fit together, at trace time.
    """
    out = _deform(x, offset[..., 0::2], offset[..., 1::2], mask, kernel, sampler, strides)
    return out if bias is None else tf.nn.bias_add(out, tf.cast(bias, out.dtype))


class DeformableConv2D(keras.layers.Layer):
    """Modulated deformable convolution that predicts its own offsets and masks from its input (`ModulatedDeformConvPack`).

    An ordinary convolution predicts 3 K channels for K taps, in this order: K dy, K dx, K mask logits. (The reference interleaves
    dy and dx; `parameters.py` converts.) It starts at zero, so the layer begins as a convolution halved by masks of 0.5.
    Coordinates stay float32 under mixed precision.

    Input: [B, H, W, C]. Output: [B, H, W, filters].

    Args:
        filters: output channels.
        kernel_size: odd side of the window in cells.
        sampler: `crop_and_resize` or `gather`, two forms of one function.
        use_bias: whether the output has a bias.
        kernel_initializer: of the kernel; None is U(-1/sqrt(K C), 1/sqrt(K C)), as the reference.

    Raises:
        ValueError: unknown sampler or even kernel size.
    """

    def __init__(
        self, filters: int, kernel_size: int = 3, sampler: str = "crop_and_resize", use_bias: bool = True, kernel_initializer=None, **kwargs
    ):
        super().__init__(**kwargs)
        _check_sampler(sampler)
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd, received {kernel_size}")
        self.filters = filters
        self.kernel_size = kernel_size
        self.sampler = sampler
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.offset_mask = keras.layers.Conv2D(
            3 * kernel_size**2,
            kernel_size,
            padding="same",
            kernel_initializer="zeros",
            bias_initializer="zeros",
            name="conv_offset_mask",
            dtype=self.dtype_policy,
        )

    def build(self, input_shape):
        channels = input_shape[-1]
        initializer = self.kernel_initializer
        if initializer is None:
            limit = 1.0 / math.sqrt(self.kernel_size**2 * channels)
            initializer = keras.initializers.RandomUniform(-limit, limit)
        self.kernel = self.add_weight(
            name="kernel", shape=(self.kernel_size, self.kernel_size, channels, self.filters), initializer=initializer
        )
        self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros") if self.use_bias else None
        self.offset_mask.build(input_shape)
        super().build(input_shape)

    def call(self, inputs):
        raw = tf.cast(self.offset_mask(inputs), tf.float32)  # [B, H, W, 3 K]
        dy, dx, mask_logits = tf.split(raw, 3, axis=-1)
        out = _deform(inputs, dy, dx, tf.sigmoid(mask_logits), tf.convert_to_tensor(self.kernel), self.sampler, 1)
        return tf.nn.bias_add(out, self.bias) if self.use_bias else out

    def get_config(self):
        config = super().get_config()
        config.update(
            filters=self.filters,
            kernel_size=self.kernel_size,
            sampler=self.sampler,
            use_bias=self.use_bias,
            kernel_initializer=keras.initializers.serialize(self.kernel_initializer) if self.kernel_initializer else None,
        )
        return config

    def compute_output_shape(self, input_shape):
        return tf.TensorShape(input_shape[:-1]).concatenate(self.filters)


def _check_sampler(sampler):
    if sampler not in SAMPLERS:
        raise ValueError(f"sampler must be one of {SAMPLERS}, received {sampler!r}")


def _deform(x, dy, dx, mask, kernel, sampler, strides):
    """The convolution without bias; dy, dx, mask: [B, h, w, K] float32. Returns [B, h, w, D]."""
    _check_sampler(sampler)
    taps = kernel.shape[0] * kernel.shape[1]
    for name, tensor in (("dy", dy), ("dx", dx), ("mask", mask)):
        if tensor.shape[-1] != taps:
            raise ValueError(f"{name} must have {taps} channels for a kernel of shape {kernel.shape}, received shape {tensor.shape}")
    if x.shape[-1] != kernel.shape[2]:
        raise ValueError(f"x of shape {x.shape} does not fit a kernel of shape {kernel.shape}")
    add_to_cells = _add_by_sparse_matrix if sampler == "crop_and_resize" else _add_by_segments
    keeps_product = sampler == "crop_and_resize" and x.dtype != tf.float32

    @tf.custom_gradient
    def function(x, dy, dx, mask, kernel):
        if keeps_product or sampler == "gather":
            with tf.name_scope("project"):  # export keeps the rest in float32 by its name
                product = _project(x, kernel)
            corners = _corners(x, dy, dx, kernel, strides)
            out = _forward_gather(product, corners, mask, keeps_product)
        else:
            out = _forward_crop_and_resize(x, dy, dx, mask, kernel, strides)

        def gradient(grad):
            sampled = (product, corners) if keeps_product else (_project(x, kernel), _corners(x, dy, dx, kernel, strides))
            return _gradient(grad, x, mask, kernel, *sampled, add_to_cells, keeps_product)

        return out, gradient

    return function(x, dy, dx, mask, kernel)


def _base(like, kernel, strides):
    """Integer cells of the taps without offset: rows [h, 1, K] and columns [1, w, K]."""
    size, side = size_of(like), kernel.shape[0]
    tap_row, tap_column = tf.repeat(tf.range(side), side) - side // 2, tf.tile(tf.range(side), [side]) - side // 2
    rows = tf.range(size.height)[:, None, None] * strides + tap_row
    columns = tf.range(size.width)[None, :, None] * strides + tap_column
    return rows, columns


def _forward_crop_and_resize(x, dy, dx, mask, kernel, strides):
    size, taps = size_of(x), mask.shape[-1]
    padded = tf.pad(tf.cast(x, tf.float32), [[0, 0], [1, 1], [1, 1], [0, 0]])  # samples in (-1, 0) blend with zeros
    rows, columns = _base(dy, kernel, strides)
    height, width = tf.cast(size.height, tf.float32), tf.cast(size.width, tf.float32)
    # A sample outside the open interval is 0, and so is one clipped to the zero border at -1 or H: no test is needed.
    y = (tf.clip_by_value(dy + tf.cast(rows, tf.float32), -1.0, height) + 1.0) / (height + 1.0)
    x_ = (tf.clip_by_value(dx + tf.cast(columns, tf.float32), -1.0, width) + 1.0) / (width + 1.0)
    boxes = tf.reshape(tf.stack([y, x_, y, x_], axis=-1), [-1, 4])
    out = size_of(mask)
    image = tf.repeat(tf.range(size.batch), out.height * out.width * taps)
    columns = tf.image.crop_and_resize(padded, boxes, image, [1, 1])  # [B h w K, 1, 1, C]
    columns = tf.reshape(columns, [-1, taps, size.channels]) * tf.reshape(mask, [-1, taps, 1])
    columns = tf.cast(tf.reshape(columns, [-1, taps * size.channels]), x.dtype)
    product = tf.matmul(columns, tf.reshape(kernel, [taps * size.channels, -1]))
    return tf.reshape(product, [out.batch, out.height, out.width, kernel.shape[-1]])


def _forward_gather(product, corners, mask, at_once):
    """[B, h, w, D] in the type of `product`, which is of `_project`; sums of several products are float32."""
    out, total = size_of(mask), 0.0
    weights = [weight * mask for weight in corners.weights()]
    for rows, weight in zip(_groups(corners.rows, at_once), _groups(weights, at_once)):
        weight = tf.cast(tf.reshape(weight, [-1, 1, weight.shape[-1]]), product.dtype)
        total += tf.cast(tf.matmul(weight, tf.gather(product, rows)), tf.float32)  # [N, 1, D]
    return tf.cast(tf.reshape(total, [out.batch, out.height, out.width, product.shape[-1]]), product.dtype)


def _groups(corners, at_once):
    """Four tensors [B, h, w, K] as matrices of N = B h w rows: four [N, K], or one [N, 4 K], which takes less time and more memory."""
    matrices = [tf.reshape(corner, [-1, corner.shape[-1]]) for corner in corners]
    return [tf.concat(matrices, axis=1)] if at_once else matrices


def _tap_last(kernel):
    """[s, s, C, D] -> [C, K D]: one matrix that multiplies a cell by the kernels of all taps."""
    channels, filters = kernel.shape[2:]
    return tf.reshape(tf.transpose(tf.reshape(kernel, [-1, channels, filters]), [1, 0, 2]), [channels, -1])


def _project(x, kernel):
    """Every cell times the kernel of every tap: [B H W K, D], row = cell * K + tap."""
    return tf.reshape(tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), _tap_last(kernel)), [-1, kernel.shape[-1]])


class _Corners(NamedTuple):
    """The four neighbours of every sample; each tensor is [B, h, w, K], pairs are (upper, lower) or (left, right)."""

    rows: list[tf.Tensor]  # rows of `_project` for upper left, upper right, lower left, lower right; clipped to the map
    row_weight: tuple[tf.Tensor, tf.Tensor]  # bilinear weights, 0 where the neighbour is outside the map
    column_weight: tuple[tf.Tensor, tf.Tensor]
    row_slope: tuple[tf.Tensor, tf.Tensor]  # their derivatives, 0 also where the sample is not inside
    column_slope: tuple[tf.Tensor, tf.Tensor]

    def weights(self):
        return [row * column for row in self.row_weight for column in self.column_weight]


def _corners(x, dy, dx, kernel, strides) -> _Corners:
    size, taps = size_of(x), dy.shape[-1]
    rows, columns = _base(dy, kernel, strides)
    (row0, row1), row_fraction, row_inside = _neighbours(dy, rows, size.height, kernel.shape[0])
    (column0, column1), column_fraction, column_inside = _neighbours(dx, columns, size.width, kernel.shape[0])
    inside = tf.cast(row_inside & column_inside, tf.float32)
    on_map = [tf.cast((row >= 0) & (row < size.height), tf.float32) for row in (row0, row1)]
    on_map += [tf.cast((column >= 0) & (column < size.width), tf.float32) for column in (column0, column1)]
    image = tf.reshape(tf.range(size.batch) * size.height, [-1, 1, 1, 1])
    row_start = [(image + tf.clip_by_value(row, 0, size.height - 1)) * size.width for row in (row0, row1)]
    column_start = [tf.clip_by_value(column, 0, size.width - 1) for column in (column0, column1)]
    return _Corners(
        rows=[(row + column) * taps + tf.range(taps) for row in row_start for column in column_start],
        row_weight=((1.0 - row_fraction) * on_map[0], row_fraction * on_map[1]),
        column_weight=((1.0 - column_fraction) * on_map[2], column_fraction * on_map[3]),
        row_slope=(-on_map[0] * inside, on_map[1] * inside),
        column_slope=(-on_map[2] * inside, on_map[3] * inside),
    )


def _neighbours(offset, base, length, side):
    """Cells before and after base + offset, the fraction between them, and whether the sample lies in the open (-1, length)."""
    limit = tf.cast(length + side, tf.float32)  # keeps the integer cast defined; beyond it every sample is outside
    offset = tf.clip_by_value(offset, -limit, limit)
    whole = tf.floor(offset)  # at whole offsets the derivative is the right-hand one, as in the reference
    fraction = offset - whole
    first = tf.cast(whole, tf.int32) + base
    inside = (first < length) & ((first > -1) | ((first == -1) & (fraction > 0.0)))
    return (first, first + 1), fraction, inside


def _gradient(grad, x, mask, kernel, product, corners, add_to_cells, at_once):
    """Gradients for x, dy, dx, mask and kernel; grad: [B, h, w, D]; `add_to_cells` is one of the two functions below."""
    taps, filters = mask.shape[-1], kernel.shape[-1]
    grad = tf.reshape(grad, [-1, filters])  # [N, D], N = B h w

    # The gradients of mask and offsets need one number for each sample and corner: <grad, kernel_k^T x at that corner>.
    groups = [tf.cast(tf.linalg.matvec(tf.gather(product, rows), grad), tf.float32) for rows in _groups(corners.rows, at_once)]
    dots = [tf.reshape(dot, tf.shape(mask)) for group in groups for dot in tf.split(group, 4 // len(groups), axis=1)]
    (left, right), (above, below) = corners.column_weight, corners.row_weight
    upper, lower = left * dots[0] + right * dots[1], left * dots[2] + right * dots[3]
    grad_mask = above * upper + below * lower
    grad_dy = mask * (corners.row_slope[0] * upper + corners.row_slope[1] * lower)
    grad_dx = mask * (
        corners.column_slope[0] * (above * dots[0] + below * dots[2]) + corners.column_slope[1] * (above * dots[1] + below * dots[3])
    )

    # The adjoint of sampling adds every row of `grad` to the 4 K products that it was sampled from.
    weights = [weight * mask for weight in corners.weights()]
    grad_product = add_to_cells(tf.cast(grad, tf.float32), corners.rows, weights, tf.size(product, out_type=tf.int64) // filters)
    grad_product = tf.cast(tf.reshape(grad_product, [-1, taps * filters]), x.dtype)  # [B H W, K D]
    grad_x = tf.reshape(tf.matmul(grad_product, _tap_last(kernel), transpose_b=True), tf.shape(x))
    grad_kernel = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), grad_product, transpose_a=True)  # [C, K D]
    grad_kernel = tf.transpose(tf.reshape(grad_kernel, [-1, taps, filters]), [1, 0, 2])
    return grad_x, grad_dy, grad_dx, grad_mask, tf.reshape(grad_kernel, kernel.shape)


def _add_by_sparse_matrix(grad, rows, weights, cells):
    """[cells, D]: weight times row of `grad` [N, D], added at each of `rows`; both are four tensors [B, h, w, K] with N = B h w.

    A third of the time of `_add_by_segments` on a CPU. On a GPU it is not deterministic, and takes at most 2^31 / D entries.
    """
    (index,), (values,) = _groups(rows, True), _groups(weights, True)  # [N, 4 K]
    count = tf.shape(grad)[0]
    # The raw operation takes indices of 32 bits, which are half the memory to write and to read.
    return tf.raw_ops.SparseTensorDenseMatMul(
        a_indices=tf.stack([tf.repeat(tf.range(count), index.shape[-1]), tf.reshape(index, [-1])], axis=-1),
        a_values=tf.reshape(values, [-1]),
        a_shape=tf.stack([tf.cast(count, tf.int64), cells]),
        b=grad,
        adjoint_a=True,
    )


def _add_by_segments(grad, rows, weights, cells):
    """As `_add_by_sparse_matrix`, corner by corner: no tensor has more elements than the product of map and kernels, K B H W D."""
    taps, filters = rows[0].shape[-1], grad.shape[-1]
    total = 0.0
    for row, weight in zip(rows, weights):
        parts = tf.reshape(weight, [-1, taps, 1]) * grad[:, None, :]  # [N, K, D]
        total += tf.math.unsorted_segment_sum(tf.reshape(parts, [-1, filters]), tf.reshape(row, [-1]), cells)
    return total
