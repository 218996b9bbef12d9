"""Renders the report: contents and charts go into the templates beside this file, as one HTML file with all images and styles inside."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ttfnet_tf import __version__
from ttfnet_tf.report import charts
from ttfnet_tf.report.analysis import Analysis
from ttfnet_tf.report.charts import Line
from ttfnet_tf.report.class_metrics import best_and_worst
from ttfnet_tf.report.contents import Contents
from ttfnet_tf.report.dataset_summary import SIZES
from ttfnet_tf.report.error_types import KINDS
from ttfnet_tf.report.run_record import Record

CURVES = 12  # precision-recall curves
MATRIX_CLASSES = 15  # with more classes, the confusion matrix is an image
CONFUSIONS = 20  # rows of the table of confused classes
METRICS = {
    "AP": "average precision, mean over IoU .50, .55, ... .95 and over classes",
    "AP50": "AP at IoU .50",
    "AP75": "AP at IoU .75",
    "APs": "AP of small objects: area below 32 x 32 px",
    "APm": "AP of medium objects: area up to 96 x 96 px",
    "APl": "AP of large objects",
    "AR1": "average recall with 1 detection per image",
    "AR10": "average recall with 10 detections per image",
    "AR100": "average recall with 100 detections per image",
    "ARs": "average recall of small objects",
    "ARm": "average recall of medium objects",
    "ARl": "average recall of large objects",
}
_AP_METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


def run_page(contents: Contents) -> str:
    """The HTML page of one run."""
    analysis = contents.analysis
    return _render(
        "run.html.j2",
        title=f"{contents.record.name}: run report",
        run=contents,
        record=contents.record,
        analysis=analysis,
        charts=_curves([contents.record]),
        metrics=_metric_rows(contents),
        ranked=sorted(analysis.classes, key=lambda one: (one.metrics["AP"] is None, -(one.metrics["AP"] or 0))) if analysis else (),
        metric_names=_AP_METRICS,
        precision=_precision(analysis) if analysis else (),
        matrix=_matrix(analysis) if analysis else None,
        error_chart=_error_chart([contents.record.name], [analysis]) if analysis else None,
        kinds=KINDS,
        sizes=SIZES,
    )


def comparison_page(runs: Sequence[Contents]) -> str:
    """The HTML page of several runs side by side; their names must differ."""
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
        metric_names=(*_AP_METRICS, "AR100"),
    )


def differing_settings(settings: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Dotted key -> value of each run, for the keys whose values differ."""
    keys = dict.fromkeys(key for one in settings for key in one)
    values = {key: [one.get(key) for one in settings] for key in keys}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def _curves(records: Sequence[Record]) -> dict[str, Markup]:
    """Name -> chart, where there is something to draw. A single run shows each of its losses, several runs show their total losses."""
    is_single = len(records) == 1
    losses = _logged(records, "loss")
    if is_single and losses:
        keys = sorted({key for line in records[0].training for key in line if key.endswith("_loss")})
        losses = [Line(key, *_points(records[0].training, key)) for key in ("loss", *keys)]
    ap = [line for key in ("AP", "AP50", "AP75") for line in _evaluated(records, key, key)] if is_single else _evaluated(records, "AP")
    hours = [
        Line(record.name, record.hours_at([line["step"] for line in record.evaluations]), [100 * line["AP"] for line in record.evaluations])
        for record in records
        if record.evaluations and record.hours
    ]
    wanted: dict[str, tuple[Any, dict[str, Any]]] = {
        "losses": (losses, {"x_label": "epoch", "y_label": "training loss", "log_y": True}),
        "ap": (ap, {"x_label": "epoch", "y_label": "AP (%)", "from_zero": True, "markers": True}),
        "hours": (hours, {"x_label": "hours of training, without evaluation", "y_label": "AP (%)", "from_zero": True, "markers": True}),
        "rate": (_logged(records, "lr"), {"x_label": "epoch", "y_label": "learning rate", "from_zero": True}),
        "wait": (_logged(records, "data_wait"), {"x_label": "epoch", "y_label": "fraction of the time", "from_zero": True}),
        "speed": (_logged(records, "images_per_second"), {"x_label": "epoch", "y_label": "images per second", "from_zero": True}),
    }
    return {name: charts.line_chart(name, lines, **look) for name, (lines, look) in wanted.items() if lines}


