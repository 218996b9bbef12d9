"""Writes the report of one run, or of several runs side by side."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.files import write_text
from ttfnet_tf.report.contents import Options, collect
from ttfnet_tf.report.html_page import comparison_page, run_page
from ttfnet_tf.report.run_record import Record, read_record

SCORE_THRESHOLD = 0.3  # of the confusion matrix and the images, as in prediction
IMAGES = 6  # best and worst images, each


def write_report(
    runs: Sequence[str | Path],
    out: str | Path | None = None,
    overrides: Sequence[str] = (),
    *,
    score_threshold: float = SCORE_THRESHOLD,
    images: int = IMAGES,
    batch_size: int = 8,
) -> Path:
    """Writes the report page.

    A single run is evaluated first if it has no stored detections for the annotations; several runs are shown with what is stored.

    Args:
        runs: work directories, checkpoints in them, or exported models.
        out: the file; by default report.html in the run's folder, and for several runs comparison.html in the current folder.
        overrides: key=value of `data` and `decode`, for all runs.
        score_threshold: of the confusion matrix and the images.
        images: number of best and of worst images.
        batch_size: images per call if a run is evaluated.

    Returns:
        The file.

    Raises:
        UserError: a run is missing or damaged, an override is wrong, or the file cannot be written.
    """
    is_single = len(runs) == 1
    records = [read_record(run, overrides) for run in runs]
    file = Path(out) if out else records[0].folder / "report.html" if is_single else Path("comparison.html")
    chosen = [("--out", out, None), ("--score-threshold", score_threshold, SCORE_THRESHOLD), ("--images", images, IMAGES)]
    arguments = [str(word) for option, value, default in chosen if value != default for word in (option, value)]
    options = Options(
        overrides=overrides,
        score_threshold=score_threshold,
        images=images if is_single else 0,
        batch_size=batch_size,
        evaluates=is_single,
        command=shlex.join(["ttfnet", "report", *map(str, runs), *arguments, *overrides]),
    )
    contents = [collect(record, options) for record in (records if is_single else _with_unique_names(records))]
    write_text(file, run_page(contents[0]) if is_single else comparison_page(contents))
    return file


def _with_unique_names(records: Sequence[Record]) -> list[Record]:
    """The records, with paths instead of names where several runs have the same name."""
    names = [record.name for record in records]
    return [dataclasses.replace(record, name=str(record.run)) if names.count(record.name) > 1 else record for record in records]
