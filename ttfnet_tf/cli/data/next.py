"""`ttfnet data next`: the images that are worth labelling next."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ttfnet_tf.cli.options import RUN_HELP, add_overwrite, positive, threshold
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.exported_model import find_exported
from ttfnet_tf.locations import is_url
from ttfnet_tf.outputs import refuse_to_overwrite
from ttfnet_tf.plain_text import printable
from ttfnet_tf.runs.run_folder import read_labels, work_directory

_SHOWN = 10  # lines without --out


def add_to(verbs) -> None:
    """Adds the verb to the group `data`."""
    verb = add_verb(
        verbs,
        "next",
        run,
        "the images worth labelling next, by a run's doubts",
        description="Ranks images by how unsure a detector is of its detections: the sum of 1 - |2 s - 1| over their scores s. Of copies of"
        " an image only one is taken.",
        epilog="docs/next_images.md has the whole round.",
        examples=(
            "ttfnet data next runs/mine unlabelled --out next.csv",
            "ttfnet data next runs/mine 'unlabelled/**/*' --count 50 --out next.json",
        ),
    )
    verb.add_argument("run", metavar="RUN", help=RUN_HELP)
    verb.add_argument("sources", metavar="SOURCE", nargs="+", help="image, folder of images or quoted pattern")
    verb.add_argument("--out", metavar="FILE", help="the list, .csv or .json; default: the first are printed")
    add_overwrite(verb)
    verb.add_argument("--count", type=int, default=100, metavar="N", help="images to choose; default 100")
    verb.add_argument("--score-threshold", type=float, default=0.1, metavar="S", help="only detections above it count; default 0.1")
    verb.add_argument("--batch-size", type=int, default=8, metavar="N", help="images of one call; default 8")


def run(args: argparse.Namespace) -> None:
    """Ranks the images, and prints or writes the first of them."""
    count, batch_size = positive(args.count, "--count"), positive(args.batch_size, "--batch-size")
    least = threshold(args.score_threshold, f"--score-threshold {args.score_threshold:g}")
    if not find_exported(args.run):
        read_labels(work_directory(args.run))

    from ttfnet_tf.inference.image_files import find_images
    from ttfnet_tf.inference.next_images import WRITER, candidates_of, choose, copies_among, is_own_table, next_csv, next_json

    if args.out is not None:
        if Path(args.out).suffix.lower() not in (".csv", ".json"):
            raise UserError(f"--out {args.out}: must end in .csv or .json")
        refuse_to_overwrite(args.out, WRITER, overwrite=args.overwrite, is_own=is_own_table)
    url = next((source for source in args.sources if is_url(source)), None)
    if url is not None:
        raise UserError(f"{url}: data next ranks image files on a disk; download it first")
    found = find_images(args.sources)
    images = [Path(file) for file in found.images]
    for line in [*found.notes, *(printable(failure.reason) for failure in found.failures)]:
        print(f"ttfnet: {line}", file=sys.stderr)
    if not images:
        raise UserError("no image to rank; name an image, a folder of images or a quoted pattern")

    from ttfnet_tf.files import write_text
    from ttfnet_tf.progress import ProgressMeter, working

    with working(f"loading {args.run}"):
        from ttfnet_tf.inference.detector import Detector

        detector = Detector.load(args.run, score_threshold=least)
    with ProgressMeter("rank", len(images)) as meter:
        candidates = candidates_of(
            detector.batch,
            images,
            batch_size=min(batch_size, len(images)),
            on_failure=lambda line: meter.message(f"ttfnet: {line}"),
            on_batch=meter.update,
        )
    if not candidates:
        raise UserError("none of the images could be read")
    chosen = choose(candidates, copies_among(candidates, workers=os.cpu_count() or 1), count)
    if not any(one.detections for one in candidates):
        advice = "train longer, or lower --score-threshold"
        print(f"ttfnet: no image has a detection above {least:g}, so that the order says nothing; {advice}", file=sys.stderr)
    if args.out is None:
        print("\n".join(f"{one.score:8.3f}  {one.file}" for one in chosen[:_SHOWN]))
        print(f"{min(len(chosen), _SHOWN)} of {len(candidates)} images; --out next.csv or next.json writes {len(chosen)}")
        return
    is_json = Path(args.out).suffix.lower() == ".json"
    about = {"run": str(args.run), "score_threshold": least}
    write_text(Path(args.out), next_json(chosen, about) if is_json else next_csv(chosen))
    print(f"written: {args.out}: {len(chosen)} of {len(candidates)} images, scores {chosen[0].score:.3f} to {chosen[-1].score:.3f}")
