"""`ttfnet replay`: computes the step at which a run diverged once more."""

from __future__ import annotations

import argparse
from pathlib import Path

from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.errors import UserError


def add_to(verbs) -> None:
    """Adds the verb to a parser."""
    verb = add_verb(
        verbs,
        "replay",
        run,
        "repeat the step at which a run diverged",
        "key=value",
        description="Repeats a recorded step and prints its losses, images and layers beside what training saw.",
        epilog="Settings follow as key=value, e.g. train.precision=float32.",
        examples=(
            "ttfnet replay runs/demo/divergence/step-12",
            "ttfnet replay runs/demo/divergence/step-12 train.precision=float32",
        ),
    )
    verb.add_argument("record", metavar="RECORD", help="folder that training has written, e.g. RUN/divergence/step-12")


def run(args: argparse.Namespace) -> None:
    """Repeats the step, and prints the comparison."""
    if not (Path(args.record) / "report.json").is_file():
        raise UserError(f"{args.record}: holds no report.json; name a folder such as RUN/divergence/step-12 that training has written")

    from ttfnet_tf.progress import working

    with working(f"repeating {args.record}"):
        from ttfnet_tf.training.replay import describe, replay, same_figures

        report, found = replay(args.record, args.rest)
    print(describe(report, found))
    if same_figures(report["found"], found):
        print("the same figures as in training")
    else:
        print("other figures than in training" + (" (settings were changed)" if args.rest else ""))
