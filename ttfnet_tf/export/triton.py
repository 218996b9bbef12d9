"""A model repository of NVIDIA's Triton Inference Server around an ONNX file.

    <repository>/<name>/config.pbtxt          inputs, outputs and dynamic batching
    <repository>/<name>/<version>/model.onnx

Reference: Triton's model configuration, `model_config.proto`, and its onnxruntime backend.
"""

from __future__ import annotations

from pathlib import Path

from ttfnet_tf.boxes import STRIDE
from ttfnet_tf.errors import UserError
from ttfnet_tf.export.saved_model import next_version
from ttfnet_tf.files import new_folder, write_text
from ttfnet_tf.inference.onnx_metadata import card_of, read_model
from ttfnet_tf.inference.onnx_predictor import INPUT, OUTPUTS
from ttfnet_tf.outputs import refuse_to_overwrite, written_by

CONFIG, MODEL = "config.pbtxt", "model.onnx"
LARGEST_BATCH = 8  # images that the server puts into one call
_LONGEST_WAIT = 2000  # microseconds that a request waits for others


def write_model(file: Path, repository: Path, *, name: str, version: int | None = None, overwrite: bool = False) -> Path:
    """Writes the version folder first and the configuration last: a server never sees a configuration without a model.

    Args:
        file: from `onnx_model.export_onnx`.
        repository: the server's `--model-repository`.
        name: of the model.
        version: number of the folder; None takes the next free one.
        overwrite: whether a configuration of others is replaced.

    Returns:
        The folder of the model.

    Raises:
        UserError: the version is there, the configuration was written by others, or a file cannot be written.
    """
    folder = repository / name
    hint = "name another folder with --triton, or add --overwrite"
    refuse_to_overwrite(folder / CONFIG, "ttfnet export", overwrite=overwrite, hint=hint)
    target = folder / str(next_version(folder) if version is None else version)
    if target.exists():
        raise UserError(f"{target}: already exists; omit --version to use the next free number")
    content = read_model(file)
    with new_folder(target) as partial:
        (partial / MODEL).write_bytes(content)
    write_text(folder / CONFIG, configuration(card_of(file, content), name=name))
    return folder


def configuration(card: dict, *, name: str) -> str:
    """The text of config.pbtxt for a model card, see `model_card.model_card`."""
    height, width = card["image_size"]
    rows = min(card["top_k"], (height // STRIDE) * (width // STRIDE) * len(card["classes"]))
    shapes = {"detection_boxes": f"{rows}, 4", "detection_scores": f"{rows}", "detection_classes": f"{rows}", "num_detections": ""}
    outputs = ",\n".join(_tensor(one, "TYPE_FP32", shapes[one]) for one in OUTPUTS)
    return f"""# {written_by("ttfnet export")}
name: "{name}"
backend: "onnxruntime"
max_batch_size: {LARGEST_BATCH}
input [
{_tensor(INPUT, "TYPE_UINT8", f"{height}, {width}, 3")}
]
output [
{outputs}
]
dynamic_batching {{
  max_queue_delay_microseconds: {_LONGEST_WAIT}
}}
"""


def _tensor(name: str, kind: str, shape: str) -> str:
    """Without the batch, which Triton adds; a number for each image has the shape [1] there, and [] in the model."""
    dims = f"dims: [ {shape} ]" if shape else "dims: [ 1 ]\n    reshape: { shape: [ ] }"
    return f'  {{\n    name: "{name}"\n    data_type: {kind}\n    {dims}\n  }}'
