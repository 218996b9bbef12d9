"""`ttfnet tune`: the best of a few settings for a data set, within a time."""

from __future__ import annotations

import argparse
import importlib
import math
import shlex
import time
from pathlib import Path

from ttfnet_tf.cli.data.convert import with_progress
from ttfnet_tf.cli.options import check_timed_data
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.detect_format import FORMATS

LEAST_MINUTES, MOST_MINUTES = 3.0, 43_200.0
LEAST_TRIAL_MINUTES = 1.0


def add_to(verbs) -> None:
    """Adds the verb to a parser."""
    verb = add_verb(
        verbs,
        "tune",
        run,
        "the best of a few settings, by trials, within a time",
        "key=value",
        description="Trains on a data set again and again with other settings, around what ttfnet fit decides, for so many minutes, and "
        "says which settings are the best. The same command goes on where it was interrupted, and with more minutes adds trials.",
        epilog="A setting that follows as key=value stays as it is and is not tuned. docs/tune.md has the rules.",
        examples=(
            "ttfnet tune dataset/data.yaml --minutes 120",
            "ttfnet tune annotations/train.json --images photos --minutes 600 --trial-minutes 20 --work-dir studies/mine augment.flip=0",
        ),
    )
    verb.add_argument("data", metavar="DATA", help="COCO file, YOLO data.yaml, CSV file, VOC folder, or a folder with one of them")
    verb.add_argument("--minutes", type=float, default=120.0, metavar="M", help="of the whole study; default 120")
    verb.add_argument("--trial-minutes", type=float, metavar="M", help="of each trial; default a twelfth of --minutes, at least 1")
    verb.add_argument("--work-dir", metavar="STUDY", help="for everything that is written; default runs/tune-<name of DATA>")
    verb.add_argument("--from", dest="from_format", choices=FORMATS, help="format of DATA; default detected")
    verb.add_argument("--images", metavar="FOLDER", help="folder of the images, if they are not in their usual place")


def run(args: argparse.Namespace) -> None:
    """Tunes, prints each trial, and at the end the table and the next commands."""
    started = time.monotonic()
    _check_options(args)
    source = Path(args.data)
    folder = Path(args.work_dir or Path("runs") / f"tune-{source.absolute().stem}")

    from ttfnet_tf.fit.run import checked_settings
    from ttfnet_tf.tune.record import BEST, TABLE, Request, record_of
    from ttfnet_tf.tune.results import run_folder, table
    from ttfnet_tf.tune.run import tune
    from ttfnet_tf.tune.trials import best_of

    request = Request(
        source,
        minutes=args.minutes,
        trial_minutes=args.trial_minutes,
        from_format=args.from_format,
        images=None if args.images is None else Path(args.images),
        overrides=tuple(args.rest),
    )
    checked_settings(request.overrides)
    record_of(request, folder)
    record, trials, complete = tune(
        request,
        folder,
        started=started,
        say=lambda line: print(line, flush=True),
        progress=with_progress,
        study_of=_optuna_study(),
    )
    if trials:
        print("\n".join(table(trials, record.space or [])))
    best, first = best_of(trials), next((trial for trial in trials if trial.state == "done" and not trial.number), None)
    if not complete:
        print(f"{folder}: stopped and saved after {record.used / 60:.1f} minutes; the same command goes on and keeps its time")
        return
    if best is None:
        raise UserError(f"{folder}: no trial has ended in the time; give it more --minutes, or fewer --trial-minutes")
    than = "" if first is None or best is first else f"; what ttfnet fit decides has {first.average_precision:.3f}"
    print(f"{folder}: AP {best.average_precision:.3f} by trial {best.number:03d}{than}; the study took {record.used / 60:.1f} minutes")
    best_run, settings = shlex.quote(str(run_folder(folder, best))), shlex.quote(str(folder / BEST))
    print(f"table: {folder / TABLE}")
    print(f"settings: {folder / BEST}; the same run again: ttfnet train {settings} --work-dir DIR")
    print(f"longer: ttfnet train {settings} --work-dir DIR train.minutes={math.ceil(4 * record.trial_minutes)}")
    print(f"predict: ttfnet predict {best_run} IMAGES --out drawings")
    print(f"export: ttfnet export {best_run} --out models")


def _check_options(args: argparse.Namespace) -> None:
    """Raises UserError for options that cannot be."""
    check_timed_data(args, "tune", LEAST_MINUTES, MOST_MINUTES)
    if args.trial_minutes is not None and not LEAST_TRIAL_MINUTES <= args.trial_minutes <= args.minutes / 2:
        raise UserError(
            f"--trial-minutes {args.trial_minutes:g} must lie in {LEAST_TRIAL_MINUTES:g}..{args.minutes / 2:g}, half of --minutes"
        )


def _optuna_study():
    """The class of a study.

    Raises:
        UserError: Optuna is not installed.
    """
    try:
        importlib.import_module("optuna")
    except ImportError:
        raise UserError("tune: needs optuna, which is not installed; pip install 'ttfnet-tf[tune]'") from None
    from ttfnet_tf.tune.optuna_study import OptunaStudy

    return OptunaStudy
