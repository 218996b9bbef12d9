"""What a reader must know before believing a figure; the report begins with it."""

from __future__ import annotations

from collections.abc import Sequence

from ttfnet_tf.report.analysis import Analysis
from ttfnet_tf.report.published_results import Reference
from ttfnet_tf.report.run_record import Record

FALL = 0.02  # of AP since the best evaluation, above what neighbouring epochs differ by
FEW = 20  # objects of a class, below which its AP says little
_NAMES = 5  # classes that a line lists


def remarks(record: Record, analysis: Analysis | None, reference: Reference | None, more: Sequence[str] = ()) -> list[str]:
    """Lines for the top of the page, the weightiest first; none for a sound run.

    Args:
        record: the run.
        analysis: None where there are no detections or annotations.
        reference: of the published figures.
        more: lines about files, such as images that could not be read.
    """
    return [*_about_training(record), *more, *_about_measuring(record, analysis), *_about_reference(reference)]


def _about_training(record: Record) -> list[str]:
    if record.kind != "run":
        return []
    lines = []
    done, planned = record.epochs
    if not record.training:
        lines.append("No step of training is logged in metrics.jsonl.")
    elif not record.is_finished:
        lines.append(f"Training is not finished: {done:.1f} of {planned} epochs.")
    best, last = record.best, record.evaluations[-1] if record.evaluations else None
    if best is None or last is None:
        lines.append("AP was never measured during training.")
    elif best["AP"] <= 0:
        lines.append("AP is 0 in every evaluation: nothing is found. See the losses, then the classes and paths of the data.")
    elif best["AP"] - last["AP"] > FALL:
        lines.append(
            f"AP fell from {100 * best['AP']:.1f} at epoch {best['epoch']:g} to {100 * last['AP']:.1f} at epoch {last['epoch']:g}; "
            "the report is about the best one."
        )
    return lines


def _about_measuring(record: Record, analysis: Analysis | None) -> list[str]:
    if analysis is None:
        return []
    lines = []
    if not any(one.objects for one in analysis.classes):
        lines.append(f"{analysis.annotations}: holds no objects of these classes, so there is no AP.")
    few = [f"{one.name} {one.objects}" for one in analysis.classes if 0 < one.objects < FEW]
    if few:
        shown = ", ".join(few[:_NAMES]) + (", ..." if len(few) > _NAMES else "")
        lines.append(f"{len(few)} of {len(analysis.classes)} classes have fewer than {FEW} objects to measure AP on: {shown}.")
    if record.settings["data.val.annotations"] == record.settings["data.train.annotations"]:
        lines.append("Trained and measured on the same annotations: AP says what was learned by heart.")
    return lines


def _about_reference(reference: Reference | None) -> list[str]:
    if reference is None or not reference.differences or not reference.is_same_data:
        return []
    return [f"The run departs from the published recipe of {reference.cell.name}: {', '.join(reference.differences)}."]