def _logged(records: Sequence[Record], key: str) -> list[Line]:
    """A logged value of training by epoch, for each run that has it."""
    return [Line(record.name, *points) for record in records if (points := _points(record.training, key))[0]]


def _evaluated(records: Sequence[Record], key: str, label: str | None = None) -> list[Line]:
    """A metric by epoch in percent, for each run that has it."""
    points = [(label or record.name, _points(record.evaluations, key)) for record in records]
    return [Line(name, epochs, [100 * value for value in values]) for name, (epochs, values) in points if epochs]


def _points(lines: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """(epochs, values) of a key, from the lines that have it."""
    found = [line for line in lines if key in line]
    return [line["epoch"] for line in found], [line[key] for line in found]


def _metric_rows(contents: Contents) -> list[dict[str, Any]]:
    """The 12 COCO metrics in percent, beside the published ones."""
    published = contents.reference.cell.published if contents.reference else {}
    rows = []
    for name, meaning in METRICS.items():
        measured = (contents.metrics or {}).get(name)
        measured = None if measured is None or measured < 0 else 100 * measured
        target = published.get(name)
        difference = measured - target if measured is not None and target is not None else None
        rows.append({"name": name, "meaning": meaning, "measured": measured, "published": target, "difference": difference})
    return rows


def _precision(analysis: Analysis) -> list[Markup]:
    chosen = best_and_worst(analysis.curves, CURVES)
    return [charts.precision_chart(f"precision-{number}", curve) for number, curve in enumerate(chosen)]


def _matrix(analysis: Analysis) -> dict[str, Any]:
    """Rows with counts and fractions for a table; with too many classes, an image and the most frequent confusions instead."""
    confusion, names = analysis.confusion, analysis.class_names
    totals = confusion.counts.sum(axis=1, keepdims=True)
    fractions = confusion.counts / totals.clip(min=1)
    row_names, column_names = [*names, "background"], [*names, "not detected"]
    rows = [
        {"name": name, "total": int(total), "cells": [(int(count), float(fraction)) for count, fraction in zip(counts, of_row)]}
        for name, total, counts, of_row in zip(row_names, totals[:, 0], confusion.counts, fractions)
    ]
    if len(names) <= MATRIX_CLASSES:
        return {"columns": column_names, "rows": rows, "image": None, "confusions": ()}
    confused = [(names[i], names[j], count, float(fractions[i, j])) for i, j, count in confusion.confusions(CONFUSIONS)]
    image = charts.heat_map("confusion", fractions, row_names, column_names)
    return {"columns": column_names, "rows": (), "image": image, "confusions": confused}


def _error_chart(names: Sequence[str], analyses: Sequence[Analysis]) -> Markup:
    bars = {kind: [100 * analysis.errors.types[number].gain for analysis in analyses] for number, kind in enumerate(KINDS)}
    return charts.bar_chart("errors", bars, names, x_label="points of AP50 gained by fixing")


def _render(template: str, **values: Any) -> str:
    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=_percent, signed=_signed, fraction=_fraction, hours=_hours, whole=_whole)
    return environment.get_template(template).render(
        style=Markup((folder / "style.css").read_text(encoding="utf-8")),
        version=__version__,
        now=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        **values,
    )


def _percent(value: float | None, digits: int = 1) -> str:
    """0..1 in percent; a dash where there is nothing to measure."""
    return "–" if value is None or value < 0 else f"{100 * value:.{digits}f}"


def _fraction(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.1f}"


def _hours(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{60 * value:.0f} min" if value < 2 else f"{value:.1f} h"


def _whole(value: float) -> str:
    return f"{value:,.0f}"
