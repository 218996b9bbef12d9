"""The page itself: parts put into the templates beside this file, with every image and style inside."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ttfnet_tf import __version__
from ttfnet_tf.report import charts
from ttfnet_tf.report.analysis import Analysis
from ttfnet_tf.report.charts import Line
from ttfnet_tf.report.class_metrics import strongest_and_weakest
from ttfnet_tf.report.dataset_summary import SIZES, SplitSummary
from ttfnet_tf.report.error_types import KINDS
from ttfnet_tf.report.example_images import Drawing
from ttfnet_tf.report.published_results import Reference
from ttfnet_tf.report.run_record import Record

CURVES = 12  # precision-recall curves at most
MATRIX = 15  # classes up to which the confusion matrix is a table
MIX_UPS = 20  # rows of the table of confused classes at most
FIGURES = {
    "AP": "mean over the overlaps (IoU) .50, .55, ... .95 and over classes",
    "AP50": "at overlap .50",
    "AP75": "at overlap .75",
    "APs": "of small objects: area below 32 x 32 px",
    "APm": "of medium objects: up to 96 x 96 px",
    "APl": "of large objects",
    "AR1": "recall, mean over overlaps, with 1 detection an image",
    "AR10": "with 10",
    "AR100": "with 100",
    "ARs": "of small objects",
    "ARm": "of medium objects",
    "ARl": "of large objects",
}
_PARTS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@dataclass(frozen=True, eq=False)
class Contents:
    """Everything about one run.

    Attributes:
        metrics: COCO numbers of the reported step, 0..1; None where it was never measured.
        per_class: class name -> AP, for where there is no analysis.
        best, worst: drawings.
        data: splits that could be read.
        findings: lines of the quick check.
        remarks: lines for the top.
        config: settings as YAML.
        command: that makes this page again.
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
    remarks: Sequence[str]
    config: str
    command: str


def run_page(contents: Contents) -> str:
    """HTML about one run."""
    analysis = contents.analysis
    return _render(
        "run.html.j2",
        title=f"{contents.record.name}: run report",
        run=contents,
        record=contents.record,
        analysis=analysis,
        charts=_curves([contents.record]),
        figures=FIGURES,
        table=_figure_rows(contents),
        ranked=sorted(analysis.classes, key=lambda one: (one.figures["AP"] is None, -(one.figures["AP"] or 0))) if analysis else (),
        parts=_PARTS,
        precision=_precision(analysis) if analysis else (),
        matrix=_matrix(analysis) if analysis else None,
        error_chart=_error_chart([contents.record.name], [analysis]) if analysis else None,
        kinds=KINDS,
        sizes=SIZES,
    )


def comparison_page(runs: Sequence[Contents]) -> str:
    """HTML about several runs side by side; their names must differ."""
    names = [run.record.name for run in runs]
    classes = list(dict.fromkeys(name for run in runs for name in run.per_class))
    analysed = [run for run in runs if run.analysis]
    return _render(
        "comparison.html.j2",
        title=f"{len(runs)} runs side by side",
        runs=runs,
        names=names,
        colours=charts.COLOURS,
        charts=_curves([run.record for run in runs]),
        classes=classes,
        differing=differing_settings([run.record.settings for run in runs]),
        analysed=analysed,
        error_chart=_error_chart([run.record.name for run in analysed], [run.analysis for run in analysed if run.analysis])
        if analysed
        else None,
        kinds=KINDS,
        parts=(*_PARTS, "AR100"),
    )


