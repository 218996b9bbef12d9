"""From the names of runs to a page on disk."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ttfnet_tf.build import load_split
from ttfnet_tf.config import Config, dump_config
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.doctor.quick import quick_check
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.evaluate_run import evaluation_settings, measure
from ttfnet_tf.files import write_text
from ttfnet_tf.report.analysis import Analysis, analyse
from ttfnet_tf.report.dataset_summary import summarise
from ttfnet_tf.report.example_images import Drawing, best_and_worst, draw_scores
from ttfnet_tf.report.html_page import Contents, comparison_page, run_page
from ttfnet_tf.report.published_results import find_reference
from ttfnet_tf.report.run_record import Record, read_detections, read_record
from ttfnet_tf.report.run_warnings import remarks

SCORE_THRESHOLD = 0.3  # of confusion matrix and images, as in prediction
IMAGES = 6  # best and worst ones each
_SAME = 1e-6  # of AP, by which stored detections must agree with the figures stored beside them


def write_report(
    runs: Sequence[str | Path],
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    score_threshold: float = SCORE_THRESHOLD,
    images: int = IMAGES,
    batch_size: int = 8,
) -> Path:
    """Writes the page about one run, or about several side by side.

    A single run is measured first where its detections are missing or are of other annotations; several are shown with what is there.

    Args:
        runs: work directories, checkpoints in them, or exported models.
        out: file; default report.html in the run's folder, and comparison.html in the current one for several.
        overrides: key=value of `data` and `decode`, for all runs.
        score_threshold: of confusion matrix and images.
        images: best and worst ones each.
        batch_size: images of one call where a run is measured.

    Returns:
        The file.

    Raises:
        UserError: a run is not there or damaged, an override is wrong, or the file cannot be written.
    """
    single = len(runs) == 1
    records = [read_record(run, overrides) for run in runs]
    file = Path(out) if out else records[0].folder / "report.html" if single else Path("comparison.html")
    options = [("--out", out), ("--score-threshold", score_threshold), ("--images", images)]
    defaults = (None, SCORE_THRESHOLD, IMAGES)
    given = [str(word) for option, default in zip(options, defaults) if option[1] != default for word in option]
    command = shlex.join(["ttfnet", "report", *map(str, runs), *given, *overrides])
    if not single:
        records = _with_names_apart(records)
    collect = _Collector(overrides, score_threshold, images if single else 0, batch_size, measures=single, command=command)
    contents = [collect(record) for record in records]
    write_text(file, run_page(contents[0]) if single else comparison_page(contents))
    return file


@dataclasses.dataclass(frozen=True)
class _Collector:
    """Gathers what a page says of a run."""

    overrides: Sequence[str]
    score_threshold: float
    images: int
    batch_size: int
    measures: bool  # whether a run without detections is measured
    command: str

    def __call__(self, record: Record) -> Contents:
        config, _ = evaluation_settings(record.run, self.overrides)
        lines: list[str] = []
        val, train = self._split(config, "val", lines), self._split(config, "train", lines)
        record, analysis, metrics, per_class = self._measured(record, val, lines)
        best, worst = self._drawings(analysis, val, lines)
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
            findings=[] if train is None else quick_check(train, val, image_size=config.data.size),
            remarks=remarks(record, analysis, reference, lines),
            config=dump_config(config),
            command=self.command,
        )

    def _split(self, config: Config, name: str, lines: list[str]) -> CocoSplit | None:
        """None, with a line, where the run's own files are not here; what the user has named must be."""
        try:
            return load_split(config, name)
        except UserError as error:
            if any(override.startswith(f"data.{name}.") for override in self.overrides):
                raise
            lines.append(f"{'Validation' if name == 'val' else 'Training'} data: {error}.")
            return None

    def _measured(self, record: Record, val: CocoSplit | None, lines: list[str]):
        """(record, analysis, metrics, per class) from what is stored, else by an evaluation."""
        changes_detections = any(not override.startswith(("data.val.", "data.train.")) for override in self.overrides)
        stored = None if changes_detections else read_detections(record.evaluation)
        if val is None:
            return (record, None, stored[1]["metrics"], stored[1].get("per_class", {})) if stored else (record, None, *_logged(record))
        if stored is not None:
            analysis = analyse(val, stored[0], score_threshold=self.score_threshold)
            if abs(analysis.metrics["AP"] - stored[1]["metrics"]["AP"]) <= _SAME:
                return record, analysis, analysis.metrics, _per_class(analysis)
        if not self.measures:
            lines.append("No detections of these annotations are stored; ttfnet evaluate writes them.")
            return record, None, *_logged(record)
        try:
            measured = measure(record.run, self.overrides, batch_size=self.batch_size)
        except UserError as error:
            if self.overrides:
                raise
            lines.append(f"Could not be measured: {error}.")
            return record, None, *_logged(record)
        if measured.skipped:
            lines.append(f"{measured.skipped} validation images could not be read and count as images without detections.")
        record = dataclasses.replace(record, step=measured.step, evaluation=measured.file.parent)
        analysis = analyse(val, measured.result.detections, score_threshold=self.score_threshold)
        return record, analysis, analysis.metrics, _per_class(analysis)

    def _drawings(self, analysis: Analysis | None, val: CocoSplit | None, lines: list[str]) -> tuple[list[Drawing], list[Drawing]]:
        if analysis is None or val is None or not self.images:
            return [], []
        unreadable = [image for image in val.images if not _can_be_opened(image.path)]
        if unreadable:
            lines.append(
                f"{len(unreadable)} of {len(val.images)} validation images cannot be opened, such as {unreadable[0].path} "
                f"(image id {unreadable[0].id}); what they would show is missing here."
            )
        ids = {image.id for image in unreadable}
        best, worst = best_and_worst([score for score in analysis.scores if score.scene.image_id not in ids], self.images)
        files = {image.id: str(image.path) for image in val.images}
        drawn = [draw_scores(chosen, files, analysis.class_names) for chosen in (best, worst)]
        lines += [line for _, faults in drawn for line in faults]
        return drawn[0][0], drawn[1][0]


def _logged(record: Record):
    """(metrics, per class) of the reported step in metrics.jsonl, else of the best one."""
    lines = [line for line in record.evaluations if line["step"] == record.step] or ([record.best] if record.best else [])
    if not lines:
        return None, {}
    return {key: value for key, value in lines[-1].items() if key.startswith("A")}, lines[-1].get("per_class", {})


def _per_class(analysis: Analysis) -> dict[str, float]:
    return {one.name: -1.0 if one.figures["AP"] is None else one.figures["AP"] for one in analysis.classes}


def _with_names_apart(records: Sequence[Record]) -> list[Record]:
    """Runs that share a name are told apart by their paths."""
    names = [record.name for record in records]
    return [dataclasses.replace(record, name=str(record.run)) if names.count(record.name) > 1 else record for record in records]


def _can_be_opened(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.width > 0
    except (OSError, ValueError, SyntaxError):
        return False
