"""Warnings at the top of the report: what a reader must know before believing the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from ttfnet_tf.report.analysis import Analysis
from ttfnet_tf.report.published_results import Reference
from ttfnet_tf.report.run_record import Record

DROP = 0.02  # of AP since the best evaluation; more than neighbouring epochs differ by
FEW = 20  # objects; AP of a class with fewer means little
_NAMES = 5  # classes listed in a line


def run_warnings(record: Record, analysis: Analysis | None, reference: Reference | None, more: Sequence[str] = ()) -> list[str]:
    """Lines for the top of the page, the most important first; none for a sound run.

    Args:
        record: the run.
        analysis: None without detections or annotations.
        reference: the published result, if any.
        more: lines about files, such as images that could not be read.
    """
    return [*_about_training(record), *more, *_about_evaluation(record, analysis), *_about_reference(reference)]


def _about_training(record: Record) -> list[str]:
    if record.kind != "run":
        return []
    lines = []
    done, planned = record.epochs
    if not record.training:
        lines.append("metrics.jsonl has no training steps.")
    elif not record.is_finished:
        lines.append(f"Training is not finished: {done:.1f} of {planned:g} epochs.")
    best, last = record.best, record.evaluations[-1] if record.evaluations else None
    if best is None or last is None:
        lines.append("AP was never measured during training.")
    elif best["AP"] <= 0:
        lines.append("AP is 0 in every evaluation: nothing is detected. Check the losses, then the classes and paths of the data.")
    elif best["AP"] - last["AP"] > DROP:
        lines.append(
            f"AP decreased from {100 * best['AP']:.1f} at epoch {best['epoch']:g} to {100 * last['AP']:.1f} at epoch {last['epoch']:g}; "
            "this report is about the best checkpoint."
        )
    return lines


def _about_evaluation(record: Record, analysis: Analysis | None) -> list[str]:
    if analysis is None:
        return []
    lines = []
    if not any(one.objects for one in analysis.classes):
        lines.append(f"{analysis.annotations} has no objects of these classes, so there is no AP.")
    few = [f"{one.name} {one.objects}" for one in analysis.classes if 0 < one.objects < FEW]
    if few:
        shown = ", ".join(few[:_NAMES]) + (", ..." if len(few) > _NAMES else "")
        lines.append(f"{len(few)} of {len(analysis.classes)} classes have fewer than {FEW} objects, so their AP means little: {shown}.")
    if all(record.settings[f"data.val.{key}"] == record.settings[f"data.train.{key}"] for key in ("annotations", "sets")):
        lines.append("Training and validation use the same annotations: AP measures overfitting, not what the detector does on new images.")
    return lines


def _about_reference(reference: Reference | None) -> list[str]:
    if reference is None or not reference.differences or not reference.is_same_data:
        return []
    return [f"The settings differ from the published recipe of {reference.cell.name}: {', '.join(reference.differences)}."]
