"""`ttfnet report`: one HTML page about a run, or about several side by side."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from ttfnet_tf.cli.options import add_overwrite, positive, threshold
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.evaluate_run import evaluation_settings
from ttfnet_tf.outputs import refuse_to_overwrite

COMPARISON = "comparison.html"  # of several runs, in the current folder


def add_to(verbs) -> None:
    """Adds the verb to a parser."""
    verb = add_verb(
        verbs,
        "report",
        run,
        "one HTML page about a run, or several side by side",
        "key=value",
        description="Writes an HTML page about a run: curves, figures, classes, errors, images, data, settings; or compares several runs.",
        epilog="Settings follow as key=value, e.g. data.val.annotations=FILE; docs/report.md explains the page.",
        examples=("ttfnet report runs/demo", "ttfnet report runs/demo runs/short --out both.html"),
    )
    verb.add_argument("runs", metavar="RUN", nargs="+", help="work directory, checkpoint or exported model; several are compared")
    verb.add_argument("--out", metavar="FILE", help="the page; default RUN/report.html, for several runs comparison.html")
    add_overwrite(verb)
    verb.add_argument(
        "--score-threshold", type=float, default=0.3, metavar="S", help="for confusion matrix and images, not for AP; default 0.3"
    )
    verb.add_argument("--images", type=int, default=6, metavar="N", help="N best and N worst images; default 6")
    verb.add_argument("--batch-size", type=int, default=8, metavar="N", help="images of one call, if it must be evaluated first; default 8")


def run(args: argparse.Namespace) -> None:
    """Writes the page, and prints where."""
    words = [*args.runs, *args.rest]
    overrides = [word for word in words if _is_override(word)]
    runs = [word for word in words if not _is_override(word)]
    if not runs:
        raise UserError("name at least one RUN before the settings; see ttfnet report --help")
    threshold(args.score_threshold, f"--score-threshold {args.score_threshold:g}")
    if args.images < 0:
        raise UserError(f"--images {args.images} must be 0 or more")
    batch_size = positive(args.batch_size, "--batch-size")
    configs = [evaluation_settings(one, overrides)[0] for one in runs]  # checks them before TensorFlow starts
    if args.out or len(runs) > 1:
        inputs = [one.annotations for config in configs for one in (*config.data.train.files, *config.data.val.files)]
        refuse_to_overwrite(args.out or COMPARISON, "ttfnet report", inputs=inputs, overwrite=args.overwrite)

    from ttfnet_tf.progress import working

    with working("starting TensorFlow"):
        from ttfnet_tf.report.write_report import write_report

    file = write_report(runs, args.out, overrides, score_threshold=args.score_threshold, images=args.images, batch_size=batch_size)
    print(f"written: {file}")


def _is_override(word: str) -> bool:
    """Whether a word is key=value and no file of that name exists."""
    return re.match(r"[a-z_]+(\.[a-z_0-9]+)*=", word) is not None and not Path(word).exists()
