"""Deformable convolution against the official CUDA kernels (compiled for the CPU): outputs and every gradient, both samplers."""

import golden
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.layers.deform_conv import SAMPLERS, DeformableConv2D, deformable_conv2d
from ttfnet_tf.models.parameters import from_official, to_official

pytestmark = [pytest.mark.parity, pytest.mark.parametrize("sampler", SAMPLERS)]


def _assert_close(actual, expected, name):
    assert tuple(actual.shape) == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * max(1.0, np.abs(expected).max()), err_msg=name)


@pytest.mark.parametrize("case", golden.cases("dcn", "dcn"))
def test_deformable_convolution(case, sampler):
    arrays = golden.arrays_of("dcn", case)
    inputs = [tf.constant(arrays[name]) for name in ("x", "offset", "mask", "weight", "bias")]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        out = deformable_conv2d(*inputs, sampler=sampler, strides=case["stride"])
    _assert_close(out, arrays["out64"], "out")
    gradients = tape.gradient(out, inputs, arrays["grad_out"])
    for name, gradient in zip(("dx", "doffset", "dmask", "dweight", "dbias"), gradients):
        _assert_close(gradient, arrays[f"{name}64"], name)


@pytest.mark.parametrize("case", golden.cases("dcn", "pack"))
def test_layer_that_predicts_its_offsets(case, sampler):
    arrays = golden.arrays_of("dcn", case)
    layer = DeformableConv2D(case["cout"], sampler=sampler)
    layer.build(arrays["x"].shape)
    layer.kernel.assign(arrays["weight"])
    layer.bias.assign(arrays["bias"])
    weight = arrays["offset_mask_weight"].transpose(3, 2, 0, 1)  # the file has [H, W, in, out], from_official takes PyTorch's layout
    layer.offset_mask.kernel.assign(from_official("conv_offset_mask.weight", weight))
    layer.offset_mask.bias.assign(from_official("conv_offset_mask.bias", arrays["offset_mask_bias"]))
    x = tf.constant(arrays["x"])
    with tf.GradientTape() as tape:
        tape.watch(x)
        out = layer(x)
    _assert_close(out, arrays["out64"], "out")
    sources = [x, layer.kernel, layer.bias, layer.offset_mask.kernel, layer.offset_mask.bias]
    dx, dweight, dbias, doffset_weight, doffset_bias = tape.gradient(out, sources, arrays["grad_out"])
    _assert_close(dx, arrays["dx64"], "dx")
    _assert_close(dweight, arrays["dweight64"], "dweight")
    _assert_close(dbias, arrays["dbias64"], "dbias")
    doffset_weight = to_official("conv_offset_mask.weight", doffset_weight).transpose(2, 3, 1, 0)
    _assert_close(doffset_weight, arrays["doffset_mask_weight64"], "doffset_mask_weight")
    _assert_close(to_official("conv_offset_mask.bias", doffset_bias), arrays["doffset_mask_bias64"], "doffset_mask_bias")
