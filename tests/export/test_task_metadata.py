"""TFLite's metadata table, read back by the field numbers of its published schema."""

import json

import flatbuffers
import numpy as np
import pytest

from ttfnet_tf.export import model_card
from ttfnet_tf.export.task_metadata import labels_by_id, task_metadata

CARD = {
    "name": "cells",
    "version": None,
    "precision": "int8",
    "classes": [{"name": "cat", "category_id": 1}, {"name": "dög", "category_id": 4}],
    "image_size": [64, 96],
    "normalization": {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]},
    "outputs": {name: f"about {name}" for name in ("detection_boxes", "detection_classes", "detection_scores", "num_detections")},
    "config": {"model": {"method": "ttfnet", "backbone": "resnet18"}},
    "training": {"step": 7},
}


class Table:
    """A FlatBuffers table: fields by number, as the specification of the format says."""

    def __init__(self, content, place):
        self._table = flatbuffers.table.Table(bytearray(content), place)

    @classmethod
    def root(cls, content):
        return cls(content, int.from_bytes(content[:4], "little"))

    def _at(self, number):
        offset = self._table.Offset(4 + 2 * number)
        return offset + self._table.Pos if offset else None

    def number(self, number, kind):
        place = self._at(number)
        return 0 if place is None else self._table.Get(kind, place)

    def text(self, number):
        return self._table.String(self._at(number)).decode()

    def table(self, number):
        return Table(self._table.Bytes, self._table.Indirect(self._at(number)))

    def union(self, number):
        return Table(self._table.Bytes, self._table.Indirect(self._at(number)))

    def _vector(self, number):
        place = self._at(number)
        offset = place - self._table.Pos
        return self._table.Vector(offset), self._table.VectorLen(offset)

    def tables(self, number):
        start, length = self._vector(number)
        return [Table(self._table.Bytes, self._table.Indirect(start + 4 * i)) for i in range(length)]

    def texts(self, number):
        start, length = self._vector(number)
        return [self._table.String(start + 4 * i).decode() for i in range(length)]

    def numbers(self, number, kind):
        start, length = self._vector(number)
        return np.frombuffer(self._table.Bytes, kind, length, start).tolist()

    def has(self, number):
        return self._at(number) is not None


BYTE, UBYTE, UINT, INT = (
    flatbuffers.number_types.Int8Flags,
    flatbuffers.number_types.Uint8Flags,
    flatbuffers.number_types.Uint32Flags,
    flatbuffers.number_types.Int32Flags,
)


@pytest.fixture(scope="module")
def graph():
    """The schema's SubGraphMetadata."""
    (graph,) = Table.root(task_metadata(CARD)).tables(3)
    return graph


def test_the_model_and_its_files():
    content = task_metadata(CARD)
    assert content[4:8] == b"M001"
    model = Table.root(content)
    assert (model.text(0), model.text(2), model.text(7)) == ("cells", "7", "1.2.0")
    assert model.text(1) == "ttfnet detector on resnet18, 2 classes, int8"
    assert [(file.text(0), file.number(2, BYTE)) for file in model.tables(6)] == [("model_card.json", 1)]  # DESCRIPTIONS


def test_the_input_is_an_rgb_image_without_normalisation(graph):
    (image,) = graph.tables(2)
    assert image.text(0) == "image"
    assert "[123.675, 116.28, 103.53]" in image.text(1)
    content = image.table(3)
    assert content.number(0, UBYTE) == 2  # ImageProperties
    assert content.union(1).number(0, BYTE) == 1  # RGB
    size = content.union(1).table(1)
    assert (size.number(0, UINT), size.number(1, UINT)) == (96, 64)  # width, height
    (unit,) = image.tables(4)
    assert unit.number(0, UBYTE) == 1  # NormalizationOptions
    assert (unit.union(1).numbers(0, np.float32), unit.union(1).numbers(1, np.float32)) == ([0.0], [1.0])
    assert (image.table(5).numbers(0, np.float32), image.table(5).numbers(1, np.float32)) == ([255.0], [0.0])


def test_the_outputs_are_those_of_a_detector(graph):
    boxes, classes, scores, count = graph.tables(3)
    names = ["location", "category", "score", "number of detections"]
    assert [tensor.text(0) for tensor in (boxes, classes, scores, count)] == names
    content = boxes.table(3)
    assert content.number(0, UBYTE) == 3  # BoundingBoxProperties
    assert content.union(1).numbers(0, np.uint32) == [1, 0, 3, 2]
    assert (content.union(1).number(1, BYTE), content.union(1).number(2, BYTE)) == (1, 0)  # BOUNDARIES, RATIO
    assert (content.table(2).number(0, INT), content.table(2).number(1, INT)) == (2, 2)
    assert [tensor.table(3).number(0, UBYTE) for tensor in (classes, scores, count)] == [1, 1, 1]  # FeatureProperties
    assert [(file.text(0), file.number(2, BYTE)) for file in classes.tables(6)] == [("labels_by_id.txt", 3)]  # TENSOR_VALUE_LABELS
    (group,) = graph.tables(8)
    assert (group.text(0), group.texts(1)) == ("detection_result", names[:3])


def test_labels_have_a_line_for_each_category_id():
    assert labels_by_id(CARD) == "???\ncat\n???\n???\ndög\n"


def test_category_ids_too_large_for_a_label_file():
    card = json.loads(json.dumps(CARD))
    card["classes"][1]["category_id"] = 2**24
    assert labels_by_id(card) is None
    (graph,) = Table.root(task_metadata(card)).tables(3)
    assert not graph.tables(3)[1].has(6)


def test_a_line_break_in_a_name_does_not_move_the_names_after_it(monkeypatch):
    monkeypatch.setattr(model_card, "markdown", lambda card: "")
    classes = [{"category_id": 1, "name": "red\r\ncat"}, {"category_id": 3, "name": "a\tb\u2028c"}, {"category_id": 4, "name": "dog"}]
    assert labels_by_id({"classes": classes}).split("\n") == ["???", "red  cat", "???", "a b c", "dog", ""]
    assert model_card.texts({**CARD, "classes": classes})[model_card.LABELS] == "red  cat\na b c\ndog\n"
