"""A correction of converted TFLite models that the converter has no option for."""

from __future__ import annotations

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils


def without_needless_rounding(content: bytes) -> bytes:
    """An int8 model without values that are rounded to int8 only to become float32 again.

    The quantiser rounds the result of operations whose scale TFLite fixes, sigmoid among them, also where everything around is float32:
    scores would come in steps of 1/256, and detections of one step would lose their order.

    Args:
        content: a .tflite model.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    for number, graph in enumerate(model.subgraphs):
        names = [flatbuffer_utils.opcode_to_name(model, operator.opcodeIndex) for operator in graph.operators]
        source = {
            int(operator.outputs[0]): int(operator.inputs[0])
            for name, operator in zip(names, graph.operators)
            if name == "QUANTIZE" and graph.tensors[operator.inputs[0]].type == schema.TensorType.FLOAT32
        }
        replaced, kept = {}, []
        for name, operator in zip(names, graph.operators):
            if name == "DEQUANTIZE" and int(operator.inputs[0]) in source:
                replaced[int(operator.outputs[0])] = source[int(operator.inputs[0])]
            else:
                kept.append(operator)
        for operator in kept:
            operator.inputs = _renamed(operator.inputs, replaced)
        graph.outputs = _renamed(graph.outputs, replaced)
        for signature in model.signatureDefs:
            if signature.subgraphIndex == number:
                for entry in signature.outputs:
                    entry.tensorIndex = replaced.get(entry.tensorIndex, entry.tensorIndex)
        used = {int(index) for operator in kept for index in operator.inputs} | {int(index) for index in graph.outputs}
        graph.operators = [operator for operator in kept if int(operator.outputs[0]) in used or int(operator.outputs[0]) not in source]
    return flatbuffer_utils.convert_object_to_bytearray(model)


def _renamed(indices, replaced):
    return np.array([replaced.get(int(index), int(index)) for index in indices], np.int32)
