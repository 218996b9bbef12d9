"""TFLite's metadata table, from which Android Studio and the Task Library read the inputs and outputs of a model.

The table is a FlatBuffer in the model's buffer named TFLITE_METADATA. It is written here field by field: the tflite-support package, which
does it too, had its last release in 2023, needs protobuf before 4 (TensorFlow 2.15 needs it from 4.21) and a 60 MB download.

Reference: field numbers and enumerations of `metadata_schema.fbs`, tensorflow/tflite-support 0.4.4 (identifier M001).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema
from tensorflow.lite.tools import flatbuffer_utils

from ttfnet_tf.export.model_card import resizing
from ttfnet_tf.plain_text import printable

NAME, IDENTIFIER = "TFLITE_METADATA", b"M001"
LABELS_BY_ID = "labels_by_id.txt"
# Our outputs in the order that the Task Library expects of a detector -> its names for them.
OUTPUTS = {
    "detection_boxes": "location",
    "detection_classes": "category",
    "detection_scores": "score",
    "num_detections": "number of detections",
}
_LARGEST_TABLE = 100_000  # lines of `labels_by_id`; with larger category ids, only the model card has the names
_FILLER = "???"  # for ids without a class, as in TensorFlow's label maps
# Enumerations and union members of the schema.
_RGB = np.int8(1)
_FEATURE, _IMAGE, _BOUNDING_BOX = np.uint8(1), np.uint8(2), np.uint8(3)
_BOUNDARIES, _RATIO = np.int8(1), np.int8(0)
_NORMALIZATION = np.uint8(1)
_DESCRIPTIONS, _TENSOR_VALUE_LABELS = np.int8(1), np.int8(3)


def with_task_metadata(content: bytes, card: dict[str, Any]) -> bytes:
    """The model with the table, and with its outputs in the order of `OUTPUTS`.

    Args:
        content: a .tflite model with the signature of `tflite.export_tflite`, and without files attached.
        card: see `model_card.model_card`.
    """
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    tensor_of = {entry.name.decode(): entry.tensorIndex for entry in model.signatureDefs[0].outputs}
    model.subgraphs[0].outputs = np.array([tensor_of[name] for name in OUTPUTS], np.int32)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(task_metadata(card), np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = NAME, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    return flatbuffer_utils.convert_object_to_bytearray(model)


def labels_by_id(card: dict[str, Any]) -> str | None:
    """One class name per line: line k, from 0, is category id k, as in `detection_classes`. None if the ids are too large for that."""
    names = {one["category_id"]: printable(one["name"]) for one in card["classes"]}
    if min(names) < 0 or max(names) >= _LARGEST_TABLE:
        return None
    return "".join(f"{names.get(number, _FILLER)}\n" for number in range(max(names) + 1))


def task_metadata(card: dict[str, Any]) -> bytes:
    """The table of a model as a FlatBuffer, the schema's `ModelMetadata`; for the card see `model_card.model_card`."""
    height, width = card["image_size"]
    normalization = card["normalization"]
    image = _tensor(
        "image",
        f"RGB image of {width} x {height} pixels, 0..255, {resizing(card)}. The model normalises with mean {normalization['mean']} and std "
        f"{normalization['std']}: pass the pixels unchanged.",
        content={0: _IMAGE, 1: {0: _RGB, 1: {0: np.uint32(width), 1: np.uint32(height)}}},
        # What a caller has to do with the pixels: nothing.
        units=[{0: _NORMALIZATION, 1: {0: np.zeros(1, np.float32), 1: np.ones(1, np.float32)}}],
        stats={0: np.full(1, 255, np.float32), 1: np.zeros(1, np.float32)},
    )
    boundaries = {0: np.array([1, 0, 3, 2], np.uint32), 1: _BOUNDARIES, 2: _RATIO}  # positions of left, top, right, bottom
    feature = {0: _FEATURE, 1: {}, 2: {0: np.int32(2), 1: np.int32(2)}}
    labels = [_file(LABELS_BY_ID, "Names of the classes by category id", _TENSOR_VALUE_LABELS)] if labels_by_id(card) else []
    outputs = [
        _tensor(OUTPUTS["detection_boxes"], card["outputs"]["detection_boxes"], content={**feature, 0: _BOUNDING_BOX, 1: boundaries}),
        _tensor(OUTPUTS["detection_classes"], card["outputs"]["detection_classes"], content=feature, files=labels),
        _tensor(OUTPUTS["detection_scores"], card["outputs"]["detection_scores"], content=feature),
        _tensor(OUTPUTS["num_detections"], card["outputs"]["num_detections"], content={0: _FEATURE, 1: {}}),
    ]
    group = {0: "detection_result", 1: [OUTPUTS[name] for name in ("detection_boxes", "detection_classes", "detection_scores")]}
    config = card["config"]["model"]
    model = {
        0: card["name"],
        1: f"{config['method']} detector on {config['backbone']}, {len(card['classes'])} classes, {card['precision']}",
        2: str(card["version"] or card["training"]["step"]),
        3: [{2: [image], 3: outputs, 8: [group]}],
        6: [_file("model_card.json", "The model card", _DESCRIPTIONS)],
        7: "1.2.0",  # of the parser: the first version with groups of tensors
    }
    builder = flatbuffers.Builder(4096)
    builder.Finish(_write(builder, model), file_identifier=IDENTIFIER)
    return bytes(builder.Output())


def _tensor(name: str, about: str, *, content: dict, units: Sequence = (), stats: dict | None = None, files: Sequence = ()) -> dict:
    """The schema's TensorMetadata."""
    fields = {0: name, 1: about, 3: content, 4: list(units), 5: stats, 6: list(files)}
    return {number: value for number, value in fields.items() if value}


def _file(name: str, about: str, kind: np.int8) -> dict:
    """The schema's AssociatedFile."""
    return {0: name, 1: about, 2: kind}


def _write(builder: flatbuffers.Builder, value: Any) -> int:
    """Writes a string, a vector of numbers, a vector of these, or a table (field number -> value), and returns its offset.

    Numbers in tables are NumPy scalars; the type of a scalar decides how it is stored. What a table refers to is written before the table.
    """
    if isinstance(value, str):
        return builder.CreateString(value)
    if isinstance(value, np.ndarray):
        return builder.CreateNumpyVector(value)
    if isinstance(value, list):
        offsets = [_write(builder, one) for one in value]
        builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            builder.PrependUOffsetTRelative(offset)
        return builder.EndVector()
    fields = {number: one if isinstance(one, np.generic) else _write(builder, one) for number, one in value.items()}
    builder.StartObject(1 + max(fields, default=-1))
    store = {
        np.int8: builder.PrependInt8Slot,
        np.uint8: builder.PrependUint8Slot,
        np.int32: builder.PrependInt32Slot,
        np.uint32: builder.PrependUint32Slot,
        int: builder.PrependUOffsetTRelativeSlot,
    }
    for number, field in fields.items():
        store[type(field)](number, field, 0)
    return builder.EndObject()
