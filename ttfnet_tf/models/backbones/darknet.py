"""DarkNet-53 with the padding, names and initial values of the reference.

Layers carry the module paths of the official checkpoints ("backbone.layer1.1.body.0.conv"). There is no activation after a block's
sum, and all scales start at 1.

Reference: Redmon and Farhadi, "YOLOv3", arXiv:1804.02767, table 1; `mmdet/models/backbones/darknet.py` of the official code.
"""

from __future__ import annotations

from ttfnet_tf.keras2 import layers
from ttfnet_tf.layers.batch_norm import batch_norm
from ttfnet_tf.models.backbones.convolution import conv2d

SLOPE = 0.1  # of the leaky ReLU below 0


def darknet(inputs, *, blocks, width: int = 64, synchronized: bool = False, seed: int = 0) -> list:
    """A stem and five stages, each a convolution with stride 2 and blocks of a 1x1 and a 3x3 convolution.

    Args:
        inputs: [B, H, W, 3] Keras tensor, normalised.
        blocks: number of blocks of each of the five stages.
        width: channels of the first stage; the stem has half of them, every later stage doubles them.
        synchronized: whether batch statistics cover all replicas.
        seed: of the initial values.

    Returns:
        [c2, c3, c4, c5], the outputs of the last four stages: [B, H/4, W/4, 2 width] to [B, H/32, W/32, 16 width].
    """
    x = _cell(inputs, width // 2, 3, 1, "backbone.stem", synchronized, seed)
    stages = []
    for stage, count in enumerate(blocks, start=1):
        filters = width * 2 ** (stage - 1)
        x = _cell(x, filters, 3, 2, f"backbone.layer{stage}.0", synchronized, seed)
        for block in range(1, count + 1):
            name = f"backbone.layer{stage}.{block}"
            branch = _cell(x, filters // 2, 1, 1, f"{name}.body.0", synchronized, seed)
            branch = _cell(branch, filters, 3, 1, f"{name}.body.1", synchronized, seed)
            x = layers.Add(name=name)([branch, x])
        stages.append(x)
    return stages[-4:]


def _cell(x, filters, size, stride, name, synchronized, seed):
    """Convolution, normalisation and leaky ReLU."""
    x = conv2d(x, filters, size, stride, f"{name}.conv", seed)
    return layers.LeakyReLU(SLOPE, name=f"{name}.leakyrelu")(batch_norm(f"{name}.bn", synchronized=synchronized)(x))
