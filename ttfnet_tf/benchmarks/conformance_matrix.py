"""The conformance matrix: accuracy, speed and size of every exported form of a model, beside its checkpoint.

AP and the differences to the checkpoint's boxes and scores come from `evaluate` on validation images, times from separate processes, see
`timing`.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ttfnet_tf import build
from ttfnet_tf.benchmarks.box_differences import differences
from ttfnet_tf.benchmarks.stages import processor
from ttfnet_tf.benchmarks.timing import by_runtime, time_in_turn
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.evaluate import EvaluationResult, check_classes, evaluate
from ttfnet_tf.export import model_card
from ttfnet_tf.files import write_json, write_text
from ttfnet_tf.inference import onnx_metadata, tflite_metadata
from ttfnet_tf.inference.exported_model import CARD, find_exported
from ttfnet_tf.inference.predictor import predict_function
from ttfnet_tf.progress import ProgressMeter
from ttfnet_tf.runs.checkpoint import LoadedRun

CHECKPOINT = "checkpoint"
COMPARED_FROM = 0.3  # detections of the checkpoint with higher scores are compared box by box: those that people look at
_RUNTIME_PACKAGES = {"litert": "ai-edge-litert", "tensorflow": "tensorflow"}
_METRICS = ("AP", "AP50", "AP75")


def validation_images(run: LoadedRun, limit: int | None) -> CocoSplit:
    """The validation split of a run, or its first `limit` images.

    Raises:
        UserError: it cannot be read, or has other classes than the model.
    """
    split = build.load_split(run.config, "val", known=(run.labels.category_ids, run.labels.class_names))
    check_classes(split, run.labels.class_names, run.labels.category_ids)
    return dataclasses.replace(split, images=split.images[:limit])


def conformance_matrix(
    run: LoadedRun,
    source: str | Path,
    models: Mapping[str, Path],
    split: CocoSplit,
    *,
    threads: int,
    repeats: int,
    runtime: str,
) -> dict[str, Any]:
    """Measures the checkpoint and every exported form of it; shows progress.

    Args:
        run: from `checkpoint.load_run`, with the settings that the models were exported with.
        source: what `run` was loaded from; a process of its own loads it again to time it.
        models: name -> version folder of a SavedModel, .tflite or .onnx file; the latter has a row for each runtime.
        split: the images, see `validation_images`.
        threads, repeats, runtime: see `timing.time_in_turn`.

    Returns:
        For `json_text`: annotations, images, image_size, compared_from, machine, threads, repeats, runtime; rows: [{name, AP, AP50,
        AP75, megabytes, milliseconds: [10th percentile, median, 90th]}], the checkpoint first; the other rows also have compared,
        matched, corners and scores of `box_differences.Differences`.
    """
    models, runtimes = by_runtime(models)
    results = _evaluate_all(run, models, runtimes, split)
    with ProgressMeter("time", repeats, images_per_step=2 * len(results)) as meter:
        times = time_in_turn(
            {CHECKPOINT: source, **models},
            threads=threads,
            repeats=repeats,
            runtime=runtime,
            onnx_runtimes=runtimes,
            image_size=run.config.data.size,
            on_round=meter.update,
        )
    sizes = {CHECKPOINT: _weights_megabytes(run), **{name: megabytes(path) for name, path in models.items()}}
    rows = []
    for name, result in results.items():
        row: dict[str, Any] = {"name": name, **{key: result.metrics[key] for key in _METRICS}}
        row |= {"megabytes": sizes[name], "milliseconds": times[name].spread}
        if name != CHECKPOINT:
            found = differences(
                results[CHECKPOINT].detections,
                result.detections,
                original_sizes={image.id: image.size for image in split.images},
                image_size=run.config.data.size,
                score=COMPARED_FROM,
                keep_ratio=run.config.data.keep_ratio,
            )
            row |= dataclasses.asdict(found)
        rows.append(row)
    return {
        "annotations": split.annotations.name,
        "images": len(split.images),
        "image_size": list(run.config.data.image_size),
        "compared_from": COMPARED_FROM,
        "rows": rows,
        **conditions(threads=threads, repeats=repeats, runtime=runtime, onnx_runtimes=runtimes.values()),
    }


def _evaluate_all(run: LoadedRun, models: Mapping[str, Path], runtimes: Mapping[str, str], split: CocoSplit) -> dict[str, EvaluationResult]:
    """Evaluates the checkpoint and every model on the split; name -> result, the checkpoint first."""
    size, batch_size = run.config.data.size, min(8, len(split.images))
    decode = build.method_of(run.config, len(run.labels.class_names)).decode
    predictors = {CHECKPOINT: lambda: predict_function(run.model, decode, image_size=size, batch_size=batch_size, weights="constants")}
    for name, path in models.items():
        predictors[name] = functools.partial(_exported(path).predict_function, batch_size, runtime=runtimes.get(name))
    results = {}
    with ProgressMeter("evaluate", len(split.images) * len(predictors)) as meter:
        for name, make in predictors.items():
            before = meter.done
            results[name] = evaluate(
                make(),
                split,
                image_size=size,
                batch_size=batch_size,
                score_threshold=run.config.decode.score_threshold,
                broken_images=run.config.data.broken_images,
                workers=run.config.data.workers,
                keep_ratio=run.config.data.keep_ratio,
                on_batch=lambda done, before=before, name=name: meter.update(before + done, {"model": name}),
            )
    return results


def conditions(*, threads: int, repeats: int, runtime: str, onnx_runtimes: Iterable[str] = ()) -> dict[str, Any]:
    """What the times depend on, to be stored with them."""
    package = _RUNTIME_PACKAGES[runtime]
    return {
        "machine": f"{os.cpu_count()} cores, {processor()}",
        "threads": threads,
        "repeats": repeats,
        "runtime": f"{package} {metadata.version(package)}",
        "onnx_runtimes": [f"{name} {metadata.version(name)}" for name in dict.fromkeys(onnx_runtimes)],
    }


def megabytes(path: Path) -> float:
    """Size of a file or folder."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files) / 1e6


def write_matrix(matrix: dict[str, Any], folder: Path, models: Mapping[str, Path]) -> Path:
    """Writes matrix.json and matrix.md to a folder and the matrix into each model's card; returns the path of matrix.md.

    Raises:
        UserError: a file cannot be written.
    """
    for path in models.values():
        if path.is_file():
            attached = onnx_metadata if path.suffix == ".onnx" else tflite_metadata
            attached.replace_files(path, _card_texts({**attached.read_card(path), "matrix": matrix}))
        else:
            for name, text in _card_texts({**_exported(path).card, "matrix": matrix}).items():
                write_text(path / "assets" / name, text)
    write_json(folder / "matrix.json", matrix)
    write_text(folder / "matrix.md", model_card.matrix_table(matrix))
    return folder / "matrix.md"


def _card_texts(card):
    return {name: text for name, text in model_card.texts(card).items() if name in (CARD, model_card.PAGE)}


def _exported(path):
    exported = find_exported(path)
    if exported is None:
        raise UserError(f"{path}: is not an exported model")
    return exported


def _weights_megabytes(run):
    """Size of the weights alone: a checkpoint may also hold the state of the training."""
    return sum(variable.shape.num_elements() * variable.dtype.size for variable in run.model.variables) / 1e6
