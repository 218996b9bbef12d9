"""ResNet-18 and -34 with the padding, names and initial values of the reference.

Layers carry the module paths of torchvision and mmdetection ("backbone.layer1.0.conv1"), so weights map by name.

Reference: He et al., arXiv:1512.03385; mmdetection 1.0 `mmdet/models/backbones/resnet.py` (`BasicBlock`, style "pytorch").
"""

from __future__ import annotations

from ttfnet_tf.keras2 import layers
from ttfnet_tf.layers.batch_norm import batch_norm
from ttfnet_tf.models.backbones.convolution import conv2d


def resnet(inputs, *, blocks, width: int = 64, zero_init_residual: bool = True, synchronized: bool = False, seed: int = 0) -> list:
    """A residual network of basic blocks.

    Args:
        inputs: [B, H, W, 3] Keras tensor, normalised.
        blocks: number of blocks of each of the four stages.
        width: channels of the stem and of the first stage; every stage doubles them.
        zero_init_residual: whether the last scale of each residual branch starts at 0, so that blocks begin as identities.
        synchronized: whether batch statistics cover all replicas.
        seed: of the initial values.

    Returns:
        [c2, c3, c4, c5], the outputs of the stages: [B, H/4, W/4, width] to [B, H/32, W/32, 8 width].
    """
    x = conv2d(inputs, width, 7, 2, "backbone.conv1", seed)
    x = layers.ReLU(name="backbone.relu")(batch_norm("backbone.bn1", synchronized=synchronized)(x))
    # PyTorch pads its pooling with -inf; after a ReLU zeros have the same effect.
    x = layers.ZeroPadding2D(1, name="backbone.maxpool.pad")(x)
    x = layers.MaxPooling2D(3, 2, name="backbone.maxpool")(x)
    features = []
    for stage, count in enumerate(blocks, start=1):
        for block in range(count):
            stride = 2 if block == 0 and stage > 1 else 1
            filters = width * 2 ** (stage - 1)
            x = _basic_block(x, filters, stride, f"backbone.layer{stage}.{block}", zero_init_residual, synchronized, seed)
        features.append(x)
    return features


def _basic_block(x, filters, stride, name, zero_init_residual, synchronized, seed):
    branch = conv2d(x, filters, 3, stride, f"{name}.conv1", seed)
    branch = layers.ReLU(name=f"{name}.relu")(batch_norm(f"{name}.bn1", synchronized=synchronized)(branch))
    branch = conv2d(branch, filters, 3, 1, f"{name}.conv2", seed)
    gamma = "zeros" if zero_init_residual else "ones"
    branch = batch_norm(f"{name}.bn2", synchronized=synchronized, gamma_initializer=gamma)(branch)
    if stride != 1 or x.shape[-1] != filters:
        x = conv2d(x, filters, 1, stride, f"{name}.downsample.0", seed)
        x = batch_norm(f"{name}.downsample.1", synchronized=synchronized)(x)
    return layers.ReLU(name=name)(layers.Add(name=f"{name}.add")([branch, x]))
