"""The texts in an .onnx file, and files that are refused before a runtime opens them; no package of ONNX is needed."""

import json
import sys

import pytest
from onnx_bytes import CARD, field, onnx_model, outside

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.exported_model import find_exported
from ttfnet_tf.inference.onnx_metadata import read_card, read_model, replace_files, with_files
from ttfnet_tf.inference.onnx_predictor import OnnxPredictor


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.onnx"


def test_texts_are_metadata(file):
    file.write_bytes(with_files(onnx_model(texts={}), {"model_card.json": json.dumps(CARD), "labels.txt": "dög\n" * 100}))
    assert file.read_bytes() == onnx_model(texts={"model_card.json": json.dumps(CARD), "labels.txt": "dög\n" * 100})
    assert read_card(file) == CARD
    assert find_exported(file).class_names == ("cat",)


def test_texts_are_replaced(file):
    file.write_bytes(onnx_model(graph=field(5, b"\x08\x01"), texts={"a": "1", "b": "2"}))
    replace_files(file, {"b": "3", "c": "4"})
    assert file.read_bytes() == onnx_model(graph=field(5, b"\x08\x01"), texts={"a": "1", "b": "3", "c": "4"})


# Where a tensor may be: an initial value, an attribute, a graph in an attribute.
IN_A_NODE = field(1, field(5, field(5, outside("../secret"))))
IN_A_BRANCH = field(1, field(5, field(6, field(5, outside("/etc/passwd")))))
SPARSE = field(15, field(1, outside("a.bin")))


@pytest.mark.parametrize("graph", [field(5, outside("weights.bin")), IN_A_NODE, IN_A_BRANCH, SPARSE, field(5, field(14, 1))])
def test_numbers_in_other_files_are_refused(file, graph):
    file.write_bytes(onnx_model(graph=graph))
    with pytest.raises(UserError) as caught:
        read_model(file)
    assert str(caught.value) == f"{file}: keeps numbers in other files, which is refused; save the model as one file, without external data"


def test_every_cut_is_noticed(file):
    whole = onnx_model(graph=field(5, b"\x08\x01" * 40))
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"model\.onnx: (is no ONNX model|has no model_card\.json)"):
            read_card(file)


def test_graphs_in_graphs_end(file):
    graph = b""
    for _ in range(200):
        graph = field(1, field(5, field(6, graph)))
    file.write_bytes(onnx_model(graph=graph))
    with pytest.raises(UserError, match="too many graphs in each other"):
        read_model(file)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it has no graph"),
        (b"\x0b", "it has fields of an unknown type"),
        (b"\x00\x00", "it has a field without number"),
        (b"\xff" * 12, "it has a number of more than 64 bits"),
        (b"PK\x03\x04", "it has fields of an unknown type"),
    ],
)
def test_other_files(file, content, reason):
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_card(file)
    assert str(caught.value).startswith(f"{file}: is no ONNX model ({reason}")


def test_without_a_runtime(file, monkeypatch):
    file.write_bytes(onnx_model())
    for name in ("onnxruntime", "openvino"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError) as caught:
        OnnxPredictor(file)
    assert str(caught.value) == f"{file}: needs onnxruntime, which is not installed; pip install 'ttfnet-tf[onnx]'"
    with pytest.raises(UserError, match=r"needs openvino, which is not installed; pip install 'ttfnet-tf\[openvino\]'"):
        OnnxPredictor(file, runtime="openvino")
    with pytest.raises(ValueError, match="'tensorrt'"):
        OnnxPredictor(file, runtime="tensorrt")
