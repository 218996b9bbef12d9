"""`ttfnet data check`: finds mistakes in annotations and images."""

from __future__ import annotations

import argparse
import contextlib
from pathlib import Path

from ttfnet_tf.cli.options import CONFIG_HELP, add_overwrite, load_settings, refuse_other_keys
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.errors import UserError
from ttfnet_tf.locations import is_url
from ttfnet_tf.outputs import marked, refuse_to_overwrite
from ttfnet_tf.plain_text import printable

# Settings that decide how training treats the findings.
_KEYS = ("data.", "model.box_per_class")
_WRITER = "ttfnet data check"


def add_to(verbs) -> None:
    """Adds the verb to the group `data`."""
    verb = add_verb(
        verbs,
        "check",
        run,
        "find mistakes in annotations and images",
        "key=value",
        description="Finds what training would stop at or silently learn from; exit code 2 if there are errors.",
        epilog="Settings follow as key=value: data.* and model.box_per_class. docs/check.md lists the checks.",
        examples=(
            "ttfnet data check train.json images --val val.json images",
            "ttfnet data check train.json images --fix cleaned.json",
        ),
    )
    verb.add_argument("annotations", metavar="ANNOTATIONS", help="COCO instances JSON to train on")
    verb.add_argument("images", metavar="IMAGES", help="folder of its images")
    verb.add_argument("--val", nargs=2, metavar=("ANNOTATIONS", "IMAGES"), help="the validation set, to find leaks and other classes")
    verb.add_argument("--config", metavar="CONFIG", help=CONFIG_HELP)
    verb.add_argument("--fix", metavar="OUT", help="write cleaned training annotations there, and a list of every change beside them")
    verb.add_argument("--json", metavar="FILE", help="also write the findings there")
    add_overwrite(verb)
    verb.add_argument("--no-images", action="store_true", help="check the annotations only")
    verb.add_argument("--strict", action="store_true", help="exit code 2 for warnings too")
    verb.add_argument("--workers", type=int, default=0, metavar="N", help="images decoded at a time; default one for each processor")


def run(args: argparse.Namespace) -> int:
    """Prints the findings; returns 0, or 2 if there are errors."""
    refuse_other_keys(args.rest, _KEYS, "the findings depend on data.* and model.box_per_class only")
    config = load_settings(args.config, args.rest)
    if args.workers < 0:
        raise UserError(f"--workers {args.workers} must be 0 or more")

    from ttfnet_tf.data.packed import is_packed
    from ttfnet_tf.doctor.check import check_data
    from ttfnet_tf.doctor.findings import Settings
    from ttfnet_tf.doctor.fix import changes_path, refuse_existing, write_fixed
    from ttfnet_tf.doctor.report import report_lines
    from ttfnet_tf.files import write_json
    from ttfnet_tf.progress import ProgressMeter

    for folder in (args.images, *(args.val or ())[1:]):
        if is_url(folder) or is_packed(folder):
            raise UserError(f"{folder}: data check reads image files on a disk; check them before they are packed or uploaded")
    inputs = [args.annotations, args.config, *(args.val or ())[:1]]
    if args.json:
        refuse_to_overwrite(args.json, _WRITER, inputs=inputs, overwrite=args.overwrite)
    if args.fix:
        if args.json and Path(args.json).resolve() in (Path(args.fix).resolve(), changes_path(args.fix).resolve()):
            raise UserError(f"--json {args.json} and --fix {args.fix} write the same file; name two")
        refuse_existing(args.fix)
    data = config.data
    settings = Settings(
        image_size=data.size,
        keep_ratio=data.keep_ratio,
        crowd=data.crowd,
        min_box_size=data.min_box_size,
        min_image_size=data.min_image_size,
        empty_images=data.empty_images,
        broken_images=data.broken_images,
        box_per_class=config.model.box_per_class,
    )
    with contextlib.ExitStack() as stack:
        meters = []
        report = check_data(
            (args.annotations, args.images),
            args.val,
            settings=settings,
            with_images=not args.no_images,
            workers=args.workers,
            on_start=lambda total: meters.append(stack.enter_context(ProgressMeter("check", total))),
            on_image=lambda done: meters[0].update(done),
        )
    if data.classes:
        print(f"note: every class of the files is checked; training uses those of data.classes=[{printable(', '.join(data.classes))}]")
    print("\n".join(report_lines(report)))
    if args.json:
        write_json(Path(args.json), marked(_WRITER, report.to_json()))
        print(f"written: {args.json}")
    if args.fix:
        print("\n".join(write_fixed(report.splits[0], args.fix, settings).lines()))
    return report.exit_code(args.strict)
