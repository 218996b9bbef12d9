"""`ttfnet report`: one HTML page about a run, or about several side by side. `add_verb` puts it beside the other verbs."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ttfnet_tf.cli import parser
from ttfnet_tf.cli.parser import positive
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.evaluate_run import evaluation_settings


def add_verb(verbs) -> None:
    """Adds `report` to the sub-commands of a parser; its function is `args.command`, to be called with `args`."""
    verb = parser.add_verb(
        verbs,
        "report",
        report,
        "one HTML page about a run, or several side by side",
        "key=value",
        description=report.__doc__,
        epilog="Settings follow as key=value, e.g. data.val.annotations=FILE; docs/report.md says how to read the page.",
        examples=("ttfnet report runs/demo", "ttfnet report runs/demo runs/short --out both.html"),
    )
    verb.add_argument("runs", metavar="RUN", nargs="+", help="work directory, checkpoint in one, or exported model; several are compared")
    verb.add_argument("--out", metavar="FILE", help="default RUN/report.html; for several runs comparison.html")
    verb.add_argument(
        "--score-threshold", type=float, default=0.3, metavar="S", help="of confusion matrix and images; AP takes all; default 0.3"
    )
    verb.add_argument("--images", type=int, default=6, metavar="N", help="best and worst images, N of each; default 6")
    verb.add_argument("--batch-size", type=int, default=8, metavar="N", help="images of one call where the run is measured first")


def report(args: argparse.Namespace) -> None:
    """Writes one HTML file about a run: curves, figures, classes, errors, images, data, settings; or compares several runs."""
    words = [*args.runs, *args.rest]
    overrides = [word for word in words if _is_override(word)]
    runs = [word for word in words if not _is_override(word)]
    if not runs:
        raise UserError("name at least one RUN before the settings; see ttfnet report --help")
    if not 0 <= args.score_threshold < 1:
        raise UserError(f"--score-threshold {args.score_threshold:g} must lie in 0..1, 1 excluded")
    if args.images < 0:
        raise UserError(f"--images {args.images} must be 0 or more")
    batch_size = positive(args.batch_size, "--batch-size")
    for run in runs:
        evaluation_settings(run, overrides)  # what is wrong with them is told before TensorFlow starts

    from ttfnet_tf.progress import working

    with working("starting TensorFlow"):
        from ttfnet_tf.report.write_report import write_report

    file = write_report(runs, args.out, overrides, score_threshold=args.score_threshold, images=args.images, batch_size=batch_size)
    print(f"written: {file}")


def _is_override(word: str) -> bool:
    """key=value, unless there is a file of that name."""
    return re.match(r"[a-z_]+(\.[a-z_0-9]+)*=", word) is not None and not Path(word).exists()
