"""A trained run as a SavedModel for TensorFlow Serving: stock operations, three signatures, dynamic batch, outputs of fixed size.

    <out>/<name>/<version>/    saved_model.pb, variables/, assets/ (labels and model card), assets.extra/ (warm-up requests)

The folder appears under its number in one step, when everything is in it, so that a server that watches `<out>/<name>` never finds half
a model.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from ttfnet_tf import build
from ttfnet_tf.errors import UserError
from ttfnet_tf.export import image_decoder, model_card, warmup
from ttfnet_tf.files import cannot_write
from ttfnet_tf.runs.checkpoint import LoadedRun

_LARGEST_ID = 2**24  # category ids leave the graph as float32, which holds integers up to here
_GREY = 114


def export_saved_model(run: LoadedRun, out: Path, *, name: str, version: int | None = None) -> Path:
    """Writes a run as `<out>/<name>/<version>/`.

    Args:
        run: from `checkpoint.load_run`; `decode.*` and `export.*` of its settings become part of the graph.
        out: folder of models.
        name: of the model.
        version: number of the folder; None takes the next free one.

    Returns:
        The version folder.

    Raises:
        UserError: the version exists already, the name cannot be one of a model, a category id is too large, or the folder cannot be
            written.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name, flags=re.ASCII):
        raise UserError(f"--name {name}: a model is named with letters, digits, '.', '_' and '-'")
    if (largest := max(run.labels.category_ids)) > _LARGEST_ID:
        raise UserError(f"{run.folder}: category id {largest} is above {_LARGEST_ID}, the largest that exported models can tell")
    folder = out / name
    version = next_version(folder) if version is None else version
    target = folder / str(version)
    if target.exists():
        raise UserError(f"{target}: exists already; leave --version out to take the next free number")
    size, settings = run.config.data.size, run.config
    functions = serving_functions(
        run.model,
        build.method_of(settings, len(run.labels.class_names)).decode,
        category_ids=run.labels.category_ids,
        image_size=size,
        score_threshold=settings.decode.score_threshold,
        max_pixels=settings.export.max_pixels,
    )
    about = model_card.model_card(run, name=name, version=version, kind="saved_model", inputs=_inputs(size, settings.export.max_pixels))
    partial = folder / f".{version}.partial-{os.getpid()}"
    try:
        _save(partial, run.model, functions, model_card.texts(about))
        warmup.write_warmup(partial / warmup.FILE, name, _warmup_requests(size))
        os.rename(partial, target)
    except tf.errors.OpError as error:
        raise UserError(f"{target}: cannot be written ({error.message.splitlines()[0]}); name another folder with --out") from None
    except OSError as error:
        raise cannot_write(target, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def next_version(folder: Path) -> int:
    """One above the highest version in a folder; 1 in an empty or missing one."""
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return 1 + max((int(name) for name in names if name.isdecimal()), default=0)


def serving_functions(
    model: tf.keras.Model,
    decode: Callable,
    *,
    category_ids: Sequence[int],
    image_size: tuple[int, int],
    score_threshold: float,
    max_pixels: int,
) -> dict[str, Callable]:
    """The graph behind each signature.

    Args:
        model: see `model.build_model`.
        decode: see `methods.Method.decode`.
        category_ids: of the heatmap's channels.
        image_size: (H, W) of the model's input in pixels.
        score_threshold: detections with scores above it are kept.
        max_pixels: of an image file.

    Returns:
        serving_default: uint8 [N, any, any, 3] "input_tensor".
        image_bytes: string [N] "image_bytes", JPEG and PNG files of any sizes.
        preprocessed: float32 [N, H, W, 3] "images", RGB 0..255.
        Each gives what `model_card.OUTPUTS` describes. Boxes are corners of the last pixel that they reach, as everywhere in this package:
        times width and height they are the pixels that `Detector` gives.
    """
    height, width = image_size
    ids = np.array(category_ids, np.float32)
    sides = np.array([height, width, height, width], np.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, height, width, 3], tf.float32, name="images")])
    def preprocessed(images):
        found = decode(model(images, training=False))
        keep = found["scores"] > score_threshold  # the first rows, for scores fall
        boxes = tf.gather(found["boxes"], [1, 0, 3, 2], axis=-1) / sides
        return {
            "detection_boxes": tf.where(keep[..., None], boxes, 0.0),
            "detection_scores": tf.where(keep, found["scores"], 0.0),
            "detection_classes": tf.where(keep, tf.gather(ids, found["classes"]), 0.0),
            "num_detections": tf.reduce_sum(tf.cast(keep, tf.float32), axis=-1),
        }

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="input_tensor")])
    def serving_default(input_tensor):
        shape = tf.shape(input_tensor)
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(shape[1:3] > 0), ["input_tensor is an empty image", shape])]):
            images = image_decoder.resize(tf.identity(input_tensor), image_size)
        return preprocessed(tf.cast(images, tf.float32))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def image_bytes(image_bytes):
        images = image_decoder.decode_and_resize(image_bytes, image_size, max_pixels=max_pixels)
        return preprocessed(tf.cast(images, tf.float32))

    return {"serving_default": serving_default, "image_bytes": image_bytes, "preprocessed": preprocessed}


def _save(folder: Path, model: tf.keras.Model, functions: dict[str, Callable], texts: dict[str, str]) -> None:
    # The variables alone are tracked: the Keras model itself would bring the graphs of all its layers along.
    module = tf.Module()
    module.weights = list(model.variables)
    with tempfile.TemporaryDirectory() as assets:
        for name, text in texts.items():
            Path(assets, name).write_text(text, encoding="utf-8")
        module.files = [tf.saved_model.Asset(str(Path(assets, name))) for name in texts]
        tf.saved_model.save(
            module, str(folder), signatures=functions, options=tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        )


def _inputs(size, max_pixels) -> dict[str, str]:
    return {
        "serving_default": "`input_tensor` uint8 [N, H, W, 3], RGB; H and W of any size",
        "image_bytes": f"`image_bytes` string [N], JPEG or PNG files of any sizes up to {max_pixels} pixels",
        "preprocessed": f"`images` float32 [N, {size[0]}, {size[1]}, 3], RGB 0..255",
    }


def _warmup_requests(size):
    """One image for each signature: a grey one of the input size."""
    grey = np.full([*size, 3], _GREY, np.uint8)
    files = [cv2.imencode(suffix, grey)[1].tobytes() for suffix in (".jpg", ".png")]
    yield "image_bytes", {"image_bytes": np.array(files, object)}
    yield "serving_default", {"input_tensor": grey[None]}
    yield "preprocessed", {"images": grey[None].astype(np.float32)}
