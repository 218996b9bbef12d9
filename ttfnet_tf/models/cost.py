"""Parameters and multiply-adds of a network, part by part.

Counted are convolutions, transposed and depthwise ones too, and dense layers. A deformable convolution is its product with the kernel
and the convolution that predicts its offsets and masks. Biases, normalisation, activations, pooling, resizing, bilinear sampling and
sums are not counted, as usual in tables of detectors. A multiply-add is two floating-point operations.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import tensorflow as tf

from ttfnet_tf.keras2 import keras
from ttfnet_tf.models.parameters import named_parameters

# Part -> how the names of its layers begin; heads are the method's.
PARTS = {"backbone": "backbone.", "neck": "bbox_head.deconv_layers.", "shortcuts": "bbox_head.shortcut_layers."}
OTHER = "other"


@dataclass(frozen=True)
class Cost:
    """Of one part, or of a whole network for one image."""

    parameters: int  # that training may change in principle; running statistics are none
    trainable: int  # of them, not frozen
    multiply_adds: int

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.parameters + other.parameters, self.trainable + other.trainable, self.multiply_adds + other.multiply_adds)


def cost_of(model: keras.Model, image_size: tuple[int, int], heads: Mapping[str, str]) -> dict[str, Cost]:
    """Cost of each part of a network.

    Args:
        model: from `build_model`, with fixed or open size.
        image_size: (H, W) of the input in pixels.
        heads: name of each head -> how the names of its layers begin, such as {"box": "bbox_head.wh"}.

    Returns:
        Part -> cost: the keys of `PARTS` and "<name> head" that the model has and, where it has more, "other". The whole is their sum.

    Raises:
        ValueError: the model contains an operation whose multiply-adds cannot be read from its shapes.
    """
    parts = {**PARTS, **{f"{name} head": f"{prefix}." for name, prefix in heads.items()}}
    counted = [
        _by_part(parts, {name: variable.shape.num_elements() for name, variable in named_parameters(model, trainable_only=only).items()})
        for only in (False, True)
    ]
    counted.append(_by_part(parts, _multiply_adds(model, image_size)))
    parameters, _, multiply_adds = counted
    return {
        part: Cost(*(counts.get(part, 0) for counts in counted)) for part in (*parts, OTHER) if part in parameters or part in multiply_adds
    }


def cost_table(costs: dict[str, Cost]) -> str:
    """The costs as lines of text, the whole last: millions of parameters, 10^9 multiply-adds."""
    rows = [*costs.items(), ("total", sum(costs.values(), Cost(0, 0, 0)))]
    lines = [f"{'part':14}{'parameters':>14}{'trainable':>14}{'multiply-adds':>16}"]
    for part, cost in rows:
        counts = "".join(f"{count / 1e6:12.3f} M" for count in (cost.parameters, cost.trainable))
        lines.append(f"{part:14}{counts}{cost.multiply_adds / 1e9:14.2f} G")
    return "\n".join(lines)


def _by_part(parts, counts):
    """Name of a parameter or operation -> count, summed by part."""
    sums = {}
    for name, count in counts.items():
        part = next((part for part, prefix in parts.items() if name.startswith(prefix)), OTHER)
        sums[part] = sums.get(part, 0) + count
    return sums


def _multiply_adds(model, image_size):
    """Name of an operation of the traced network -> multiply-adds: what runs is what is counted."""
    function = tf.function(lambda image: model(image, training=False), autograph=False)
    graph = function.get_concrete_function(tf.TensorSpec([1, *image_size, 3], tf.float32)).graph
    counts = {}
    for operation in graph.get_operations():
        if operation.type in _COUNTERS:
            count = _COUNTERS[operation.type](operation)
            if count is None:
                raise ValueError(f"the multiply-adds of {operation.name} cannot be counted: its shapes are open at {tuple(image_size)}")
            counts[operation.name.partition("/")[2]] = count  # without the model's name
    return counts


def _convolution(operation):
    _, kernel = operation.inputs  # [s, s, C / groups, D], or [s, s, C, multiplier] of a depthwise one
    return _product(kernel.shape, operation.outputs[0].shape[:3])


def _transposed_convolution(operation):
    _, kernel, source = operation.inputs  # each cell of the input is spread by the whole kernel
    return _product(kernel.shape, source.shape[:3])


def _dense(operation):
    first = operation.inputs[0].shape
    return _product(operation.outputs[0].shape, first[:1] if operation.get_attr("transpose_a") else first[1:])


def _product(*shapes):
    """Product of all sides, None where one is open."""
    counts = [shape.num_elements() for shape in shapes]
    return None if None in counts else math.prod(counts)


# Products of batches are missing on purpose: the network has them in bilinear sampling only.
_COUNTERS = {
    "Conv2D": _convolution,
    "DepthwiseConv2dNative": _convolution,
    "Conv2DBackpropInput": _transposed_convolution,
    "MatMul": _dense,
}
