"""Which files `ttfnet export` writes for formats and precisions."""

import importlib.machinery
import sys
import types

import pytest

from ttfnet_tf.errors import UserError
from ttfnet_tf.export.forms import ALL_PRECISIONS, FORMATS, PRECISIONS, check_installed, forms_of, installed_formats

SAVED, LITE, ONNX = FORMATS


@pytest.mark.parametrize(
    ("formats", "precisions", "forms"),
    [
        ([SAVED], ["fp32"], [(SAVED, "fp32")]),
        ([SAVED], ["bf16"], [(SAVED, "bf16")]),
        ([SAVED], ["bf16", "fp32"], [(SAVED, "fp32"), (SAVED, "bf16")]),
        ([LITE], ["int8", "fp16"], [(LITE, "fp16"), (LITE, "int8")]),
        ([SAVED, LITE], ["int8"], [(SAVED, "fp32"), (LITE, "int8")]),
        ([SAVED, LITE], ["bf16"], [(SAVED, "bf16"), (LITE, "fp32")]),
        ([ONNX], ["int8", "fp32"], [(ONNX, "fp32"), (ONNX, "int8")]),
        ([LITE, ONNX], ["dynamic"], [(LITE, "dynamic"), (ONNX, "fp32")]),
    ],
)
def test_files(formats, precisions, forms):
    assert forms_of(formats, precisions) == forms


@pytest.mark.parametrize(
    ("formats", "precision", "line"),
    [
        ([LITE], "bf16", "--precision bf16: tflite cannot be written in it; add --format saved_model"),
        ([ONNX], "dynamic", "--precision dynamic: onnx cannot be written in it; add --format tflite"),
        ([SAVED], "int8", "--precision int8: saved_model cannot be written in it; add --format tflite"),
    ],
)
def test_a_precision_that_would_do_nothing_is_refused(formats, precision, line):
    with pytest.raises(UserError) as caught:
        forms_of(formats, [precision])
    assert str(caught.value) == line


def test_all_precisions_are_those_of_the_formats():
    assert set(ALL_PRECISIONS) == {precision for one in PRECISIONS.values() for precision in one}


@pytest.mark.parametrize("package", ["tf2onnx", "onnx", "onnxruntime"])
def test_packages_of_onnx_are_an_extra(package, monkeypatch):
    for name in ("tf2onnx", "onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, _installed(name))
    assert installed_formats() == [SAVED, LITE, ONNX]
    check_installed([(SAVED, "fp32"), (ONNX, "fp32")])
    monkeypatch.setitem(sys.modules, package, None)
    assert installed_formats() == [SAVED, LITE]
    check_installed([(SAVED, "fp32"), (LITE, "int8")])
    with pytest.raises(UserError) as caught:
        check_installed([(ONNX, "fp32")])
    assert str(caught.value) == f"--format onnx: needs {package}, which is not installed; pip install 'ttfnet-tf[onnx]'"


def _installed(name):
    """A module that counts as installed."""
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    return module
