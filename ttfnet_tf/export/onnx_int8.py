"""int8 quantisation of ONNX models by onnxruntime, with fixed scales, in the QDQ form that OpenVINO and TensorRT read too."""

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
            nodes_to_quantize=network_nodes(model, run),
            per_channel=True,
            # Seven bits: with eight, the sums of two products overflow on processors without int8 dot products.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(target)
