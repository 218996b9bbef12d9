"""The findings as lines to print: a block for each kind."""

from __future__ import annotations

from ttfnet_tf.doctor.check import Report
from ttfnet_tf.doctor.findings import Finding, Place
from ttfnet_tf.plain_text import printable

_EXAMPLES = {  # where more than one is shown
    "category-unused": 5,
    "class-without-validation": 5,
    "class-without-usable-box": 5,
    "class-imbalance": 5,
    "categories-differ": 5,
}


def report_lines(report: Report) -> list[str]:
    """The findings of each file, worst first, and a last line with the counts."""
    lines = []
    for split in report.splits:
        lines.append(split.summary())
        for finding in split.findings:
            lines += _block(finding)
    counts = ", ".join(f"{count} {word}{'s' * (count != 1)}" for word in ("error", "warning", "note") if (count := report.count(word)))
    lines.append(f"found: {counts or 'nothing'}")
    return lines


def _block(finding: Finding) -> list[str]:
    shown = finding.places[: _EXAMPLES.get(finding.code, 1)]
    examples = "; ".join(example_text(place) for place in shown)
    more = f"; and {len(finding.places) - len(shown)} more" if len(finding.places) > len(shown) else ""
    lines = [f"  {finding.severity:8} {finding.code:26} {len(finding.places):7}  {finding.what}"]
    if examples:
        lines.append(f"           example: {examples}{more}" if len(finding.places) > 1 else f"           {examples}")
    lines.append(f"           {'evaluation' if finding.split == 'val' else 'training'}: {finding.effect}")
    return [*lines, f"           what to do: {finding.advice}"] if finding.advice else lines


def example_text(place: Place) -> str:
    """File, ids and detail of one place in one line."""
    ids = [f"{name} id {value}" for name, value in (("image", place.image_id), ("annotation", place.annotation_id)) if value is not None]
    where = " ".join(part for part in (place.file, f"({', '.join(ids)})" if ids else "") if part)
    return printable(": ".join(part for part in (where, place.detail) if part))
