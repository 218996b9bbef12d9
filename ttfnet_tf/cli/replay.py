"""`ttfnet replay`: the step at which a run diverged, computed again. `add_verb` puts it beside the other verbs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ttfnet_tf.cli import parser
from ttfnet_tf.errors import UserError


def add_verb(verbs) -> None:
    """Adds `replay` to the sub-commands of a parser; its function is `args.command`, to be called with `args`."""
    verb = parser.add_verb(
        verbs,
        "replay",
        run,
        "compute the step at which a run diverged again",
        "key=value",
        description="Prints losses, images and layers of a recorded step beside what training saw.",
        epilog="Settings follow as key=value, e.g. train.precision=float32.",
        examples=(
            "ttfnet replay runs/demo/divergence/step-12",
            "ttfnet replay runs/demo/divergence/step-12 train.precision=float32",
        ),
    )
    verb.add_argument("record", metavar="RECORD", help="folder that training wrote, e.g. RUN/divergence/step-12")


def run(args: argparse.Namespace) -> None:
    """Computes a recorded step again; prints its losses, images and layers beside what training saw."""
    if not (Path(args.record) / "report.json").is_file():
        raise UserError(f"{args.record}: holds no report.json; name a folder such as RUN/divergence/step-12 that training has written")

    from ttfnet_tf.progress import working

    with working(f"computing {args.record} again"):
        from ttfnet_tf.training.replay import describe, replay, same_figures

        report, found = replay(args.record, args.rest)
    print(describe(report, found))
    if same_figures(report["found"], found):
        print("the same figures as when it happened")
    else:
        print("other figures than when it happened" + (" (settings were changed)" if args.rest else ""))
