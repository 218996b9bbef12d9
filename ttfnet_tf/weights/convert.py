"""Converts third-party weights for this package, and trained models for the official code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from ttfnet_tf import build
from ttfnet_tf.config import Config
from ttfnet_tf.data import coco_classes
from ttfnet_tf.data.coco_file import read_coco
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import new_folder
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.runs.checkpoint import CheckpointStore, load_run
from ttfnet_tf.runs.run_folder import Labels, RunFolder
from ttfnet_tf.weights.files import WRITABLE, write_tensors
from ttfnet_tf.weights.load import Source, WeightsReport, load_exactly, read_source, state_dict
from ttfnet_tf.weights.names import num_classes_of

_BACKBONE = "backbone."


def convert_weights(
    source: str,
    config: Config,
    out: str | Path,
    *,
    num_classes: int | None = None,
    labels: str | Path | None = None,
    partial: bool = False,
    on_message: Callable[[str], object] = print,
    before_writing: Callable[[WeightsReport], object] = lambda report: None,
) -> WeightsReport:
    """Converts third-party weights into a weight file or a work directory.

    Args:
        source: see `load.read_source`.
        config: settings of the network that the weights are for.
        out: a file with one of the suffixes in `WRITABLE`, for `model.pretrained`; else a new work directory, for a whole detector.
        num_classes: of the detector; by default as in the file.
        labels: COCO annotations with the names and ids of the classes; required for a work directory unless the classes are COCO's 80.
        partial: whether to accept tensors without a match.
        on_message: called with one line when a download starts.
        before_writing: called with the result before `out` is written. A work directory is written once, so that whatever belongs to it
            must be there first.

    Returns:
        What became of each tensor.

    Raises:
        UserError: source, configuration and labels do not fit together, `out` cannot be written, or `out` is not empty.
    """
    out = Path(out)
    to_folder = out.suffix not in WRITABLE
    if to_folder:
        _refuse_used(out)
    content = read_source(source, on_message=on_message)
    in_file = num_classes_of(content.shapes)
    if to_folder and in_file is None:
        raise UserError(f"{source}: holds only a backbone, and a work directory needs a whole detector; write an .npz file with --out")
    count = num_classes or in_file or len(coco_classes.CLASS_NAMES)  # for a backbone alone, any number will do
    names = _labels_of(content, count, labels) if to_folder else None
    model = build.model_of(config, count)
    report = load_exactly(model, content, partial=partial)
    before_writing(report)
    if names is not None:
        _write_run(out, config, names, model)
    else:
        state = state_dict(model)
        is_backbone = in_file is None
        write_tensors(out, {name.removeprefix(_BACKBONE) if is_backbone else name: state[name] for name in report.matched})
    return report


def export_official(run: str | Path, out: str | Path) -> int:
    """Writes the weights of a run with the names and layouts of the official code.

    Args:
        run: a work directory or a checkpoint in it.
        out: a file with one of the suffixes in `WRITABLE`; the official code reads `.pth` only.

    Returns:
        The number of tensors.

    Raises:
        UserError: there is no such run, the official code does not have this network, or `out` cannot be written.
    """
    loaded = load_run(run)
    settings = loaded.config.model
    for key, value, is_official in (
        ("backbone", settings.backbone, not settings.backbone.startswith("keras_cv/")),
        ("neck", settings.neck, settings.neck == "deformable"),
        ("method", settings.method, METHODS[settings.method].official_names),
    ):
        if not is_official:
            raise UserError(f"{run}: has model.{key}={value}, which the official code does not have, so its weights have no official names")
    state = state_dict(loaded.model)
    write_tensors(out, state, class_names=loaded.labels.class_names)
    return len(state)


def _labels_of(source: Source, count: int, labels: str | Path | None) -> Labels:
    if labels is not None:
        categories = read_coco(labels).cats
        if len(categories) != count:
            raise UserError(
                f"{labels}: has {len(categories)} categories, but {source.name} has {count} classes; name the annotations it was trained on"
            )
        ids = sorted(categories)
        return Labels(tuple(categories[number]["name"] for number in ids), tuple(ids))
    if count != len(coco_classes.CLASS_NAMES):
        raise UserError(f"{source.name}: has {count} classes, not COCO's 80; name their annotations with --labels FILE.json")
    return Labels(coco_classes.CLASS_NAMES, coco_classes.CATEGORY_IDS)


def _refuse_used(folder: Path) -> None:
    if folder.is_file():
        raise UserError(f"{folder}: has an unknown file type; let --out end in {', '.join(WRITABLE)}, or name a new folder")
    if folder.is_dir() and any(folder.iterdir()):
        raise UserError(f"{folder}: is not empty; name a new folder with --out")


def _write_run(folder: Path, config: Config, labels: Labels, model) -> None:
    # These weights have no moving averages.
    config = dataclasses.replace(config, optim=dataclasses.replace(config.optim, ema_decay=0.0))
    with new_folder(folder) as aside:
        RunFolder(aside, config, labels)
        CheckpointStore(aside / "checkpoints", {"model": model}, keep=1).save(0)
