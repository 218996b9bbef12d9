"""Runs an exported .onnx file with onnxruntime or OpenVINO; each is imported when it is used."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.onnx_metadata import card_of, read_model
from ttfnet_tf.plain_text import printable

RUNTIMES = ("onnxruntime", "openvino")
INPUT = "input_tensor"  # as of the SavedModel's `serving_default`
OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
Run = Callable[[np.ndarray], dict[str, np.ndarray]]


class OnnxPredictor:
    """An .onnx file in place of the function of `predictor.predict_function`.

    Args:
        path: from `export.onnx_model.export_onnx`.
        runtime: of `RUNTIMES`; None: the first of them that is installed.
        num_threads: of the runtime; None: one for each processor.

    Attributes:
        card: see `export.model_card.model_card`.
        image_size: (H, W) in pixels of the input.
        class_names, category_ids: of the classes, in order.

    Raises:
        UserError: no such file, no model, no model card in it, or no runtime is installed.
        ValueError: unknown runtime.
    """

    def __init__(self, path: str | Path, *, runtime: str | None = None, num_threads: int | None = None):
        runtime = runtime or installed_runtimes(path)[0]
        if runtime not in RUNTIMES:
            raise ValueError(f"runtime must be one of {RUNTIMES}, received {runtime!r}")
        content = read_model(path)
        self.card = card_of(path, content)
        self.image_size = tuple(self.card["image_size"])
        self.class_names = tuple(one["name"] for one in self.card["classes"])
        self.category_ids = tuple(one["category_id"] for one in self.card["classes"])
        self._path, self._ids = path, np.array(self.category_ids, np.float32)  # as they leave the graph
        load = _onnxruntime if runtime == "onnxruntime" else _openvino
        try:
            signature, self._run = load(content, num_threads or os.cpu_count() or 1)
        except ImportError:
            raise _not_installed(path, runtime) from None
        except Exception as error:  # the classes of both runtimes have no common base
            raise UserError(f"{path}: cannot be loaded by {runtime} ({_one_line(error)}); export the run again") from None
        self._signature = expected = _signature(self.image_size, self.card["top_k"])
        if signature.keys() != expected.keys() or not all(_fits(signature[name], expected[name]) for name in expected):
            raise UserError(f"{path}: has other inputs and outputs than its model card says; export the run again")

    def __call__(self, images) -> dict[str, np.ndarray]:
        """Detects on images of the input size.

        Args:
            images: uint8 [B, H, W, 3] RGB.

        Returns:
            "boxes": float32 [B, K, 4] xyxy input pixels. "scores": float32 [B, K], descending, 0 beyond the detections.
            "classes": int32 [B, K] 0-based.

        Raises:
            UserError: the model fails, or gives something else.
        """
        found = self.run(np.ascontiguousarray(images))
        height, width = self.image_size
        return {
            "boxes": found["detection_boxes"][..., [1, 0, 3, 2]] * np.array([width, height, width, height], np.float32),
            "scores": found["detection_scores"],
            # Rows beyond the detections have the id 0, which may be no class.
            "classes": np.argmax(found["detection_classes"][..., None] == self._ids, axis=-1).astype(np.int32),
        }

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The outputs of the file by name, for uint8 [B, H, W, 3] RGB in one piece of memory.

        Raises:
            UserError: the model fails, or gives something else than its outputs.
        """
        try:
            found = self._run(images)
        except Exception as error:  # see above
            raise UserError(f"{self._path}: fails on an image ({_one_line(error)}); export the run again") from None
        if not all(len(value) == len(images) and _fits(value.shape, self._signature[name]) for name, value in found.items()):
            raise UserError(f"{self._path}: gives other outputs than its model card says; export the run again")
        return found


def installed_runtimes(path: str | Path) -> list[str]:
    """Those of `RUNTIMES` that are installed, at least one; `path` is for the message.

    Raises:
        UserError: none is installed.
    """
    if found := [name for name in RUNTIMES if find_spec(name) is not None]:
        return found
    raise _not_installed(path, RUNTIMES[0])


def _not_installed(path: str | Path, runtime: str) -> UserError:
    extra = {"onnxruntime": "onnx", "openvino": "openvino"}[runtime]
    return UserError(f"{path}: needs {runtime}, which is not installed; pip install 'ttfnet-tf[{extra}]'")


def _signature(size: tuple[int, int], top_k: int) -> dict[str, tuple]:
    """Name -> shape of inputs and outputs; None: any number."""
    shapes: dict[str, tuple] = dict.fromkeys(OUTPUTS, (None, top_k))
    return {**shapes, INPUT: (None, *size, 3), "detection_boxes": (None, top_k, 4), "num_detections": (None,)}


def _fits(shape: tuple, expected: tuple) -> bool:
    """Whether a shape is the expected one, but for K, which a small heatmap limits."""
    return len(shape) == len(expected) and all(
        want is None or have == want or (axis == 1 and isinstance(have, int) and have < want and len(expected) < 4)
        for axis, (have, want) in enumerate(zip(shape, expected))
    )


def _onnxruntime(content: bytes, num_threads: int) -> tuple[dict[str, tuple], Run]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.log_severity_level = 4  # its errors are raised too
    with contextlib.redirect_stdout(io.StringIO()):  # where it prints errors that it also raises
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    signature = {one.name: tuple(one.shape) for one in [*session.get_inputs(), *session.get_outputs()]}

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {INPUT: images})))

    return signature, run


def _openvino(content: bytes, num_threads: int) -> tuple[dict[str, tuple], Run]:
    import openvino

    core = openvino.Core()
    # Without the hint it computes in bfloat16 where the processor can.
    hints = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": num_threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = core.compile_model(core.read_model(model=content), "CPU", hints)
    signature = {one.get_any_name(): _static(one.get_partial_shape()) for one in [*compiled.inputs, *compiled.outputs]}

    def run(images: np.ndarray) -> dict[str, np.ndarray]:
        found = compiled({INPUT: images})
        return {name: found[name] for name in OUTPUTS}

    return signature, run


def _static(shape) -> tuple:
    """A shape of OpenVINO; None where it is not known."""
    return tuple(side.get_length() if side.is_static else None for side in shape)


def _one_line(error: Exception) -> str:
    return printable(" ".join(str(error).split())[:200])  # names of the model are in it
