"""Exports a trained run as one ONNX file: network and decoding in standard operations, for batches of any size.

There are three precisions. `fp32` is the network as trained. `fp16` computes the network in float16, see `onnx_fp16`. `int8` computes its
convolutions in int8, see `onnx_int8`. The parts that need float32 keep it, see `onnx_parts`.

Reference: tf2onnx, which converts each operation of TensorFlow.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ttfnet_tf
from ttfnet_tf.errors import UserError
from ttfnet_tf.export import model_card
from ttfnet_tf.export.forms import PRECISIONS, check_installed
from ttfnet_tf.export.signatures import check_category_ids, detection_function
from ttfnet_tf.export.tflite_int8 import Images, calibration_images
from ttfnet_tf.files import write_bytes
from ttfnet_tf.inference.onnx_metadata import with_files
from ttfnet_tf.inference.onnx_predictor import INPUT, OUTPUTS
from ttfnet_tf.models.normalization import MEAN, STD
from ttfnet_tf.quiet_import import wants_everything, without_stderr
from ttfnet_tf.runs.checkpoint import LoadedRun

OPSET = 17  # onnxruntime reads it from 1.12 on, TensorRT from 8.6 on
IR_VERSION = 8  # of the file format; the one of that opset


def export_onnx(run: LoadedRun, folder: Path, *, precision: str = "fp32", representative: Images | None = None) -> Path:
    """Writes `model_<precision>.onnx`.

    Its input and outputs are those of the SavedModel's `serving_default`, but for the size of the images. It takes `input_tensor`, uint8
    [N, H, W, 3] RGB in every precision: images resized as `data.resize` says. It returns, all float32 and with
    K = `decode.top_k`:
        detection_boxes [N, K, 4]: ymin, xmin, ymax, xmax as fractions of the input's height and width;
        detection_scores [N, K]: descending;
        detection_classes [N, K]: category ids of the training annotations;
        num_detections [N]: the number of detections, those with scores above `decode.score_threshold`; the other rows are 0.
    The file contains its labels and model card, see `inference.onnx_metadata`.

    Args:
        run: from `checkpoint.load_run`.
        folder: for the file; created if missing.
        precision: of `forms.PRECISIONS["onnx"]`.
        representative: for int8: uint8 [1, H, W, 3] images of the training set, or a function that returns them; by default
            `tflite_int8.representative_images` with the seed of the run.

    Returns:
        The path of the file.

    Raises:
        UserError: the precision is unknown, a category id is too large, a package is not installed, int8 finds no training images, ONNX
            lacks operations of the network, or the file cannot be written.
    """
    if precision not in PRECISIONS["onnx"]:
        raise UserError(f"precision {precision!r} of an ONNX file is unknown; choose {', '.join(PRECISIONS['onnx'])}")
    check_category_ids(run)
    check_installed([("onnx", precision)])
    images = calibration_images(run, representative) if precision == "int8" else []
    with _quiet():
        model = _converted(run)
        if precision == "fp16":
            from ttfnet_tf.export.onnx_fp16 import in_float16

            model = in_float16(model, run)
        elif precision == "int8":
            from ttfnet_tf.export.onnx_int8 import in_int8

            model = in_int8(model, run, images)
    card = _card(run, precision, len(images))
    path = Path(folder) / f"model_{precision}.onnx"
    write_bytes(path, with_files(_finished(model), model_card.texts(card)))
    return path


def _converted(run: LoadedRun) -> Any:
    """The model in float32, a ModelProto. Names of nodes start with "network/" or "decode/", but for some that the converter adds."""
    import onnx
    from tf2onnx import convert

    function = detection_function(run, batch=None, name=INPUT)
    model, _ = convert.from_function(function, function.input_signature, opset=OPSET)
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise UserError(
            f"{run.folder}: model.backbone={run.config.model.backbone} with model.method={run.config.model.method} needs operations that "
            f"ONNX does not have ({str(error).splitlines()[0][:200]}); export it as saved_model"
        ) from None
    return model


def _finished(model: Any) -> bytes:
    """The model with our names and versions, checked; its outputs in the order of `OUTPUTS`."""
    import onnx

    model.ir_version = IR_VERSION
    del model.opset_import[:]
    model.opset_import.append(onnx.helper.make_opsetid("", OPSET))
    model.producer_name, model.producer_version = "ttfnet_tf", ttfnet_tf.__version__
    del model.metadata_props[:]
    graph = model.graph
    graph.name, graph.doc_string = "detector", ""
    outputs = {one.name: one for one in graph.output}
    ordered = [onnx.ValueInfoProto.FromString(outputs[name].SerializeToString()) for name in OUTPUTS]
    del graph.output[:], graph.value_info[:]
    graph.output.extend(ordered)
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


def _card(run: LoadedRun, precision: str, num_images: int) -> dict[str, Any]:
    height, width = run.config.data.image_size
    resizing = model_card.resizing({"image_size": (height, width), "resize": run.config.data.resize})
    about = f"`{INPUT}` uint8 [N, {height}, {width}, 3], RGB, 0..255, {resizing}; normalised inside"
    card = model_card.model_card(run, name="model", kind="onnx", inputs={"serving_default": about}, precision=precision)
    card["normalization"] = {"mean": list(MEAN), "std": list(STD), "inside": True}
    card["opset"] = OPSET
    if precision == "int8":
        card["representative_images"] = num_images
    return card


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hides what the converter, the quantiser and TensorFlow's older functions, which they call, print of their work."""
    loggers = [logging.getLogger(name) for name in ("tf2onnx", "tensorflow", "root", "onnxruntime.quantization")]
    levels = [logger.level for logger in loggers]
    with contextlib.nullcontext() if wants_everything() else without_stderr():
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)
