"""Collects everything that the report shows of a run: stored or new detections, their analysis, drawn images, data and warnings."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from PIL import Image

from ttfnet_tf.build import load_split
from ttfnet_tf.config import Config, dump_config
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.images import FORMATS
from ttfnet_tf.doctor.quick import quick_check
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.evaluate_run import evaluate_run, evaluation_settings
from ttfnet_tf.inference.exported_model import ExportedModel
from ttfnet_tf.report.analysis import Analysis, analyse
from ttfnet_tf.report.dataset_summary import SplitSummary, summarise
from ttfnet_tf.report.example_images import Drawing, best_and_worst, draw_images
from ttfnet_tf.report.published_results import Reference, find_reference
from ttfnet_tf.report.run_record import Record, read_detections
from ttfnet_tf.report.run_warnings import run_warnings
from ttfnet_tf.runs.run_folder import Labels, read_labels, work_directory

_SAME = 1e-6  # stored detections must have the AP stored beside them, up to this difference


@dataclass(frozen=True)
class Options:
    """What the user chose.

    Attributes:
        overrides: key=value of `data` and `decode`.
        score_threshold: of the confusion matrix and the images.
        images: number of best and of worst images to draw.
        batch_size: images per call if a run is evaluated.
        evaluates: whether a run without stored detections is evaluated.
        command: that writes the page again.
    """

    overrides: Sequence[str]
    score_threshold: float
    images: int
    batch_size: int
    evaluates: bool
    command: str


@dataclass(frozen=True, eq=False)
class Contents:
    """Everything that a page shows of one run.

    Attributes:
        record: of the run.
        analysis: None without detections or annotations.
        metrics: COCO metrics of the reported step, 0..1; None if it was never evaluated.
        per_class: class name -> AP, for a page without an analysis.
        reference: the published result, if any.
        best, worst: drawn images.
        data: the splits that could be read.
        findings: lines of the quick check of the annotations.
        warnings: lines for the top of the page.
        config: settings as YAML.
        command: that writes this page again.
    """

    record: Record
    analysis: Analysis | None
    metrics: Mapping[str, float] | None
    per_class: Mapping[str, float]
    reference: Reference | None
    best: Sequence[Drawing]
    worst: Sequence[Drawing]
    data: Sequence[SplitSummary]
    findings: Sequence[str]
    warnings: Sequence[str]
    config: str
    command: str


class _Results(NamedTuple):
    """The results of the reported step."""

    record: Record
    analysis: Analysis | None
    metrics: Mapping[str, float] | None
    per_class: Mapping[str, float]


def collect(record: Record, options: Options) -> Contents:
    """Collects the contents of a page.

    Raises:
        UserError: an override is wrong, or names data that cannot be read.
    """
    config, exported = evaluation_settings(record.run, options.overrides)
    classes = exported or read_labels(work_directory(record.run))
    lines: list[str] = []
    val, train = (_split(config, name, classes, options, lines) for name in ("val", "train"))
    record, analysis, metrics, per_class = _results(record, val, options, lines)
    best, worst = _drawings(analysis, val, options, lines)
    reference = find_reference(record, analysis.num_images if analysis else None)
    return Contents(
        record=record,
        analysis=analysis,
        metrics=metrics,
        per_class=per_class,
        reference=reference,
        best=best,
        worst=worst,
        data=[summarise(name, split) for name, split in (("train", train), ("val", val)) if split is not None],
        findings=[] if train is None else quick_check(train, val, image_size=config.data.size, keep_ratio=config.data.keep_ratio),
        warnings=run_warnings(record, analysis, reference, lines),
        config=dump_config(config),
        command=options.command,
    )


def _split(config: Config, name: str, classes: ExportedModel | Labels, options: Options, lines: list[str]) -> CocoSplit | None:
    """A split; None, with a line, if the data of the run is not here. Data named by an override must be here."""
    try:
        return load_split(config, name, known=(classes.category_ids, classes.class_names))
    except UserError as error:
        if any(override.startswith(f"data.{name}.") for override in options.overrides):
            raise
        lines.append(f"{'Validation' if name == 'val' else 'Training'} data: {error}.")
        return None


def _results(record: Record, val: CocoSplit | None, options: Options, lines: list[str]) -> _Results:
    """The stored results if they fit the annotations, else those of a new evaluation."""
    changes_detections = any(not override.startswith(("data.val.", "data.train.")) for override in options.overrides)
    stored = None if changes_detections else read_detections(record.evaluation)
    if val is None:
        return _Results(record, None, stored[1]["metrics"], stored[1].get("per_class", {})) if stored else _logged(record)
    if stored is not None:
        analysis = analyse(val, stored[0], score_threshold=options.score_threshold)
        if abs(analysis.metrics["AP"] - stored[1]["metrics"]["AP"]) <= _SAME:
            return _analysed(record, analysis)
    if not options.evaluates:
        lines.append("There are no stored detections for these annotations; ttfnet evaluate writes them.")
        return _logged(record)
    try:
        evaluated = evaluate_run(record.run, options.overrides, batch_size=options.batch_size)
    except UserError as error:
        if options.overrides:
            raise
        lines.append(f"Could not be evaluated: {error}.")
        return _logged(record)
    if evaluated.skipped:
        lines.append(f"{evaluated.skipped} validation images could not be read and count as images without detections.")
    record = dataclasses.replace(record, step=evaluated.step, evaluation=evaluated.file.parent)
    return _analysed(record, analyse(val, evaluated.result.detections, score_threshold=options.score_threshold))


def _analysed(record: Record, analysis: Analysis) -> _Results:
    per_class = {one.name: -1.0 if one.metrics["AP"] is None else one.metrics["AP"] for one in analysis.classes}
    return _Results(record, analysis, analysis.metrics, per_class)


def _logged(record: Record) -> _Results:
    """The logged metrics of the reported step, else of the best one."""
    lines = [line for line in record.evaluations if line["step"] == record.step] or ([record.best] if record.best else [])
    if not lines:
        return _Results(record, None, None, {})
    metrics = {key: value for key, value in lines[-1].items() if key.startswith("A")}
    return _Results(record, None, metrics, lines[-1].get("per_class", {}))


def _drawings(analysis: Analysis | None, val: CocoSplit | None, options: Options, lines: list[str]) -> tuple[list[Drawing], list[Drawing]]:
    """(best, worst) images, without those that cannot be opened."""
    if analysis is None or val is None or not options.images:
        return [], []
    unreadable = [image for image in val.images if not _can_be_opened(image.path)]
    if unreadable:
        lines.append(
            f"{len(unreadable)} of {len(val.images)} validation images cannot be opened, such as {unreadable[0].path} "
            f"(image id {unreadable[0].id}); they are not among the images below."
        )
    ids = {image.id for image in unreadable}
    best, worst = best_and_worst([score for score in analysis.scores if score.image.image_id not in ids], options.images)
    files = {image.id: image.path for image in val.images}
    drawn = [draw_images(chosen, files, analysis.class_names) for chosen in (best, worst)]
    lines += [line for _, problems in drawn for line in problems]
    return drawn[0][0], drawn[1][0]


def _can_be_opened(path: Path) -> bool:
    try:
        with Image.open(path if isinstance(path, Path) else io.BytesIO(path.read_bytes()), formats=FORMATS) as image:
            return image.width > 0
    except (OSError, ValueError, SyntaxError, UserError):
        return False
