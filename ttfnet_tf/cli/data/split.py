"""`ttfnet data split`: training, validation and test files, or folds, from one COCO file."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from ttfnet_tf.cli.options import add_overwrite
from ttfnet_tf.cli.parser import add_verb


def add_to(verbs) -> None:
    """Adds the verb to the group `data`."""
    verb = add_verb(
        verbs,
        "split",
        run,
        "training, validation and test files from one COCO file",
        description="Splits a COCO file by a seed into train.json, val.json and test.json, or into folds. Every class gets its fraction in"
        " each part, and copies and near-copies of an image stay in one part.",
        epilog="docs/formats.md has the rules.",
        examples=(
            "ttfnet data split all.json images --out data/mine",
            "ttfnet data split all.json images --out data/mine --val 0.2 --test 0.1",
            "ttfnet data split all.json images --out data/folds --folds 5",
        ),
    )
    verb.add_argument("annotations", metavar="ANNOTATIONS", help="COCO instances JSON")
    verb.add_argument("images", metavar="IMAGES", nargs="?", help="folder of its images; without it, copies are not looked for")
    verb.add_argument("--out", metavar="DIR", required=True, help="for the files")
    verb.add_argument("--val", type=float, metavar="F", help="fraction for validation; default 0.15, but 20 to 1000 images")
    verb.add_argument("--test", type=float, default=0.0, metavar="F", help="fraction for a test file; default 0, which makes none")
    verb.add_argument("--folds", type=int, metavar="K", help="K pairs of training and validation files, for cross-validation")
    verb.add_argument("--seed", type=int, default=0, metavar="N", help="another one makes another split; default 0")
    add_overwrite(verb)


def run(args: argparse.Namespace) -> None:
    """Splits, and prints what was written."""
    from ttfnet_tf.errors import UserError
    from ttfnet_tf.formats.split_coco import split_coco
    from ttfnet_tf.progress import ProgressMeter

    if args.seed < 0:
        raise UserError(f"--seed {args.seed} must be 0 or more")
    images = None if args.images is None else Path(args.images)
    with contextlib.ExitStack() as stack:
        meters: list[ProgressMeter] = []
        report = split_coco(
            Path(args.annotations),
            images,
            Path(args.out),
            val=args.val,
            test=args.test,
            folds=args.folds,
            seed=args.seed,
            overwrite=args.overwrite,
            on_start=lambda total: meters.append(stack.enter_context(ProgressMeter("compare", total))),
            on_image=lambda done: meters[0].update(done),
        )
    print("\n".join(report.lines))
    if images is not None and args.folds is None:
        parts = [f"data.{name}.annotations={report.files[name]} data.{name}.images={images}" for name in report.files if name != "test"]
        print(f"settings: {' '.join(parts)}")
