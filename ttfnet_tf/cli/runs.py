"""`ttfnet train|evaluate`: a run is made and measured. `add_verbs` puts them beside the other verbs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ttfnet_tf.cli.parser import RUN_HELP, add_verb, positive
from ttfnet_tf.config import load_config
from ttfnet_tf.evaluation.evaluate_run import measure


def add_verbs(verbs) -> None:
    """Adds the two to the sub-commands of a parser; the function of each is `args.command`, to be called with `args`."""
    verb = add_verb(
        verbs,
        "train",
        train,
        "train, or go on with the run in the work directory",
        "key=value",
        epilog="Settings follow as key=value, e.g. train.batch_size=8; docs/settings.md lists them.",
        examples=(
            "ttfnet train configs/demo.yaml --work-dir runs/demo",
            "ttfnet train configs/demo.yaml --work-dir runs/short train.epochs=2 optim.drop_epochs=[]",
        ),
    )
    verb.add_argument("config", metavar="CONFIG", help="YAML file, e.g. configs/demo.yaml")
    verb.add_argument("--work-dir", metavar="DIR", help="for checkpoints and figures; default runs/<name of CONFIG>")

    verb = add_verb(
        verbs,
        "evaluate",
        evaluate,
        "the 12 COCO numbers and the AP of each class",
        "key=value",
        description="Prints the 12 COCO numbers and the AP of each class; writes detections.json.",
        examples=(
            "ttfnet evaluate runs/demo",
            "ttfnet evaluate runs/demo data.val.annotations=test.json data.val.images=test",
        ),
    )
    verb.add_argument("run", metavar="RUN", help=RUN_HELP)
    verb.add_argument("--out", metavar="DIR", help="for detections.json; default RUN/eval/<step>")
    verb.add_argument("--batch-size", type=int, default=8, metavar="N", help="images of one call; does not change the result")


def train(args: argparse.Namespace) -> None:
    """Trains, or goes on with the run in the work directory."""
    config = load_config(args.config, args.rest)
    from ttfnet_tf.progress import working

    with working("starting TensorFlow"):
        from ttfnet_tf.training.loop import run_training

    work_dir = Path(args.work_dir or Path("runs") / Path(args.config).stem)
    result = run_training(config, work_dir)
    if result.finished:
        print(f"{work_dir}: done, {result.step} steps; next: ttfnet report {work_dir}, or ttfnet predict {work_dir} IMAGE --out DIR")
        if config.train.report and result.writes:
            from ttfnet_tf.report.write_report import write_report

            print(f"written: {write_report([work_dir])}")
    else:
        print(f"{work_dir}: stopped and saved at step {result.step}; the same command goes on from there")


def evaluate(args: argparse.Namespace) -> None:
    """Prints the 12 COCO numbers and the AP of each class; writes detections.json."""
    measured = measure(args.run, args.rest, batch_size=positive(args.batch_size, "--batch-size"), out=args.out)
    skipped = f", {measured.skipped} of them skipped" if measured.skipped else ""
    print(f"{args.run}, step {measured.step}, on {measured.split.annotations} ({measured.result.num_images} images{skipped})")
    print(measured.result.table())
    print(f"written: {measured.file}")
