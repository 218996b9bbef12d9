"""Evaluates a run or an exported model on its validation data, for `ttfnet evaluate` and `ttfnet report`.

Settings are checked before TensorFlow is imported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfnet_tf.config import Config, config_of, load_stored
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.submission import submission_name, write_submissions
from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.inference.exported_model import ExportedModel, find_exported
from ttfnet_tf.json_text import read_json
from ttfnet_tf.outputs import refuse_to_overwrite, says
from ttfnet_tf.runs.run_folder import read_labels, work_directory

if TYPE_CHECKING:
    import tensorflow as tf

    from ttfnet_tf.data.coco import CocoSplit
    from ttfnet_tf.evaluation.evaluate import EvaluationResult
    from ttfnet_tf.keras2 import keras

# Keys that may be changed for an evaluation; the others define the trained network.
_KEYS = ("data.", "decode.")
_BATCH = 8  # images of one call on a processor, which is no faster with more
_COCO_LIMIT = 100  # detections of a class in an image that count, as `coco_metrics.MAX_DETECTIONS`, which would import pycocotools
WRITER = "ttfnet evaluate"


@dataclass(frozen=True)
class RunEvaluation:
    """The evaluation of a run or exported model."""

    result: EvaluationResult
    split: CocoSplit
    step: int  # of the weights
    file: Path  # detections.json
    skipped: int  # images that could not be read; they count as images without detections
    submissions: list[Path] = field(default_factory=list)  # in place of figures, where the data has no annotations
    tile: int = 0  # side of the tiles in pixels of the image; 0 is none


def evaluation_settings(run: str | Path, overrides: Sequence[str] = ()) -> tuple[Config, ExportedModel | None]:
    """(the settings of a run, checkpoint or exported model with the overrides, the exported model or None).

    Raises:
        UserError: it does not exist, or an override is not for evaluation, or contradicts what is built into an exported graph.
    """
    for override in overrides:
        if not override.startswith(_KEYS):
            raise UserError(f"override '{override}': evaluation takes data.* and decode.* keys; the rest is part of the trained model")
    exported = find_exported(run)
    if exported:
        return _settings_of(exported, overrides), exported
    return load_stored(work_directory(run) / "config.yaml", overrides), None


def evaluate_run(
    run: str | Path,
    overrides: Sequence[str] = (),
    *,
    batch_size: int | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    tiling: tuple[int, float, int] | None = None,
    max_detections: int | None = None,
) -> RunEvaluation:
    """Evaluates on the validation images and writes detections.json and metrics.json; shows progress.

    Where the data has no annotations, as COCO's test-dev, it also writes the submission.

    Args:
        run: work directory, a checkpoint in it, or an exported model.
        overrides: key=value of `data` and `decode`.
        batch_size: images of each device in one call; does not change the result. None is 8 on a processor; a checkpoint is evaluated on
            all GPUs, by as many as fit.
        out: folder for the files; by default that of `step_folder`, and eval/<name> beside an exported model.
        overwrite: also replaces files in `out` that no evaluation has written.
        tiling: tile, overlap and max_pixels of `TiledDetector`; None takes `data.tile`. The folder's name ends with -tile<tile> if the
            tile is not that of training.
        max_detections: of a class in an image that count; the folder's name ends with -max<max_detections>. None is COCO's 100.

    Raises:
        UserError: something is wrong with the run, the overrides or the data.
    """
    config, exported = evaluation_settings(run, overrides)
    tile, overlap, max_pixels = tiling or (config.data.tile, config.data.tile_overlap, MAX_PIXELS)
    if max_detections is not None:
        _check_max_detections(max_detections, config.decode.top_k, is_tiled=tile > 0)
    if out is not None:
        _check_output(Path(out), config, overwrite, _algorithm(run, exported))

    from ttfnet_tf.progress import ProgressMeter, working

    with working(f"loading {run}"):
        from ttfnet_tf.data.pipeline import ImageNotes
        from ttfnet_tf.evaluation.evaluate import detector_in_tiles, evaluate, evaluate_tiles

        split, (predict, batch_size), step, folder = _prepare(run, exported, config, batch_size)
    if tile != _trained_tile(run, exported):
        folder = folder.with_name(f"{folder.name}-tile{tile}")
    if max_detections not in (None, _COCO_LIMIT):
        folder = folder.with_name(f"{folder.name}-max{max_detections}")
    notes = ImageNotes()
    with ProgressMeter("evaluate", len(split.images)) as meter:
        shared: dict[str, Any] = {"batch_size": batch_size, "broken_images": config.data.broken_images, "notes": notes}
        if max_detections is not None:
            shared["max_detections"] = max_detections
        network: dict[str, Any] = {"image_size": config.data.size, "keep_ratio": config.data.keep_ratio}
        network["score_threshold"] = config.decode.score_threshold
        if tile:
            detector = detector_in_tiles(predict, split, tile=tile, overlap=overlap, max_pixels=max_pixels, **network)
            result = evaluate_tiles(detector, split, on_batch=meter.update, **shared)
        else:
            result = evaluate(predict, split, workers=config.data.workers, on_batch=meter.update, **network, **shared)
        for line in notes.new_lines():
            meter.message(f"ttfnet: {line}")
    file = result.write(out or folder)
    written = [] if result.has_annotations else write_submissions(file.parent, split, result.detections, _algorithm(run, exported))
    return RunEvaluation(result, split, step, file, len(notes.broken), written, tile)


def _check_max_detections(value: int, top_k: int, *, is_tiled: bool) -> None:
    """Raises UserError where the limit is below COCO's, or the network gives fewer detections."""
    if value < _COCO_LIMIT:
        raise UserError(f"--max-detections {value} must be {_COCO_LIMIT} or more")
    if not is_tiled and value > max(top_k, _COCO_LIMIT):
        raise UserError(
            f"--max-detections {value}: the network gives decode.top_k={top_k} detections of an image; add --tile, or decode.top_k={value}"
        )


