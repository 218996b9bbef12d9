"""The formats and precisions of exported models; needs no TensorFlow, so that the command line checks its arguments at once."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from ttfnet_tf.errors import UserError

FORMATS = ("saved_model", "tflite", "onnx")
PRECISIONS = {"saved_model": ("fp32", "bf16"), "tflite": ("fp32", "fp16", "dynamic", "int8"), "onnx": ("fp32", "fp16", "int8")}
ALL_PRECISIONS = ("fp32", "bf16", "fp16", "dynamic", "int8")
_PACKAGES = {"onnx": ("tf2onnx", "onnx", "onnxruntime")}  # beyond the requirements of this package: the extra "onnx"


def forms_of(formats: Sequence[str], precisions: Sequence[str]) -> list[tuple[str, str]]:
    """(format, precision) of each file to write: every format in those of the precisions that it has, else in fp32.

    Args:
        formats: of `FORMATS`.
        precisions: of `ALL_PRECISIONS`, at least one.

    Raises:
        UserError: a precision that none of the formats has.
    """
    for precision in precisions:
        if not any(precision in PRECISIONS[one] for one in formats):
            has_it = next(one for one in FORMATS if precision in PRECISIONS[one])
            raise UserError(f"--precision {precision}: {' and '.join(formats)} cannot be written in it; add --format {has_it}")
    return [(one, precision) for one in formats for precision in [p for p in PRECISIONS[one] if p in precisions] or ["fp32"]]


def check_installed(forms: Sequence[tuple[str, str]]) -> None:
    """Checks that the packages of all forms are installed; only ONNX needs more than the requirements of this package.

    Raises:
        UserError: one is missing.
    """
    for one, _ in forms:
        for package in _PACKAGES.get(one, ()):
            if find_spec(package) is None:
                raise UserError(f"--format {one}: needs {package}, which is not installed; pip install 'ttfnet-tf[onnx]'")


def installed_formats() -> list[str]:
    """The formats whose packages are installed."""
    return [one for one in FORMATS if all(find_spec(package) is not None for package in _PACKAGES.get(one, ()))]
