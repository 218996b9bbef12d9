"""Exports a trained run as a SavedModel for TensorFlow Serving.

    <out>/<name>/<version>/    saved_model.pb, variables/, assets/ (labels and model card), assets.extra/ (warm-up requests)
    <out>/<name>_bf16/<version>/    the same in bfloat16, see `bfloat16`

The graph consists of stock TensorFlow operations and takes batches of any size; `signatures` has its inputs and outputs. The version folder
gets its name in one step when it is complete, so a server that watches `<out>/<name>` never loads half a model.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.errors import UserError
from ttfnet_tf.export import model_card, warmup
from ttfnet_tf.export.bfloat16 import bfloat16_model
from ttfnet_tf.export.forms import PRECISIONS
from ttfnet_tf.export.signatures import check_category_ids, serving_functions
from ttfnet_tf.files import new_folder
from ttfnet_tf.runs.checkpoint import LoadedRun

_GREY = 114
_PRECISION_NAMES = {"fp32": "float32", "bf16": "bfloat16"}


def export_saved_model(run: LoadedRun, out: Path, *, name: str, version: int | None = None, precision: str = "fp32") -> Path:
    """Writes a run to `<out>/<name>/<version>/`, in bfloat16 to `<out>/<name>_bf16/<version>/`.

    Args:
        run: from `checkpoint.load_run`; its `decode.*` and `export.*` settings become part of the graph.
        out: folder of all models.
        name: of the model.
        version: number of the folder; None takes the next free one.
        precision: of `forms.PRECISIONS["saved_model"]`.

    Returns:
        The version folder.

    Raises:
        UserError: the version exists, the name is not allowed, a category id is too large, or the folder cannot be written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, flags=re.ASCII):
        raise UserError(f"--name {name}: a model name has letters, digits, '.', '_' and '-' only, and starts with a letter or digit")
    check_category_ids(run)
    if precision not in PRECISIONS["saved_model"]:
        raise UserError(f"precision {precision!r} of a SavedModel is unknown; choose {', '.join(PRECISIONS['saved_model'])}")
    if precision != "fp32":
        name = f"{name}_{precision}"
    folder = out / name
    version = next_version(folder) if version is None else version
    target = folder / str(version)
    if target.exists():
        raise UserError(f"{target}: already exists; omit --version to use the next free number")
    size, settings = run.config.data.size, run.config
    model, variables = (run.model, list(run.model.variables)) if precision == "fp32" else bfloat16_model(run)
    functions = serving_functions(
        model,
        build.method_of(settings, len(run.labels.class_names)).decode,
        category_ids=run.labels.category_ids,
        image_size=size,
        score_threshold=settings.decode.score_threshold,
        max_pixels=settings.export.max_pixels,
        keep_ratio=settings.data.keep_ratio,
    )
    about = model_card.model_card(
        run,
        name=name,
        version=version,
        kind="saved_model",
        inputs=_inputs(size, settings.export.max_pixels),
        precision=_PRECISION_NAMES[precision],
    )
    try:
        with new_folder(target) as partial:
            _save(partial, variables, functions, model_card.texts(about))
            warmup.write_warmup(partial / warmup.FILE, name, _warmup_requests(size))
    except tf.errors.OpError as error:
        raise UserError(f"{target}: cannot be written ({error.message.splitlines()[0]}); name another folder with --out") from None
    return target


def next_version(folder: Path) -> int:
    """The highest version in a folder plus 1; 1 if the folder is empty or missing."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return 1 + max((int(name) for name in names if name.isdecimal()), default=0)


def _save(folder: Path, variables: list[tf.Variable], functions: dict[str, Callable], texts: dict[str, str]) -> None:
    # Only the variables are tracked: the Keras model itself would add the graphs of all its layers.
    module = tf.Module()
    module.weights = variables
    with tempfile.TemporaryDirectory() as assets:
        for name, text in texts.items():
            Path(assets, name).write_text(text, encoding="utf-8")
        module.files = [tf.saved_model.Asset(str(Path(assets, name))) for name in texts]
        tf.saved_model.save(
            module, str(folder), signatures=functions, options=tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        )


def _inputs(size, max_pixels) -> dict[str, str]:
    return {
        "serving_default": "`input_tensor` uint8 [N, H, W, 3], RGB, any height and width",
        "image_bytes": f"`image_bytes` string [N], JPEG or PNG files of any size up to {max_pixels} pixels",
        "preprocessed": f"`images` float32 [N, {size[0]}, {size[1]}, 3], RGB 0..255",
    }


def _warmup_requests(size):
    """A request for each signature: a grey image of the input size."""
    grey = np.full([*size, 3], _GREY, np.uint8)
    files = [cv2.imencode(suffix, grey)[1].tobytes() for suffix in (".jpg", ".png")]
    yield "image_bytes", {"image_bytes": np.array(files, object)}
    yield "serving_default", {"input_tensor": grey[None]}
    yield "preprocessed", {"images": grey[None].astype(np.float32)}
