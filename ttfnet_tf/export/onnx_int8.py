"""int8 quantisation of ONNX models by onnxruntime, with fixed scales, in the QDQ form that OpenVINO reads too."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ttfnet_tf.export.onnx_parts import network_nodes
from ttfnet_tf.inference.onnx_predictor import INPUT
from ttfnet_tf.runs.checkpoint import LoadedRun

# What onnxruntime computes in int8; a batch normalisation without a convolution before it has no such form.
_OPERATIONS = ("Add", "AveragePool", "Concat", "Conv", "GlobalAveragePool", "LeakyRelu", "MatMul", "MaxPool", "Relu", "Resize")


def in_int8(model: Any, run: LoadedRun, images: Iterable[np.ndarray]) -> Any:
    """The model with the nodes of `onnx_parts.network_nodes` in int8, as far as there are such operations.

    Args:
        model: a ModelProto in float32, from `onnx_model`.
        run: what it was made from.
        images: uint8 [1, H, W, 3], from `tflite_int8.calibration_images`: the least and the largest value of each tensor become its scale.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):
        def __init__(self):
            self._rest = iter(images)

        def get_next(self):
            image = next(self._rest, None)
            return None if image is None else {INPUT: image}

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "int8.onnx"
        quantize_static(
            model,
            target,
            Reader(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(_OPERATIONS),
            nodes_to_quantize=_nodes(model, run),
            per_channel=True,
            # Unsigned: a ReLU becomes part of its convolution, which halves the time of onnxruntime. `reduce_range`, seven bits for
            # processors whose sums of two products overflow, made the median difference of the scores five times as large on blood cells.
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(target)


def _nodes(model: Any, run: LoadedRun) -> list[str]:
    """Names of the nodes to quantise: all of the network but its first convolution.

    OpenVINO 2026.4 merges the normalisation into that one and then computes something else (AP .11 in place of .56 on blood cells).
    """
    names = network_nodes(model, run)
    kinds = {node.name: node.op_type for node in model.graph.node}
    first = next(name for name in names if kinds[name] == "Conv")
    return [name for name in names if name != first]
