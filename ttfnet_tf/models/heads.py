"""Heads: from the neck's map of stride 4 to the maps that a detector is trained on and read from.

Every head takes the same keywords, so that `model.build_model` knows none of them; layer names of TTFNet's are the official module paths.

Reference: TTFNet: `mmdet/models/anchor_heads/ttf_head.py` of ZJULearning/ttfnet 700ad90. CenterNet: xingyizhou/CenterNet a5a0483,
`src/lib/models/networks/resnet_dcn.py`.
"""

from __future__ import annotations

from tensorflow.keras import layers

from ttfnet_tf.layers.initializers import bias_of_probability, fan_in_uniform, normal

BOX_SCALE = 16.0  # TTFNet learns distances in units of 16 input pixels (`wh_offset_base`)
TTFNET_START = 0.01  # probability of every class in every cell before training (`bias_init_with_prob`)
CENTERNET_START = 0.1  # the same; CenterNet writes the bias -2.19
Size = tuple[int, int]  # channels of each 3x3 convolution, number of them before the last 1x1


def ttfnet_heads(x, num_classes: int, *, heatmap_head: Size, box_head: Size, box_per_class: bool, seed: int) -> dict:
    """Heatmap and distances to the four sides of the box.

    Args:
        x: [B, h, w, D] Keras tensor.
        num_classes: channels C of the heatmap.
        heatmap_head: size of the heatmap's head.
        box_head: size of the head of the distances.
        box_per_class: whether each class has its own four distances.
        seed: of the initial values.

    Returns:
        heatmap: float32 [B, h, w, C] logits.
        box: float32 [B, h, w, 4] distances left, top, right, bottom of the cell's point in input pixels, 0 or more; with
            `box_per_class` [B, h, w, 4 C], channel 4 class + side.
    """
    heatmap = _head(x, heatmap_head, num_classes, "bbox_head.hm", _normal(0.01, seed), bias_of_probability(TTFNET_START))
    box = _head(x, box_head, 4 * (num_classes if box_per_class else 1), "bbox_head.wh", _normal(0.001, seed))
    return {
        "heatmap": layers.Activation("linear", dtype="float32", name="heatmap")(heatmap),
        "box": layers.Rescaling(BOX_SCALE, dtype="float32", name="box")(layers.ReLU(name="bbox_head.wh.relu")(box)),
    }


def centernet_heads(x, num_classes: int, *, heatmap_head: Size, box_head: Size, box_per_class: bool, seed: int) -> dict:
    """Heatmap, size of the box, and where in its cell the centre lies; arguments as in `ttfnet_heads`.

    Returns:
        heatmap: float32 [B, h, w, C] logits.
        size: float32 [B, h, w, 2] width and height of the box in cells; with `box_per_class` [B, h, w, 2 C], channel 2 class + side.
        offset: float32 [B, h, w, 2] x and y of the centre from the cell's corner, in cells.
    """
    heatmap = _head(x, heatmap_head, num_classes, "bbox_head.hm", _fan_in_uniform(seed), bias_of_probability(CENTERNET_START))
    outputs = {"heatmap": layers.Activation("linear", dtype="float32", name="heatmap")(heatmap)}
    for name, path, channels in (("size", "wh", 2 * (num_classes if box_per_class else 1)), ("offset", "reg", 2)):
        head = _head(x, box_head, channels, f"bbox_head.{path}", _normal(0.001, seed))
        outputs[name] = layers.Activation("linear", dtype="float32", name=name)(head)
    return outputs


def _head(x, size, channels, name, kernel, bias="zeros"):
    """`kernel(fan_in, name)` gives the initial values of a convolution."""
    width, depth = size
    for i in range(depth):
        conv = f"{name}.{i}.conv"
        x = layers.Conv2D(width, 3, padding="same", kernel_initializer=kernel(9 * x.shape[-1], conv), name=conv)(x)
        x = layers.ReLU(name=f"{name}.{i}.activate")(x)
    last = f"{name}.{depth}"
    return layers.Conv2D(channels, 1, kernel_initializer=kernel(x.shape[-1], last), bias_initializer=bias, name=last)(x)


def _normal(stddev, seed):
    return lambda fan_in, name: normal(stddev, seed, name)


def _fan_in_uniform(seed):
    """PyTorch's default for convolutions."""
    return lambda fan_in, name: fan_in_uniform(fan_in, seed, name)
