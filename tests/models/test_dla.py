import math

import networks
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.layers.deform_conv import DeformableConv2D, deformable_conv2d
from ttfnet_tf.layers.upsample import LearnedUpsample
from ttfnet_tf.models.backbones import BACKBONES, build_backbone
from ttfnet_tf.models.parameters import from_official, named_buffers, named_parameters, to_official

pytestmark = pytest.mark.slow

SMALL = {"backbone": "dla34", "width": 8, "heatmap_head": (8, 1), "box_head": (8, 1), "frozen_stages": -1}


def _shapes(width, num_classes=None):
    """Official name -> shape of every parameter, from the class structure of the official code.

    Kernels are [out, in, H, W]. `level3.project` and `level4.project` are missing: the official code never reads them.
    """
    shapes = {}

    def conv(name, before, after, size, bias=False):
        shapes[f"{name}.weight"] = (after, before, size, size)
        if bias:
            shapes[f"{name}.bias"] = (after,)

    def norm(name, channels):
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (channels,)

    def block(name, before, after):
        conv(f"{name}.conv1", before, after, 3)
        norm(f"{name}.bn1", after)
        conv(f"{name}.conv2", after, after, 3)
        norm(f"{name}.bn2", after)

    def tree(name, levels, before, after, root_inputs):
        """`root_inputs`: channels at the root besides the two of its own blocks."""
        if levels == 2:
            tree(f"{name}.tree1", 1, before, after, 0)
            tree(f"{name}.tree2", 1, after, after, root_inputs + after)
            return
        block(f"{name}.tree1", before, after)
        block(f"{name}.tree2", after, after)
        if before != after:
            conv(f"{name}.project.0", before, after, 1)
            norm(f"{name}.project.1", after)
        conv(f"{name}.root.conv", 2 * after + root_inputs, after, 1)
        norm(f"{name}.root.bn", after)

    def deform(name, before, after):
        conv(f"{name}.conv", before, after, 3, bias=True)
        conv(f"{name}.conv.conv_offset_mask", before, 27, 3, bias=True)
        norm(f"{name}.actf.0", after)

    def ida(name, after, ups):
        for i, (before, factor) in enumerate(ups, start=1):
            deform(f"{name}.proj_{i}", before, after)
            deform(f"{name}.node_{i}", after, after)
            shapes[f"{name}.up_{i}.weight"] = (after, 1, 2 * factor, 2 * factor)

    c0, c1, c2, c3, c4, c5 = (width * n // 4 for n in (1, 2, 4, 8, 16, 32))
    for name, before, after, size in (("base_layer", 3, c0, 7), ("level0", c0, c0, 3), ("level1", c0, c1, 3)):
        conv(f"backbone.base.{name}.0", before, after, size)
        norm(f"backbone.base.{name}.1", after)
    tree("backbone.base.level2", 1, c1, c2, 0)
    tree("backbone.base.level3", 2, c2, c3, c2)
    tree("backbone.base.level4", 2, c3, c4, c3)
    tree("backbone.base.level5", 1, c4, c5, c4)
    ida("backbone.dla_up.ida_0", c4, [(c5, 2)])
    ida("backbone.dla_up.ida_1", c3, [(c4, 2), (c4, 2)])
    ida("backbone.dla_up.ida_2", c2, [(c3, 2), (c3, 2), (c3, 2)])
    ida("backbone.ida_up", c2, [(c3, 2), (c4, 4)])
    return shapes


@pytest.fixture(scope="module")
def model():
    """Offsets, scales and statistics are not at their start, so that a wrong wire shows. Tests change nothing in it."""
    model = networks.build(3, **SMALL, zero_init_residual=False)
    random = np.random.default_rng(0)
    for name, variable in {**named_parameters(model), **named_buffers(model)}.items():
        spread = 0.01 if "conv_offset_mask" in name else 0.3
        if name.endswith(".conv.weight") and ".root." not in name:
            variable.assign(2.0 * variable)  # deformable convolutions start weak, and what is wired to them would hardly show
        if variable.shape.rank == 1 or "conv_offset_mask" in name:
            variable.assign_add(random.uniform(-spread, spread, variable.shape).astype(np.float32))
    return model


def test_names_and_shapes_are_the_official_ones(model):
    ours = {n: to_official(n, v.numpy()).shape for n, v in named_parameters(model).items() if n.startswith("backbone.")}
    assert ours == _shapes(8)


def test_number_of_parameters_is_the_published_one():
    counts = {name: math.prod(shape) for name, shape in _shapes(64).items()}
    base = sum(count for name, count in counts.items() if name.startswith("backbone.base."))
    # imgclsmob counts 15 783 832 in the original and 15 742 104 in its own, timm's too, which leave the two unused projections out:
    # 64 x 128 and 128 x 256 weights with their normalisations. All of them have a classifier of 512 x 1000 + 1000.
    assert base == 15_742_104 - 513_000
    assert base == 15_783_832 - 513_000 - (64 * 128 + 2 * 128) - (128 * 256 + 2 * 256)
    assert sum(counts.values()) == 19_169_440


def test_full_width_with_plain_neck():
    inputs = keras.Input([32, 32, 3])
    plain = keras.Model(inputs, build_backbone("dla34", inputs, neck="plain"))
    expected = sum(math.prod(shape) for name, shape in _shapes(64).items() if "conv_offset_mask" not in name)
    assert sum(v.shape.num_elements() for v in plain.trainable_variables) == expected
    assert plain.output_shape == (None, 8, 8, 64)
    assert not any(isinstance(layer, DeformableConv2D) for layer in plain.layers)
    assert isinstance(plain.get_layer("backbone.ida_up.node_2.conv"), keras.layers.Conv2D)
    assert all(not np.any(layer.gamma) for layer in plain.layers if layer.name.endswith(".bn2"))


def test_levels_halve_and_double(model):
    image = keras.Model(
        model.input,
        [
            model.get_layer(f"backbone.base.{name}").output
            for name in ("level1.2", "level2.root.relu", "level3.tree2.root.relu", "level4.tree2.root.relu", "level5.root.relu")
        ],
    )
    shapes = [tuple(level.shape[1:]) for level in image(tf.zeros([1, 64, 96, 3]))]
    assert shapes == [(32, 48, 4), (16, 24, 8), (8, 12, 16), (4, 6, 32), (2, 3, 64)]


class _Slow:
    """The official forward pass, literally: lists that are changed in place, and no layer of ours."""

    def __init__(self, model):
        self.values = {name: tf.constant(v.numpy()) for name, v in {**named_parameters(model), **named_buffers(model)}.items()}

    def conv(self, x, name, stride=1):
        kernel = self.values[f"{name}.weight"]
        pad = kernel.shape[0] // 2
        return tf.nn.conv2d(tf.pad(x, [[0, 0], [pad, pad], [pad, pad], [0, 0]]), kernel, stride, "VALID")

    def norm(self, x, name):
        weight, bias, mean, variance = (self.values[f"{name}.{leaf}"] for leaf in ("weight", "bias", "running_mean", "running_var"))
        return (x - mean) / tf.sqrt(variance + 1e-5) * weight + bias

    def block(self, x, name, stride, residual):
        out = tf.nn.relu(self.norm(self.conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
        return tf.nn.relu(self.norm(self.conv(out, f"{name}.conv2"), f"{name}.bn2") + residual)

    def tree(self, x, name, levels, stride, level_root=False, children=None):
        children = [] if children is None else children
        bottom = tf.nn.max_pool2d(x, stride, stride, "VALID") if stride > 1 else x
        if level_root:
            children.append(bottom)
        if levels == 2:
            x1 = self.tree(x, f"{name}.tree1", 1, stride)
            children.append(x1)
            return self.tree(x1, f"{name}.tree2", 1, 1, children=children)
        projected = f"{name}.project.0.weight" in self.values
        residual = self.norm(self.conv(bottom, f"{name}.project.0"), f"{name}.project.1") if projected else bottom
        x1 = self.block(x, f"{name}.tree1", stride, residual)
        x2 = self.block(x1, f"{name}.tree2", 1, x1)
        return tf.nn.relu(self.norm(self.conv(tf.concat([x2, x1, *children], -1), f"{name}.root.conv"), f"{name}.root.bn"))

    def deform(self, x, name):
        raw = self.conv(x, f"{name}.conv.conv_offset_mask") + self.values[f"{name}.conv.conv_offset_mask.bias"]
        dy, dx, mask = tf.split(raw, 3, axis=-1)
        offset = tf.reshape(tf.stack([dy, dx], -1), [*dy.shape[:-1], 18])
        kernel, bias = self.values[f"{name}.conv.weight"], self.values[f"{name}.conv.bias"]
        return tf.nn.relu(self.norm(deformable_conv2d(x, offset, tf.sigmoid(mask), kernel, bias), f"{name}.actf.0"))

    def up(self, x, name):
        return tf.constant(_scatter(x.numpy(), self.values[f"{name}.weight"].numpy()))

    def ida(self, maps, name, start, end):
        for i in range(start + 1, end):
            maps[i] = self.up(self.deform(maps[i], f"{name}.proj_{i - start}"), f"{name}.up_{i - start}")
            maps[i] = self.deform(maps[i] + maps[i - 1], f"{name}.node_{i - start}")

    def __call__(self, x):
        maps = []
        for name, stride in (("base_layer", 1), ("level0", 1), ("level1", 2)):
            x = tf.nn.relu(self.norm(self.conv(x, f"backbone.base.{name}.0", stride), f"backbone.base.{name}.1"))
        maps = [None, x]
        for level, levels in ((2, 1), (3, 2), (4, 2), (5, 1)):
            maps.append(self.tree(maps[-1], f"backbone.base.level{level}", levels, 2, level_root=level > 2))
        out = [maps[-1]]
        for i in range(3):
            self.ida(maps, f"backbone.dla_up.ida_{i}", len(maps) - i - 2, len(maps))
            out.insert(0, maps[-1])
        out = out[:3]
        self.ida(out, "backbone.ida_up", 0, 3)
        return out[-1]


def _scatter(x, kernel):
    """Transposed convolution of each channel: every input cell adds its kernel. x: [B, H, W, C], kernel: [2 f, 2 f, 1, C]."""
    factor = kernel.shape[0] // 2
    batch, height, width, channels = x.shape
    out = np.zeros([batch, factor * (height + 1), factor * (width + 1), channels], x.dtype)
    for i in range(height):
        for j in range(width):
            out[:, factor * i : factor * (i + 2), factor * j : factor * (j + 2)] += x[:, i, j, None, None] * kernel[:, :, 0]
    edge = factor // 2
    return out[:, edge : edge + factor * height, edge : edge + factor * width]


def test_equals_the_official_forward_pass(model):
    image = np.random.default_rng(1).integers(0, 256, (1, 64, 96, 3)).astype(np.float32)
    features = keras.Model(model.input, [model.get_layer("normalization").output, model.get_layer("backbone.ida_up.node_2.actf.1").output])
    normalised, ours = features(image, training=False)
    expected = _Slow(model)(normalised)
    assert np.std(expected, axis=(0, 1, 2)).max() > 0.2
    np.testing.assert_allclose(ours, expected, atol=1e-5 * np.abs(expected).max())


def test_heads_read_the_one_map(model):
    names = {layer.name for layer in model.layers}
    assert model.get_layer("bbox_head.hm.0.conv").input.shape[1:] == (None, None, 8)
    assert not any(name.startswith(("bbox_head.deconv_layers", "bbox_head.shortcut_layers")) for name in names)
    outputs = model(np.zeros([1, 64, 96, 3], np.uint8))
    assert outputs["heatmap"].shape == (1, 16, 24, 3)
    assert outputs["box"].shape == (1, 16, 24, 4)


def test_every_parameter_has_a_gradient(model):
    parameters = named_parameters(model, trainable_only=True)
    random = np.random.default_rng(2)
    image = random.integers(0, 256, (2, 64, 64, 3)).astype(np.float32)
    probes = {name: random.standard_normal((2, 16, 16, channels)).astype(np.float32) for name, channels in (("heatmap", 3), ("box", 4))}
    statistics = [v.numpy() for v in named_buffers(model).values()]
    with tf.GradientTape() as tape:
        outputs = model(image, training=True)
        loss = sum(tf.reduce_sum(outputs[name] * probe) for name, probe in probes.items())
    gradients = dict(zip(parameters, tape.gradient(loss, list(parameters.values()))))
    for variable, value in zip(named_buffers(model).values(), statistics):
        variable.assign(value)
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    # The normalisation that follows takes a deformable convolution's bias away again.
    still = [name for name, gradient in gradients.items() if not np.any(gradient) and not name.endswith(".conv.bias")]
    assert still == []


def test_nothing_is_frozen_in_the_reference_and_stages_can_be(model):
    rule = BACKBONES["dla34"]
    assert set(named_parameters(model, trainable_only=True)) == set(named_parameters(model))
    frozen = {name for name in _shapes(8) if name.startswith(rule.frozen_prefixes(1))}
    expected = ("base.base_layer.", "base.level0.", "base.level1.", "base.level2.")
    assert frozen == {name for name in _shapes(8) if name.startswith(tuple(f"backbone.{name}" for name in expected))}
    assert rule.frozen_prefixes(-1) == ()


def test_width_must_be_divisible():
    with pytest.raises(ValueError, match="multiple of 4, received 6"):
        build_backbone("dla34", keras.Input([64, 64, 3]), width=6)


def test_upsampling_starts_bilinear_by_hand():
    # One row [0, 4]; outside it is 0. Along the row 3/4 of the nearer and 1/4 of the farther cell; across it 3/4 of the only row.
    out = LearnedUpsample(2)(tf.constant([0.0, 4.0], shape=[1, 1, 2, 1]))
    np.testing.assert_allclose(out[0, :, :, 0], [[0, 0.75, 2.25, 2.25]] * 2, atol=1e-6)


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_starts_bilinear_inside_the_map(factor):
    x = np.random.default_rng(0).standard_normal((2, 5, 4, 3)).astype(np.float32)
    ours = LearnedUpsample(factor)(x)[:, factor:-factor, factor:-factor]
    expected = tf.image.resize(x, [5 * factor, 4 * factor])[:, factor:-factor, factor:-factor]  # half-pixel centres
    np.testing.assert_allclose(ours, expected, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 4])
def test_upsampling_equals_scattering_with_any_kernel(factor):
    random = np.random.default_rng(0)
    layer = LearnedUpsample(factor)
    x = random.standard_normal((2, 3, 5, 2)).astype(np.float32)
    layer.build(x.shape)
    official = random.standard_normal((2, 1, 2 * factor, 2 * factor)).astype(np.float32)
    layer.kernel.assign(from_official("up_1.weight", official))
    assert layer.kernel[1, 0, 0, 1] == official[1, 0, 1, 0]
    np.testing.assert_allclose(layer(x), _scatter(x, layer.kernel.numpy()), atol=1e-5)


def test_upsampling_needs_an_even_factor():
    with pytest.raises(ValueError, match="even, received 3"):
        LearnedUpsample(3)


def test_upsampling_round_trips_through_its_config():
    assert LearnedUpsample.from_config(LearnedUpsample(4, name="a").get_config()).factor == 4
