"""Warm-up requests for TensorFlow Serving: a TFRecord file of PredictionLog messages, which the server replays before it opens a version.

The four messages around the tensors are encoded here: tensorflow-serving-api, which has them, must match the versions of TensorFlow and
protobuf, and export would fail wherever it does not. Tests compare the encoding with that package.

Reference: field numbers of tensorflow/serving 2.15, `apis/prediction_log.proto`, `predict.proto` and `model.proto`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from ttfnet_tf.protobuf_fields import field

FILE = Path("assets.extra") / "tf_serving_warmup_requests"  # in the version folder, where the server looks for it
# PredictionLog.predict_log; PredictLog.request; PredictRequest.model_spec and .inputs; ModelSpec.name and .signature_name.
_PREDICT_LOG, _REQUEST, _MODEL_SPEC, _INPUTS, _NAME, _SIGNATURE = 6, 1, 1, 2, 1, 3


def write_warmup(file: Path, name: str, requests: Iterable[tuple[str, Mapping[str, np.ndarray]]]) -> None:
    """Writes a record for each request.

    Args:
        file: the TFRecord file; its folder is created.
        name: of the model.
        requests: (signature, input name -> array); the server accepts at most 1000.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for signature, inputs in requests:
            writer.write(prediction_log(name, signature, inputs))


def prediction_log(name: str, signature: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A serialised PredictionLog with one PredictRequest."""
    model = field(_NAME, name.encode()) + field(_SIGNATURE, signature.encode())
    request = field(_MODEL_SPEC, model)
    for key, array in inputs.items():
        # A map entry is a message with the key as field 1 and the value as field 2.
        request += field(_INPUTS, field(1, key.encode()) + field(2, _tensor(array)))
    return field(_PREDICT_LOG, field(_REQUEST, request))


def _tensor(array: np.ndarray) -> bytes:
    """A serialised TensorProto; if all values are equal, it holds the value once, and readers repeat it."""
    if array.dtype.kind in "OS" or not (array == array.flat[0]).all():
        return tf.make_tensor_proto(array).SerializeToString()
    proto = tf.make_tensor_proto(array.flat[0], dtype=array.dtype)
    proto.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    return proto.SerializeToString()
