"""The options of `ttfnet predict` for very many images, and what it does with them."""

from __future__ import annotations

import argparse
import contextlib
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ttfnet_tf.cli.options import class_list, positive
from ttfnet_tf.errors import UserError
from ttfnet_tf.integrations import RUNNERS, bulk_runner
from ttfnet_tf.locations import is_url
from ttfnet_tf.plain_text import printable

if TYPE_CHECKING:
    from ttfnet_tf.inference.bulk.job import Plan
    from ttfnet_tf.inference.image_files import Sources

_FORMAT, _SHARD_SIZE = "jsonl", 1000  # defaults
_LOOKS_EVERY, _LOOKS_EVERY_REMOTE = 1.0, 15.0  # seconds between two looks at which shards are done


def add_options(verb: argparse.ArgumentParser) -> None:
    """Adds the options."""
    group = verb.add_argument_group("very many images (docs/bulk_prediction.md)")
    group.add_argument("--runner", choices=list(RUNNERS), help="no drawings; a file of records for every shard of the images")
    group.add_argument("--format", choices=("jsonl", "parquet"), help="of these files; default jsonl")
    group.add_argument("--shard-size", type=int, metavar="N", help="images of one file; default 1000")
    group.add_argument(
        "--runner-option", action="append", default=[], metavar="KEY=VALUE", help="for the engine; may be repeated, e.g. spark.master=yarn"
    )


def check(args: argparse.Namespace) -> None:
    """Checks the options before any work.

    Raises:
        UserError: one is wrong, needs --runner, or a package that is not installed.
    """
    if args.runner is not None:
        for option in ("show", "track", "count_line", "max_frames", "seconds"):
            if getattr(args, option) not in (None, False, []):
                raise UserError(f"--{option.replace('_', '-')} is for videos and cameras; leave it out with --runner")
        for option in ("save", "crops"):
            if getattr(args, option):
                raise UserError(f"--{option} is not for --runner, which writes files of records; leave one of them out")
        if args.tile is not None:
            raise UserError("--tile: large images are not taken by --runner; leave one of them out")
        positive(args.shard_size or 1, "--shard-size")
        options = _options(args.runner_option)
        if options and args.runner == "local":
            raise UserError(f"--runner-option {next(iter(options))}: the local runner takes none")
        bulk_runner(args.runner)
        if args.format == "parquet":
            from ttfnet_tf.inference.bulk.records import import_pyarrow

            import_pyarrow()
        return
    for option in ("format", "shard_size", "runner_option"):
        if getattr(args, option):
            raise UserError(f"--{option.replace('_', '-')} is for predict with --runner; add --runner local, or leave it out")


def predict(
    args: argparse.Namespace,
    sources: Sequence[str],
    find: Callable[[], Sources],
    options: Mapping,
    batch_size: int,
) -> None:
    """Detects on very many images, or finishes what an earlier call has begun.

    Args:
        args: of the command line.
        sources: what the user named.
        find: looks for the images, which is done once for a folder.
        options: "score_threshold", "class_thresholds" and maybe "image_size", see `Detector.load`.
        batch_size: images of one call of the network.
    """
    from ttfnet_tf.inference.bulk.job import count_records, open_plan
    from ttfnet_tf.inference.bulk.records import DetectorSpec, model_path
    from ttfnet_tf.inference.detections_json import make_folder
    from ttfnet_tf.runs.lock import RunLock

    class_thresholds = tuple(sorted(options["class_thresholds"].items()))
    spec = DetectorSpec(
        model_path(args.run), options["score_threshold"], class_thresholds, batch_size, options.get("image_size"), class_list(args.classes)
    )
    remote = is_url(args.out)  # no lock there: two calls at a time would only do the same work twice
    if not remote:
        make_folder(args.out)
    with contextlib.nullcontext() if remote else RunLock(Path(args.out), option="--out"):
        plan = open_plan(
            args.out,
            spec,
            sources,
            lambda: _images(find()),
            format=args.format or _FORMAT,
            shard_size=args.shard_size or _SHARD_SIZE,
        )
        plan.remove_rubbish()
        pending = plan.pending()
        if not plan.is_new:
            print(f"{args.out}: resumes, {plan.job.shards - len(pending)} of {plan.job.shards} files are done; its list of images stays")
        if pending:
            with _progress(plan):
                _run(args.runner, plan, pending, _options(args.runner_option))
        total, errors = count_records(plan)
    print(f"{total} images, {errors} of them could not be read; {plan.job.shards} files in {args.out}")


def _run(name: str, plan: Plan, pending: list, options: dict[str, str]) -> None:
    """Runs an engine; what the user can fix arrives from its workers as text only."""
    try:
        bulk_runner(name)(plan.job, pending, options)
    except UserError:
        raise
    except Exception as error:
        if found := re.search(r"\bUserError: (.+)", str(error)):
            raise UserError(f"{name}: {found[1].split(' [while running')[0]}") from None
        raise


def _images(found: Sources) -> list[Path | str]:
    if found.videos:
        raise UserError(f"{found.videos[0]} is a video; leave out --runner for videos")
    if not found.images:
        raise UserError(f"{found.failures[0].reason}; name an image, a folder of images or a quoted pattern")
    for line in [*found.notes, *(one.reason for one in found.failures)]:
        print(f"ttfnet: {printable(line)}", file=sys.stderr)
    return found.images


def _options(pairs: list[str]) -> dict[str, str]:
    options = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UserError(f"--runner-option {pair} must be KEY=VALUE")
        options[name] = value
    return options


@contextlib.contextmanager
def _progress(plan: Plan) -> Iterator[None]:
    """Shows how many images are done while an engine works, by a look into the folder."""
    from ttfnet_tf.progress import ProgressMeter

    sizes = {plan.job.name(shard.index): shard.images for shard in plan.shards}
    over = threading.Event()

    def done() -> int:
        return sum(sizes.get(name, 0) for name in plan.job.names())

    def watch() -> None:
        while not over.wait(_LOOKS_EVERY_REMOTE if is_url(plan.job.folder) else _LOOKS_EVERY):
            meter.update(done())

    with ProgressMeter("predict", plan.images, start=done()) as meter:
        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            meter.update(done())
