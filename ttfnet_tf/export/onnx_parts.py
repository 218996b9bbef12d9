"""Which nodes of a converted model fp16 and int8 change: the network without the parts that need float32.

These stay float32, for the reasons in `tflite_int8`: normalisation; offsets, masks and sampling of the deformable convolutions; the last
1x1 convolution of each head; decoding.
"""

from __future__ import annotations

import re
from typing import Any

from ttfnet_tf.export.tflite_int8 import stays_float
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.runs.checkpoint import LoadedRun

# Operations that compute a map from maps, and those that give the numbers of a map another order, which follow what is before them.
_COMPUTES = frozenset(
    {"Add", "AveragePool", "BatchNormalization", "Clip", "Concat", "Conv", "ConvTranspose", "Div", "GlobalAveragePool", "HardSigmoid"}
    | {"HardSwish", "LeakyRelu", "MatMul", "MaxPool", "Mul", "Pad", "ReduceMean", "Relu", "Resize", "Sigmoid", "Split", "Sub"}
)
_MOVES = ("Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def network_nodes(model: Any, run: LoadedRun) -> list[str]:
    """Names of the nodes that may compute in fewer bits, in the order of the graph.

    Args:
        model: a ModelProto with the names of TensorFlow's operations, from `onnx_model`.
        run: what it was made from.
    """
    floats = float_tensors(model)
    is_float_part = stays_float(run)
    head_end = re.compile(f"/{METHODS[run.config.model.method].last_layers()}/")
    chosen, of_network, after_heads = [], set(), set()
    for node in model.graph.node:
        if head_end.search(f"{node.name}/") or after_heads & set(node.input):
            after_heads.update(node.output)
        elif node.output[0] in floats and _is_chosen(node, is_float_part, of_network):
            chosen.append(node.name)
            of_network.update(node.output)
    return chosen


def float_tensors(model: Any) -> set[str]:
    """Names of all float32 tensors."""
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    typed = {value.name for value in (*graph.input, *graph.output, *graph.value_info) if value.type.tensor_type.elem_type == 1}
    return typed | {one.name for one in graph.initializer if one.data_type == onnx.TensorProto.FLOAT}


def _is_chosen(node, is_float_part, of_network) -> bool:
    if node.op_type in _MOVES:
        return node.input[0] in of_network
    if node.op_type not in _COMPUTES:
        return False
    if node.name.startswith(("network/", "decode/")):
        return not is_float_part(f"{node.name}/")
    return any(name in of_network for name in node.input)  # a name of the converter's own
