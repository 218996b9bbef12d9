"""DLA-34 with its deformable decoder, which takes the place of the neck: one map of stride 4.

Two networks follow each other. `base` is Deep Layer Aggregation: stages of residual blocks whose outputs a "root" joins by a 1x1
convolution, in trees that carry earlier results along. `dla_up` and `ida_up` then aggregate the stages from coarse to fine: a
deformable convolution brings a map to the channels of its finer neighbour, a learned upsampling to its size, and after the sum
another deformable convolution follows.

Layers carry the module paths of the official code ("backbone.base.level3.tree2.root.conv"). That code also makes
`base.level3.project` and `base.level4.project`, whose output nothing reads; they are not made here.

Reference: Yu et al., arXiv:1707.06484; ZJULearning/ttfnet `mmdet/models/backbones/dla.py` (`DLASeg`), which follows
xingyizhou/CenterNet `pose_dla_dcn.py`.
"""

from __future__ import annotations

from ttfnet_tf.keras2 import layers
from ttfnet_tf.layers.batch_norm import batch_norm
from ttfnet_tf.layers.deform_conv import DeformableConv2D
from ttfnet_tf.layers.initializers import fan_in_uniform
from ttfnet_tf.layers.upsample import LearnedUpsample
from ttfnet_tf.models.backbones.convolution import conv2d


def dla34(
    inputs,
    *,
    width: int = 64,
    zero_init_residual: bool = True,
    synchronized: bool = False,
    seed: int = 0,
    neck: str = "deformable",
    sampler: str = "crop_and_resize",
) -> list:
    """DLA-34 and its decoder.

    Args:
        inputs: [B, H, W, 3] Keras tensor, normalised; H and W multiples of 32.
        width: channels of the stage with stride 4, a multiple of 4: the levels have width / 4, width / 2, width, ... 8 width.
        zero_init_residual: whether the last scale of each residual branch starts at 0.
        synchronized: whether batch statistics cover all replicas.
        seed: of the initial values.
        neck: `deformable`, or `plain` for ordinary 3x3 convolutions in the same places of the decoder.
        sampler: form of the deformable convolution.

    Returns:
        One map in a list, [B, H/4, W/4, width]: a head can read it without a neck.

    Raises:
        ValueError: a width that is no multiple of 4.
    """
    if width % 4:
        raise ValueError(f"width must be a multiple of 4, received {width}")
    make = _Maker(synchronized=synchronized, zero_init_residual=zero_init_residual, seed=seed, neck=neck, sampler=sampler)
    x = make.convolution(inputs, width // 4, 7, 1, "backbone.base.base_layer")
    x = make.convolution(x, width // 4, 3, 1, "backbone.base.level0")
    x = make.convolution(x, width // 2, 3, 2, "backbone.base.level1")
    stages = []
    for level, (depth, has_root_input) in enumerate([(1, False), (2, True), (2, True), (1, True)], start=2):
        name = f"backbone.base.level{level}"
        bottom = layers.MaxPooling2D(2, name=f"{name}.downsample")(x)
        x = make.tree(x, bottom, depth, width * 2 ** (level - 2), name, [bottom] if has_root_input else [])
        stages.append(x)

    # Each round starts one level lower and brings all deeper maps to that level's stride; its last map is used.
    aggregated = []  # finest first: strides 4, 8 and 16
    for round_, start in enumerate((2, 1, 0)):
        stages[start:] = make.aggregate(stages[start:], (2,) * (3 - start), f"backbone.dla_up.ida_{round_}")
        aggregated.insert(0, stages[-1])
    return [make.aggregate(aggregated, (2, 4), "backbone.ida_up")[-1]]


class _Maker:
    """Builders of the network's parts, with the arguments that all of them need."""

    def __init__(self, *, synchronized, zero_init_residual, seed, neck, sampler):
        self.synchronized = synchronized
        self.zero_init_residual = zero_init_residual
        self.seed = seed
        self.neck = neck
        self.sampler = sampler

    def convolution(self, x, filters, size, stride, name):
        """Convolution, normalisation, ReLU under the names of a `Sequential`."""
        x = self._normalize(self._conv(x, filters, size, stride, f"{name}.0"), f"{name}.1")
        return layers.ReLU(name=f"{name}.2")(x)

    def tree(self, x, bottom, depth, filters, name, children):
        """Two blocks and their root, or two trees of which the second's root sees all before it.

        Args:
            x: input of the first block.
            bottom: `x` at the size of the output, which skips the first block; half the size of x, or x itself.
            depth: 1 for blocks, 2 for trees of blocks.
            filters: channels of the output.
            children: further maps for the root, of the size of the output.
        """
        if depth > 1:
            first = self.tree(x, bottom, depth - 1, filters, f"{name}.tree1", [])
            return self.tree(first, first, depth - 1, filters, f"{name}.tree2", [*children, first])
        shortcut = bottom
        if bottom.shape[-1] != filters:
            shortcut = self._normalize(self._conv(bottom, filters, 1, 1, f"{name}.project.0"), f"{name}.project.1")
        first = self._block(x, shortcut, filters, 1 if bottom is x else 2, f"{name}.tree1")
        second = self._block(first, first, filters, 1, f"{name}.tree2")
        x = layers.Concatenate(name=f"{name}.root.concat")([second, first, *children])
        x = self._normalize(self._conv(x, filters, 1, 1, f"{name}.root.conv"), f"{name}.root.bn")
        return layers.ReLU(name=f"{name}.root.relu")(x)

    def aggregate(self, maps, factors, name):
        """Iterative deep aggregation: every map is upsampled and joined with the aggregate before it.

        Args:
            maps: finest first.
            factors: by how much each map after the first is to grow.

        Returns:
            As many maps, all of the size and channels of the first.
        """
        filters, out = maps[0].shape[-1], [maps[0]]
        for i, (x, factor) in enumerate(zip(maps[1:], factors), start=1):
            x = LearnedUpsample(factor, name=f"{name}.up_{i}")(self._deform(x, filters, f"{name}.proj_{i}"))
            x = layers.Add(name=f"{name}.sum_{i}")([x, out[-1]])
            out.append(self._deform(x, filters, f"{name}.node_{i}"))
        return out

    def _block(self, x, shortcut, filters, stride, name):
        x = self._normalize(self._conv(x, filters, 3, stride, f"{name}.conv1"), f"{name}.bn1")
        x = self._conv(layers.ReLU(name=f"{name}.relu")(x), filters, 3, 1, f"{name}.conv2")
        x = self._normalize(x, f"{name}.bn2", "zeros" if self.zero_init_residual else "ones")
        return layers.ReLU(name=name)(layers.Add(name=f"{name}.add")([x, shortcut]))

    def _deform(self, x, filters, name):
        kernel = fan_in_uniform(9 * x.shape[-1], self.seed, f"{name}.conv")
        if self.neck == "deformable":
            x = DeformableConv2D(filters, sampler=self.sampler, kernel_initializer=kernel, name=f"{name}.conv")(x)
        else:
            x = layers.Conv2D(filters, 3, padding="same", kernel_initializer=kernel, name=f"{name}.conv")(x)
        return layers.ReLU(name=f"{name}.actf.1")(self._normalize(x, f"{name}.actf.0"))

    def _normalize(self, x, name, gamma="ones"):
        return batch_norm(name, synchronized=self.synchronized, gamma_initializer=gamma)(x)

    def _conv(self, x, filters, size, stride, name):
        return conv2d(x, filters, size, stride, name, self.seed)
