import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.models.backbones import BACKBONES, build_backbone


def _model(name="resnet18", **keywords):
    inputs = keras.Input([64, 96, 3])
    return keras.Model(inputs, build_backbone(name, inputs, width=8, **keywords))


def test_stages_have_strides_4_to_32_and_double_their_channels():
    assert [tuple(shape[1:]) for shape in _model().output_shape] == [(16, 24, 8), (8, 12, 16), (4, 6, 32), (2, 3, 64)]


@pytest.mark.parametrize(("name", "blocks"), [("resnet18", (2, 2, 2, 2)), ("resnet34", (3, 4, 6, 3))])
def test_number_of_blocks(name, blocks):
    names = {layer.name for layer in _model(name).layers}
    for stage, count in enumerate(blocks, start=1):
        assert f"backbone.layer{stage}.{count - 1}.conv2" in names
        assert f"backbone.layer{stage}.{count}.conv1" not in names
        assert (f"backbone.layer{stage}.0.downsample.0" in names) == (stage > 1)


def test_stride_2_pads_as_pytorch():
    # One bright pixel at (0, 0) and a kernel of ones: with one row and column of padding on the near side, the window of output
    # (0, 0) covers input -1..1 and the one of (0, 1) covers 1..3, so only (0, 0) sees it. Keras' "same" would give the same here but
    # would lose the pixel at (0, 1) to the first window as well: that pixel belongs to both windows in PyTorch.
    model = _model()
    convolution = model.get_layer("backbone.layer2.0.conv1")
    convolution.kernel.assign(tf.ones_like(convolution.kernel))
    pad = model.get_layer("backbone.layer2.0.conv1.pad")
    for column, expected in ((0, [1, 0, 0]), (1, [1, 1, 0]), (2, [0, 1, 0]), (3, [0, 1, 1])):
        x = np.zeros([1, 8, 12, 8], np.float32)
        x[0, 0, column, 0] = 1.0
        assert convolution(pad(tf.constant(x)))[0, 0, :3, 0].numpy().tolist() == expected


def test_pooling_pads_as_pytorch():
    model = _model()
    x = np.zeros([1, 32, 48, 8], np.float32)
    x[0, 1, 1, 0] = 5.0  # in the windows -1..1 and 1..3 of both axes
    pooled = model.get_layer("backbone.maxpool")(model.get_layer("backbone.maxpool.pad")(tf.constant(x)))
    assert pooled.shape == (1, 16, 24, 8)
    assert pooled[0, :3, :3, 0].numpy().tolist() == [[5, 5, 0], [5, 5, 0], [0, 0, 0]]


def test_a_block_adds_its_branch_to_its_input():
    model = _model(zero_init_residual=False)
    block = keras.Model(model.get_layer("backbone.layer1.1.conv1").input, model.get_layer("backbone.layer1.1").output)
    x = tf.constant(np.random.default_rng(0).random((1, 16, 24, 8)), tf.float32)
    branch = x
    for i in (1, 2):  # running statistics are 0 and 1
        kernel = model.get_layer(f"backbone.layer1.1.conv{i}").kernel
        branch = tf.nn.conv2d(branch, kernel, 1, "SAME") / np.sqrt(1 + 1e-5)
        branch = tf.nn.relu(branch) if i == 1 else branch
    np.testing.assert_allclose(block(x), tf.nn.relu(branch + x), atol=1e-5)


@pytest.mark.slow
def test_zero_init_residual_makes_blocks_identities():
    for zero in (True, False):
        gamma = _model(zero_init_residual=zero).get_layer("backbone.layer3.1.bn2").gamma
        assert np.all(gamma == (0.0 if zero else 1.0))


@pytest.mark.parametrize("name", ["resnet18", "resnet34"])
def test_frozen_prefixes(name):
    row = BACKBONES[name]
    assert row.frozen_prefixes(-1) == ()
    assert row.frozen_prefixes(0) == ("backbone.conv1", "backbone.bn1")
    assert row.frozen_prefixes(2) == ("backbone.conv1", "backbone.bn1", "backbone.layer1.", "backbone.layer2.")


def test_unknown_backbone_is_named():
    with pytest.raises(ValueError, match=r"\['.*'resnet18', 'resnet34'.*\], received 'resnet19'"):
        build_backbone("resnet19", keras.Input([64, 64, 3]))
