"""`ttfnet train|evaluate|predict`: a run is made, measured and used. `add_verbs` puts them beside the other verbs."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.cli.parser import RUN_HELP, add_verb, positive
from ttfnet_tf.config import Config, config_of, load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.export.load import Exported, find_exported
from ttfnet_tf.run_folder import work_directory

# Keys that evaluation may set; the others define the trained network and stay as they were.
_EVALUATION_KEYS = ("data.", "decode.")


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
        print(f"{work_dir}: done, {result.step} steps; next: ttfnet predict {work_dir} PICTURE --out DIR")
    else:
        print(f"{work_dir}: stopped and saved at step {result.step}; the same command goes on from there")


def evaluate(args: argparse.Namespace) -> None:
    """Prints the 12 COCO numbers and the AP of each class; writes detections.json."""
    for override in args.rest:
        if not override.startswith(_EVALUATION_KEYS):
            raise UserError(f"override '{override}': evaluation takes data.* and decode.* keys; the rest is part of the trained model")
    exported = find_exported(args.run)
    config = _settings_of(exported, args.rest) if exported else load_config(work_directory(args.run) / "config.yaml", args.rest)
    batch_size = positive(args.batch_size, "--batch-size")

    from ttfnet_tf.progress import ProgressMeter, working

    with working(f"loading {args.run}"):
        from ttfnet_tf.data.pipeline import PictureNotes
        from ttfnet_tf.evaluate import evaluate as run_evaluation

        split, predict, step, out = _to_measure(args.run, exported, config, batch_size)
    notes = PictureNotes()
    with ProgressMeter("evaluate", len(split.pictures)) as meter:
        result = run_evaluation(
            predict,
            split,
            image_size=tuple(config.data.image_size),
            batch_size=batch_size,
            score_threshold=config.decode.score_threshold,
            broken_pictures=config.data.broken_pictures,
            workers=config.data.workers,
            notes=notes,
            on_batch=meter.update,
        )
        for line in notes.new_lines():
            meter.message(f"ttfnet: {line}")
    file = result.write(args.out or out)
    skipped = f", {len(notes.broken)} of them skipped" if notes.broken else ""
    print(f"{args.run}, step {step}, on {split.annotations} ({result.num_pictures} pictures{skipped})")
    print(result.table())
    print(f"written: {file}")


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


def _to_measure(run: str, exported: Exported | None, config: Config, batch_size: int):
    """The pictures, the function that detects on a batch of them, the step of its weights, and the folder for the result."""
    from ttfnet_tf import build
    from ttfnet_tf.evaluate import check_classes

    split = build.load_split(config, "val")
    if exported:
        check_classes(split, exported.class_names, exported.category_ids)
        # Not into the version folder, which a server may be reading.
        return split, exported.predict_function(batch_size), exported.step, exported.path.parent / "eval" / exported.path.name

    from ttfnet_tf.checkpoint import load_run
    from ttfnet_tf.inference import predict_function

    loaded = load_run(run)
    check_classes(split, loaded.labels.class_names, loaded.labels.category_ids)
    decode = build.method_of(config, split.num_classes).decode
    image_size = tuple(config.data.image_size)
    predict = predict_function(loaded.model, decode, image_size=image_size, batch_size=batch_size, weights="constants")
    return split, predict, loaded.step, loaded.folder / "eval" / str(loaded.step)


def _settings_of(exported: Exported, overrides: Sequence[str]) -> Config:
    """The settings of an exported model; what is built into its graph cannot be set any more."""
    config = config_of(exported.card["config"], overrides, source=str(exported.path))
    for key, is_possible in (
        ("data.image_size", tuple(config.data.image_size) == exported.image_size),
        ("decode.top_k", config.decode.top_k == exported.card["top_k"]),
        ("decode.score_threshold", config.decode.score_threshold >= exported.score_threshold),
    ):
        if not is_possible:
            built_in = exported.card[key.rpartition(".")[2]]
            raise UserError(f"{exported.path}: was exported with {key}={built_in}, which is part of it; export the run again with another")
    return config