def differing_settings(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Dotted key -> value of each run, for the keys in which not all agree."""
    keys = dict.fromkeys(key for one in settings for key in one)
    values = {key: [one.get(key) for one in settings] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def _curves(records: Sequence[Record]) -> dict[str, Markup]:
    """Name -> chart; those without a point are left out. One run has its losses apart, several have the total loss."""
    single = len(records) == 1
    epochs = [[line["epoch"] for line in record.training] for record in records]

    def logged(key: str) -> list[Line]:
        return [
            Line(record.name, *zip(*[(x, line[key]) for x, line in zip(epoch, record.training) if key in line]))
            for record, epoch in zip(records, epochs)
            if any(key in line for line in record.training)
        ]

    def measured(key: str, label: str | None = None) -> list[Line]:
        return [
            Line(label or record.name, [line["epoch"] for line in lines], [100 * line[key] for line in lines])
            for record in records
            if (lines := [line for line in record.evaluations if key in line])
        ]

    def by_hours(record: Record) -> list[float]:
        return record.hours_at([line["step"] for line in record.evaluations])

    losses = logged("loss")
    if single and losses:
        keys = sorted({key for line in records[0].training for key in line if key.endswith("_loss")})
        losses = [Line(key, *_points(records[0].training, key)) for key in ("loss", *keys)]
    average = [line for key in ("AP", "AP50", "AP75") for line in measured(key, key)] if single else measured("AP")
    hours = [
        Line(record.name, by_hours(record), [100 * line["AP"] for line in record.evaluations])
        for record in records
        if record.evaluations and record.hours
    ]
    wanted: dict[str, tuple[Any, dict[str, Any]]] = {
        "losses": (losses, {"x_label": "epoch", "y_label": "training loss", "log_y": True}),
        "ap": (average, {"x_label": "epoch", "y_label": "AP (%)", "from_zero": True, "markers": True}),
        "hours": (hours, {"x_label": "hours of training, without evaluation", "y_label": "AP (%)", "from_zero": True, "markers": True}),
        "rate": (logged("lr"), {"x_label": "epoch", "y_label": "learning rate", "from_zero": True}),
        "wait": (
            logged("data_wait"),
            {"x_label": "epoch", "y_label": "share of the time", "from_zero": True},
        ),
        "speed": (logged("images_per_second"), {"x_label": "epoch", "y_label": "images a second", "from_zero": True}),
    }
    return {name: charts.line_chart(name, lines, **look) for name, (lines, look) in wanted.items() if lines}


def _points(lines: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    found = [line for line in lines if key in line]
    return [line["epoch"] for line in found], [line[key] for line in found]


def _figure_rows(contents: Contents) -> list[dict[str, Any]]:
    """The 12 COCO numbers in percent, with what was published."""
    published = contents.reference.cell.published if contents.reference else {}
    rows = []
    for name, meaning in FIGURES.items():
        measured = (contents.metrics or {}).get(name)
        measured = None if measured is None or measured < 0 else 100 * measured
        target = published.get(name)
        difference = measured - target if measured is not None and target is not None else None
        rows.append({"name": name, "meaning": meaning, "measured": measured, "published": target, "difference": difference})
    return rows


def _precision(analysis: Analysis) -> list[Markup]:
    chosen = strongest_and_weakest(analysis.curves, CURVES)
    return [charts.precision_chart(f"precision-{number}", curve) for number, curve in enumerate(chosen)]


def _matrix(analysis: Analysis) -> dict[str, Any]:
    """Rows with counts and shares for a table, or an image where there are too many classes; and the most frequent confusions."""
    confusion, names = analysis.confusion, analysis.class_names
    totals = confusion.counts.sum(axis=1, keepdims=True)
    shares = confusion.counts / totals.clip(min=1)
    row_names, column_names = [*names, "background"], [*names, "not detected"]
    rows = [
        {"name": name, "total": int(total), "cells": [(int(count), float(share)) for count, share in zip(counts, of_row)]}
        for name, total, counts, of_row in zip(row_names, totals[:, 0], confusion.counts, shares)
    ]
    is_table = len(names) <= MATRIX
    return {
        "columns": column_names,
        "rows": rows if is_table else (),
        "image": None if is_table else charts.heat_map("confusion", shares, row_names, column_names),
        "mix_ups": () if is_table else [(names[i], names[j], count, float(shares[i, j])) for i, j, count in confusion.mix_ups(MIX_UPS)],
    }


def _error_chart(names: Sequence[str], analyses: Sequence[Analysis]) -> Markup:
    bars = {kind: [100 * analysis.errors.types[number].gain for analysis in analyses] for number, kind in enumerate(KINDS)}
    return charts.bar_chart("errors", bars, names, x_label="points of AP50 that mending brings")


def _render(template: str, **values: Any) -> str:
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=_percent, signed=_signed, share=_share, hours=_hours, whole=_whole)
    return environment.get_template(template).render(
        style=Markup((folder / "style.css").read_text(encoding="utf-8")),
        version=__version__,
        now=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        **values,
    )


def _percent(value: float | None, digits: int = 1) -> str:
    """0..1 -> percent; a dash where there is nothing to measure."""
    return "–" if value is None or value < 0 else f"{100 * value:.{digits}f}"


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}"


def _hours(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{60 * value:.0f} min" if value < 2 else f"{value:.1f} h"


def _whole(value: float) -> str:
    return f"{value:,.0f}"
