"""`ttfnet train|evaluate|predict`: a run is made, measured and used. `add_verbs` puts them beside the other verbs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ttfnet_tf.cli.parser import RUN_HELP, add_verb, positive
from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.export.load import find_exported
from ttfnet_tf.measure import measure
from ttfnet_tf.run_folder import work_directory


def add_verbs(verbs) -> None:
    """Adds the three to the sub-commands of a parser; the function of each is `args.command`, to be called with `args`."""
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
    verb.add_argument("--batch-size", type=int, default=8, metavar="N", help="pictures of one call; does not change the result")

    verb = add_verb(
        verbs,
        "predict",
        predict,
        "draw the detections on pictures",
        "SOURCE",
        description="Draws the detections on pictures and writes them to one detections.json.",
        examples=(
            "ttfnet predict runs/demo picture.jpg folder --out drawings",
            "ttfnet predict runs/demo 'photos/*.jpg' --out drawings --score-threshold 0.5",
        ),
    )
    verb.add_argument("run", metavar="RUN", help=RUN_HELP)
    verb.add_argument("sources", metavar="SOURCE", nargs="+", help="picture, folder of pictures or quoted pattern")
    verb.add_argument("--out", metavar="DIR", required=True, help="for the drawings and detections.json")
    verb.add_argument("--score-threshold", type=float, default=0.3, metavar="S", help="only detections above it; default 0.3")
    verb.add_argument("--batch-size", type=int, default=8, metavar="N", help="pictures of one call; default 8")


def train(args: argparse.Namespace) -> None:
    """Trains, or goes on with the run in the work directory."""
    config = load_config(args.config, args.rest)
    from ttfnet_tf.progress import working

    with working("starting TensorFlow"):
        from ttfnet_tf.train import run_training

    work_dir = Path(args.work_dir or Path("runs") / Path(args.config).stem)
    result = run_training(config, work_dir)
    if result.finished:
        print(f"{work_dir}: done, {result.step} steps; next: ttfnet report {work_dir}, or ttfnet predict {work_dir} PICTURE --out DIR")
        if config.train.report and result.writes:
            from ttfnet_tf.report.write import write_report

            print(f"written: {write_report([work_dir])}")
    else:
        print(f"{work_dir}: stopped and saved at step {result.step}; the same command goes on from there")


def evaluate(args: argparse.Namespace) -> None:
    """Prints the 12 COCO numbers and the AP of each class; writes detections.json."""
    measured = measure(args.run, args.rest, batch_size=positive(args.batch_size, "--batch-size"), out=args.out)
    skipped = f", {measured.skipped} of them skipped" if measured.skipped else ""
    print(f"{args.run}, step {measured.step}, on {measured.split.annotations} ({measured.result.num_pictures} pictures{skipped})")
    print(measured.result.table())
    print(f"written: {measured.file}")


def predict(args: argparse.Namespace) -> None:
    """Draws the detections on pictures and writes them to one JSON."""
    if not find_exported(args.run):
        load_config(work_directory(args.run) / "config.yaml")
    batch_size = positive(args.batch_size, "--batch-size")
    if not 0 <= args.score_threshold < 1:
        raise UserError(f"--score-threshold {args.score_threshold:g} must lie in 0..1, 1 excluded")

    from ttfnet_tf.predict import find_pictures, predict_files, prepare_output
    from ttfnet_tf.progress import ProgressMeter, working

    pictures, failures = find_pictures([*args.sources, *args.rest])
    if not pictures:
        others = f", and nothing in {len(failures) - 1} more" if len(failures) > 1 else ""
        raise UserError(f"{failures[0].reason}{others}; name a picture, a folder of pictures or a quoted pattern")
    for failure in failures:
        print(f"ttfnet: {failure.reason}", file=sys.stderr)
    prepare_output(args.out)

    with working(f"loading {args.run}"):
        from ttfnet_tf.detector import Detector

        detector = Detector.load(args.run, score_threshold=args.score_threshold)
    with ProgressMeter("predict", len(pictures)) as meter:
        done, found = predict_files(
            detector.batch,
            pictures,
            args.out,
            colour_of={category_id: index for index, category_id in enumerate(detector.category_ids)},
            about={"run": str(args.run), "score_threshold": args.score_threshold},
            failures=failures,
            batch_size=min(batch_size, len(pictures)),
            on_failure=lambda line: meter.message(f"ttfnet: {line}"),
            on_batch=meter.update,
        )
    failed = len(pictures) - done + len(failures)
    print(f"{done} pictures, {found} detections, {failed} failed; drawings and detections.json in {args.out}")
    if not done:
        raise UserError("none of the pictures could be read")
