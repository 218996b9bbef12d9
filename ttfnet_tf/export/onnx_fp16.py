"""An ONNX model whose network computes in float16, for GPUs; its input and outputs stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from ttfnet_tf.export.onnx_parts import float_tensors, network_nodes
from ttfnet_tf.runs.checkpoint import LoadedRun

# Operations of which only the first input has the type of the map: the others are sizes.
_FIRST_INPUT = ("Resize",)


def in_float16(model: Any, run: LoadedRun) -> Any:
    """The model with the nodes of `onnx_parts.network_nodes` in float16, and casts where they begin and end.

    Args:
        model: a ModelProto in float32, from `onnx_model`; it is changed.
        run: what it was made from.
    """
    from onnx import TensorProto, helper, numpy_helper

    graph = model.graph
    floats, half_nodes = float_tensors(model), set(network_nodes(model, run))
    values = {one.name: one for one in graph.initializer}
    half, added = set(), {}  # tensors that have become float16; name of a cast tensor -> its initializer, or None for a node
    nodes = []

    def cast(name: str, to: int, suffix: str) -> str:
        """The name of a tensor in the other type; the cast is added when it is first needed."""
        target = f"{name}{suffix}"
        if target not in added:
            added[target] = None
            if name in values:
                added[target] = numpy_helper.from_array(numpy_helper.to_array(values[name]).astype(np.float16), target)
            else:
                nodes.append(helper.make_node("Cast", [name], [target], name=target, to=to))
        return target

    for node in graph.node:
        is_half = node.name in half_nodes
        for place, name in enumerate(node.input):
            if is_half and name in floats and name not in half and not (place and node.op_type in _FIRST_INPUT):
                node.input[place] = cast(name, TensorProto.FLOAT16, "/float16")
            elif not is_half and name in half:
                node.input[place] = cast(name, TensorProto.FLOAT, "/float32")
        if is_half:
            half.update(name for name in node.output if name in floats)
        nodes.append(node)
    nodes = [type(node).FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [one for one in [*graph.initializer, *(value for value in added.values() if value is not None)] if one.name in used]
    kept = [type(one).FromString(one.SerializeToString()) for one in kept]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    return model
