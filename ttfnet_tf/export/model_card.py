"""The model card of an exported model, as JSON and Markdown: classes, inputs, outputs, training and results."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from ttfnet_tf.inference.exported_model import CARD
from ttfnet_tf.json_text import json_text, read_json
from ttfnet_tf.models.normalization import PADDING
from ttfnet_tf.plain_text import printable
from ttfnet_tf.runs.checkpoint import LoadedRun
from ttfnet_tf.runs.run_folder import read_config, read_metrics

PAGE, LABELS, LABELS_JSON = "model_card.md", "labels.txt", "labels.json"
OUTPUTS = {
    "detection_boxes": "float32 [N, K, 4]: ymin, xmin, ymax, xmax as fractions of the image's height and width",
    "detection_scores": "float32 [N, K]: 0..1, descending",
    "detection_classes": "float32 [N, K]: category ids of the training annotations",
    "num_detections": "float32 [N]: how many of the K rows are detections; the other rows are 0",
}
_PADDED_BOXES = (  # where images keep their ratio: of a file whose caller resizes, and of a SavedModel, which does it itself
    "float32 [N, K, 4]: ymin, xmin, ymax, xmax as fractions of the input's height and width, padding included",
    f"{OUTPUTS['detection_boxes']}; of `preprocessed` as fractions of the input's, padding included",
)
_PACKAGES = ("tensorflow", "numpy", "opencv-python-headless", "ttfnet_tf")
_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def model_card(
    run: LoadedRun, *, name: str, kind: str, inputs: dict[str, str], version: int | None = None, precision: str = "float32"
) -> dict[str, Any]:
    """Describes an exported model, for `json_text`.

    Args:
        run: what is exported, with the settings that the graph was built with.
        name: of the model.
        kind: `saved_model`, `tflite` or `onnx`.
        inputs: signature -> a line about its input.
        version: number of the version folder.
        precision: of weights and arithmetic.

    Returns:
        name, version, kind, precision, created; classes: [{name, category_id}] in the order of the heatmap's channels; image_size,
        resize, inputs, outputs; top_k, score_threshold, max_pixels; training: {annotations, step, epochs (or None), weights}; results: COCO
        metrics (0..1) of that step on measured_on, or None; config: all settings; versions; commit of the code that trained.
        `write_matrix` of `benchmarks.conformance_matrix` adds "matrix".
    """
    config, environment = run.config, _environment(run.folder)
    return {
        "name": name,
        "version": version,
        "kind": kind,
        "precision": precision,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "classes": [{"name": name, "category_id": number} for name, number in zip(run.labels.class_names, run.labels.category_ids)],
        "image_size": list(config.data.image_size),
        "resize": config.data.resize,
        "inputs": inputs,
        "outputs": OUTPUTS if not config.data.keep_ratio else {**OUTPUTS, "detection_boxes": _PADDED_BOXES[kind == "saved_model"]},
        "top_k": config.decode.top_k,
        "score_threshold": config.decode.score_threshold,
        "max_pixels": config.export.max_pixels,
        "training": {
            "annotations": _file_names(config.data.train.files),
            "step": run.step,
            "epochs": None if config.train.minutes or config.train.steps else config.train.epochs,
            "weights": "moving average" if config.optim.ema_decay else "as trained",
        },
        "results": _results(run),
        "measured_on": _file_names(config.data.val.files),
        "config": dataclasses.asdict(config),
        "versions": {"export": _versions(), "training": environment.get("packages")},
        "commit": environment.get("commit"),
    }


def _file_names(files: Iterable[Any]) -> str | None:
    """The names of the annotation files of a split."""
    return " + ".join(Path(one.annotations).name for one in files) or None


def resizing(card: Mapping[str, Any]) -> str:
    """How images get the size of the input, as the end of a sentence."""
    height, width = card["image_size"]
    if card.get("resize", "stretch") == "stretch":
        return f"resized to {height} x {width} pixels without keeping their aspect ratio"
    return (
        f"scaled by the smaller factor to fit into {height} x {width} pixels, in the upper left corner; the rest, on the right or below, "
        f"is the colour {PADDING}"
    )


def markdown(card: dict[str, Any]) -> str:
    """The card as a Markdown page."""
    title = card["name"] if card["version"] is None else f"{card['name']}, version {card['version']}"
    training, config = card["training"], card["config"]
    results = card["results"] or {}
    metrics = ", ".join(f"{key} {results[key]:.3f}" for key in _METRICS if results.get(key, -1) > -1)
    epochs = "" if training["epochs"] is None else f"{training['epochs']} epochs; "
    lines = [
        f"# {title}",
        "",
        f"{config['model']['method']} detector on {config['model']['backbone']}, {len(card['classes'])} classes, as {card['kind']} in "
        f"{card['precision']}, exported {card['created']}.",
        "",
        f"- Input: RGB, 0..255; images are {resizing(card)}.",
        f"- Detections: at most {card['top_k']} per image, with scores above {card['score_threshold']:g}.",
        f"- Training: {training['annotations'] or 'unknown annotations'}, {epochs}weights of step "
        f"{training['step']}, {training['weights']}.",
        f"- Evaluated on {card['measured_on']} at that step: {metrics}." if metrics else "- Not evaluated at that step.",
        f"- Code: {card['commit'] or 'commit unknown'}; TensorFlow {card['versions']['export']['tensorflow']}.",
        "",
        "| Signature | Input |",
        "|---|---|",
        *(f"| `{key}` | {text} |" for key, text in card["inputs"].items()),
        "",
        "| Output | Meaning |",
        "|---|---|",
        *(f"| `{key}` | {text} |" for key, text in card["outputs"].items()),
        "",
        "| Category id | Name |",
        "|---|---|",
        *(f"| {one['category_id']} | {one['name']} |" for one in card["classes"]),
    ]
    page = "\n".join(lines) + "\n"
    return f"{page}\n## Accuracy, speed and size of each form\n\n{matrix_table(card['matrix'])}" if "matrix" in card else page


def matrix_table(matrix: dict[str, Any]) -> str:
    """A conformance matrix as Markdown, see `benchmarks.conformance_matrix`."""
    height, width = matrix["image_size"]
    of_onnx = f" Those of .onnx files: {', '.join(matrix['onnx_runtimes'])}." if matrix.get("onnx_runtimes") else ""
    lines = [
        "| Model | AP | AP50 | AP75 | Corners: max, median difference, px | Scores: max, median difference | Matched | ms per image | MB |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in matrix["rows"]:
        low, median, high = row["milliseconds"]
        differences = ["", "", ""]
        if "matched" in row:
            differences = [f"{row['corners'][0]:.3f}, {row['corners'][1]:.3f}", f"{row['scores'][0]:.4f}, {row['scores'][1]:.4f}"]
            differences.append(f"{row['matched']} of {row['compared']}")
        metrics = [f"{row[key]:.4f}" if row[key] > -1 else "-" for key in ("AP", "AP50", "AP75")]
        cells = [row["name"], *metrics, *differences, f"{median:.1f} ({low:.1f} .. {high:.1f})", f"{row['megabytes']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"AP is measured on {matrix['images']} images of {matrix['annotations']}. Each detection of the checkpoint with a score above "
        f"{matrix['compared_from']:g} is compared with the model's detection of the same class that overlaps it most (IoU of .5 or more), "
        f"in pixels of the {width} x {height} input. Time is the median (10th .. 90th percentile) of {matrix['repeats']} calls, from an "
        f"image in memory to boxes; the models take turns, each in its own process with {matrix['threads']} threads. Runtime of .tflite "
        f"files: {matrix['runtime']}.{of_onnx} Machine: {matrix['machine']}. The MB of the checkpoint are those of its weights.",
    ]
    return "\n".join(lines) + "\n"


def texts(card: dict[str, Any]) -> dict[str, str]:
    """File name -> content: the card as JSON and Markdown, and the labels as text, one per line in the heatmap's order, and as JSON."""
    labels = {"class_names": [one["name"] for one in card["classes"]], "category_ids": [one["category_id"] for one in card["classes"]]}
    return {
        CARD: json_text(card, indent=1),
        PAGE: markdown(card),
        LABELS: "".join(f"{printable(name)}\n" for name in labels["class_names"]),
        LABELS_JSON: json_text(labels),
    }


def _results(run: LoadedRun) -> dict[str, float] | None:
    """The COCO metrics that training logged at the step of the weights; None if that was at another size."""
    for line in reversed(read_metrics(run.folder)):
        if line.get("step") == run.step and "AP" in line:
            if run.config.data.size != read_config(run.folder).data.size:
                return None
            return {key: value for key, value in line.items() if key.startswith(("AP", "AR")) and isinstance(value, (int, float))}
    return None


def _environment(folder: Path) -> dict[str, Any]:
    try:
        return read_json(folder / "environment.json")
    except (OSError, ValueError):
        return {}


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
