"""`ttfnet train`: trains a network, or resumes the run in the work directory."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.config import load_config
from ttfnet_tf.errors import LostWorkerError
from ttfnet_tf.locations import is_url, location
from ttfnet_tf.plain_text import printable
from ttfnet_tf.recipes import recipes

_REPORT = 0.5  # see `RunTime.after`


def add_to(verbs) -> None:
    """Adds the verb to a parser."""
    verb = add_verb(
        verbs,
        "train",
        run,
        "train, or resume the run in the work directory",
        "key=value",
        epilog="Settings follow as key=value, e.g. train.batch_size=8; docs/settings.md lists them.",
        examples=(
            "ttfnet train ttfnet_r18_1x --work-dir runs/mine train.batch_size=8",
            "ttfnet train configs/demo.yaml --work-dir runs/short train.epochs=2 optim.drop_epochs=[]",
        ),
    )
    verb.add_argument("config", metavar="CONFIG", help="YAML file, or the name of a recipe, e.g. ttfnet_r18_1x")
    verb.add_argument("--list", action=_ListRecipes, nargs=0, help="print the recipes that come with the package, and stop")
    verb.add_argument("--work-dir", metavar="DIR", help="for checkpoints and metrics; default runs/<name of CONFIG>")


class _ListRecipes(argparse.Action):
    """Prints the recipes and ends the program, as --help does."""

    def __call__(self, parser, namespace, values, option_string=None):
        known = recipes()
        width = max(map(len, known))
        print("\n".join(f"{name:{width}}  {sentence}" for name, sentence in known.items()))
        parser.exit()


def run(args: argparse.Namespace) -> None:
    """Trains to the end or to a signal, and prints what to do next."""
    started = time.monotonic()
    config = load_config(args.config, args.rest)
    from ttfnet_tf.progress import working
    from ttfnet_tf.training.tracking import refuse_missing

    refuse_missing(config.train.log_to)
    work_dir = location(args.work_dir or Path("runs") / Path(args.config).stem)
    if config.model.pretrained and not (work_dir / "config.yaml").exists():  # a run that resumes does not read them
        from ttfnet_tf.weights.files import refuse_damaged

        refuse_damaged(config.model.pretrained)
    with working("starting TensorFlow"):
        from ttfnet_tf.training.run import run_training
        from ttfnet_tf.training.time_budget import RunTime

    try:
        result = run_training(config, work_dir, RunTime(started, _REPORT if config.train.report else 0.0))
    except LostWorkerError as error:
        # TensorFlow's threads wait for the lost worker: its usual end takes seconds and prints about them.
        print(f"ttfnet: {printable(str(error))}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(2)
    if not result.finished:
        print(f"{work_dir}: stopped and saved at step {result.step}; the same command resumes it")
        return
    print(f"{work_dir}: done, {result.step} steps; next: ttfnet report {work_dir}, or ttfnet predict {work_dir} IMAGE --out DIR")
    if config.train.report and result.writes:
        from ttfnet_tf.report.write_report import write_report

        report = write_report([work_dir])
        if is_url(work_dir):
            (work_dir / report.name).upload(report)
            report = work_dir / report.name
        print(f"written: {report}")