def _algorithm(run: str | Path, exported: ExportedModel | None) -> str:
    """The name of a run or exported model, for submissions."""
    if exported is None:
        return work_directory(run).absolute().name
    return exported.path.absolute().parent.name if exported.path.is_dir() else exported.path.stem


def _trained_tile(run: str | Path, exported: ExportedModel | None) -> int:
    """`data.tile` of training."""
    if exported is None:
        return load_stored(work_directory(run) / "config.yaml").data.tile
    return config_of(exported.card["config"], source=str(exported.path)).data.tile


def _check_output(out: Path, config: Config, overwrite: bool, algorithm: str = "") -> None:
    """Raises UserError if a file in `out` is an input, or was not written by an evaluation."""
    record = out / "metrics.json"
    is_ours = not record.exists() or says(record, WRITER) or _is_former(record)
    names = [submission_name(one.annotations, algorithm) for one in config.data.val.files]
    for file in (record, out / "detections.json", *(out / name for name in names)):
        refuse_to_overwrite(
            file,
            WRITER,
            inputs=[one.annotations for one in config.data.val.files],
            overwrite=overwrite,
            is_own=lambda _: record.exists() and is_ours,  # detections.json is a bare list, as COCO wants it
            hint="name another folder with --out, or add --overwrite",
        )


def _is_former(record: Path) -> bool:
    """Whether a metrics.json is from an earlier version, which did not say so."""
    try:
        content = read_json(record)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and set(content) == {"metrics", "per_class", "images"}


def evaluation_folder(exported: ExportedModel) -> Path:
    """Folder for the evaluation of an exported model: beside the version folder, which a server may be reading."""
    return exported.path.parent / "eval" / exported.path.name


def step_folder(folder: Path, step: int, config: Config) -> Path:
    """Folder for the evaluation of a step of a run: eval/<step>, with -<height>x<width> or -<resize> if they are not those of training.

    Args:
        folder: the work directory.
        step: of the weights.
        config: settings of the evaluation.
    """
    trained = load_stored(folder / "config.yaml").data
    height, width = config.data.size
    name = str(step) if config.data.size == trained.size else f"{step}-{height}x{width}"
    return folder / "eval" / (name if config.data.resize == trained.resize else f"{name}-{config.data.resize}")


def _prepare(run: str | Path, exported: ExportedModel | None, config: Config, batch_size: int | None):
    """(the split, the function that detects on a batch of images with its size, the step of the weights, the folder for the result)."""
    from ttfnet_tf import build
    from ttfnet_tf.evaluation.evaluate import check_classes

    classes = exported if exported else read_labels(work_directory(run))
    split = build.load_split(config, "val", known=(classes.category_ids, classes.class_names))
    if exported:
        check_classes(split, exported.class_names, exported.category_ids)
        batch_size = batch_size or _BATCH
        return split, (exported.predict_function(batch_size), batch_size), exported.step, evaluation_folder(exported)

    from ttfnet_tf.runs.checkpoint import load_run

    strategy = _gpu_strategy()
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        loaded = load_run(run, image_size=config.data.size)
    check_classes(split, loaded.labels.class_names, loaded.labels.category_ids)
    decode = build.method_of(config, split.num_classes).decode
    predict = _predict(strategy, loaded.model, decode, config.data.size, batch_size, len(split.images))
    return split, predict, loaded.step, step_folder(loaded.folder, loaded.step, config)


def _gpu_strategy() -> tf.distribute.Strategy | None:
    """Over all GPUs; None on a machine without one."""
    import tensorflow as tf

    gpus = tf.config.list_logical_devices("GPU")
    return tf.distribute.MirroredStrategy([gpu.name for gpu in gpus]) if gpus else None


def _predict(
    strategy: tf.distribute.Strategy | None,
    model: keras.Model,
    decode: Callable,
    image_size: tuple[int, int],
    batch_size: int | None,
    num_images: int,
) -> tuple[Callable, int]:
    """The function that detects on images, and how many it takes."""
    from ttfnet_tf.inference.on_replicas import GPU_BATCHES, largest_batch, predict_on_replicas
    from ttfnet_tf.inference.predictor import predict_function

    if strategy is None:
        batch_size = batch_size or _BATCH
        return predict_function(model, decode, image_size=image_size, batch_size=batch_size, weights="constants"), batch_size
    replicas = strategy.num_replicas_in_sync
    most = -(-max(1, num_images) // replicas)
    sizes = [batch_size] if batch_size else list(dict.fromkeys(min(size, most) for size in GPU_BATCHES))

    def make(size: int) -> Callable:
        return predict_on_replicas(strategy, model, decode, image_size=image_size, batch_size=size)

    function, size = largest_batch(make, sizes, image_size=image_size, replicas=replicas)
    return function, size * replicas


def _settings_of(exported: ExportedModel, overrides: Sequence[str]) -> Config:
    """The settings of an exported model; what is built into its graph cannot be changed."""
    config = config_of(exported.card["config"], overrides, source=str(exported.path))
    exported.check_image_size(config.data.size)
    for key, is_possible in (
        ("data.resize", config.data.keep_ratio == exported.keep_ratio),
        ("decode.top_k", config.decode.top_k == exported.card["top_k"]),
        ("decode.score_threshold", config.decode.score_threshold >= exported.score_threshold),
    ):
        if not is_possible:
            built_in = exported.resize if key == "data.resize" else exported.card[key.rpartition(".")[2]]
            raise UserError(f"{exported.path}: was exported with {key}={built_in}, which cannot be changed; export the run again")
    return config
