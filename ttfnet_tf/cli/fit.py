"""`ttfnet fit`: the best detector that fits into a time, from a data set alone."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path

from ttfnet_tf.cli.data.convert import with_progress
from ttfnet_tf.cli.options import check_timed_data
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.formats.detect_format import FORMATS

LEAST_MINUTES, MOST_MINUTES = 1.0, 10_080.0


def add_to(verbs) -> None:
    """Adds the verb to a parser."""
    verb = add_verb(
        verbs,
        "fit",
        run,
        "the best detector that fits into a time",
        "key=value",
        description="Trains on a data set of any known format for so many minutes, evaluation, report and export included; decides all "
        "settings and says why. The same command goes on where it was interrupted.",
        epilog="Settings follow as key=value and stand above what is decided, e.g. model.pretrained=FILE. docs/fit.md has the rules.",
        examples=(
            "ttfnet fit dataset/data.yaml --minutes 20",
            "ttfnet fit annotations/train.json --images photos --minutes 60 --work-dir runs/mine model.pretrained=timm/resnet18.tv_in1k",
        ),
    )
    verb.add_argument("data", metavar="DATA", help="COCO file, YOLO data.yaml, CSV file, VOC folder, or a folder with one of them")
    verb.add_argument("--minutes", type=float, default=20.0, metavar="M", help="of the whole command; default 20")
    verb.add_argument("--work-dir", metavar="RUN", help="for everything that is written; default runs/fit-<name of DATA>")
    verb.add_argument("--from", dest="from_format", choices=FORMATS, help="format of DATA; default detected")
    verb.add_argument("--images", metavar="FOLDER", help="folder of the images, if they are not in their usual place")


def run(args: argparse.Namespace) -> None:
    """Fits, prints each decision, and at the end the figures and the next commands."""
    started = time.monotonic()
    check_timed_data(args, "fit", LEAST_MINUTES, MOST_MINUTES)
    source = Path(args.data)
    work_dir = Path(args.work_dir or Path("runs") / f"fit-{source.absolute().stem}")

    from ttfnet_tf.fit.run import Request, settings_of_fit, train_and_export

    request = Request(
        source,
        minutes=args.minutes,
        from_format=args.from_format,
        images=None if args.images is None else Path(args.images),
        overrides=tuple(args.rest),
    )
    config = settings_of_fit(request, work_dir, say=lambda line: print(line, flush=True), progress=with_progress)
    result = train_and_export(config, work_dir, started=started)
    if not result.finished:
        print(f"{work_dir}: stopped and saved at step {result.step}; the same command goes on and keeps its time")
        return
    metrics = result.metrics
    figures = "  ".join(f"{name} {metrics[name]:.3f}" for name in ("AP", "AP50", "AP75") if metrics.get(name, -1) >= 0)
    print(f"{work_dir}: {figures or 'no AP'} after {result.step} steps; this command took {(time.monotonic() - started) / 60:.1f} minutes")
    print(f"report: {result.report}")
    print(f"model: {result.model}")
    print(f"settings: {work_dir / 'fit.yaml'}; without a clock: ttfnet train {shlex.quote(str(work_dir / 'repeat.yaml'))} --work-dir DIR")
    print(f"predict: ttfnet predict {shlex.quote(str(work_dir))} IMAGES --out drawings")
    print(f"export: ttfnet export {shlex.quote(str(work_dir))} --out models --format tflite")
