"""`ttfnet data pack`: the images of a data set in a few large files."""

from __future__ import annotations

import argparse
import contextlib

from ttfnet_tf.cli.options import positive
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.errors import UserError


def add_to(verbs) -> None:
    """Adds the verb to the group `data`."""
    verb = add_verb(
        verbs,
        "pack",
        run,
        "images and annotations as a few TFRecord files",
        description="Packs all images of an annotation file into sharded TFRecord files, to train from with data.train.images=FOLDER.",
        epilog="Killed or stopped, the same command goes on. docs/packed.md explains what is in the folder and when it helps.",
        examples=(
            "ttfnet data pack train.json images --out packed/train",
            "ttfnet data pack train.json images --out packed/train --shard-size 128",
        ),
    )
    verb.set_defaults(writes_urls=True)
    verb.add_argument("annotations", metavar="ANNOTATIONS", help="COCO instances JSON")
    verb.add_argument("images", metavar="IMAGES", help="folder of its images")
    verb.add_argument("--out", metavar="FOLDER", required=True, help="new or empty folder, or that of the same command before")
    how = verb.add_mutually_exclusive_group()
    how.add_argument("--shards", type=int, metavar="N", help="number of files; default as many as --shard-size asks for")
    how.add_argument("--shard-size", type=int, default=256, metavar="MB", help="about as many MB in a file; default 256")
    verb.add_argument("--workers", type=int, default=0, metavar="N", help="images decoded at a time; default one for each processor")


def run(args: argparse.Namespace) -> None:
    """Packs, and prints what was written and how to train from it."""
    shards = None if args.shards is None else positive(args.shards, "--shards")
    shard_bytes = positive(args.shard_size, "--shard-size") << 20
    if args.workers < 0:
        raise UserError(f"--workers {args.workers} must be 0 or more")

    from ttfnet_tf.progress import ProgressMeter, working

    with working("starting TensorFlow"):
        from ttfnet_tf.data.packing import pack

    with contextlib.ExitStack() as stack:
        meters: list[ProgressMeter] = []
        packed = pack(
            args.annotations,
            args.images,
            args.out,
            shards=shards,
            shard_bytes=shard_bytes,
            workers=args.workers,
            on_start=lambda total: meters.append(stack.enter_context(ProgressMeter("pack", total))),
            on_image=lambda done: meters[0].update(done),
        )
    print(packed.line())
    print(f"train from it: data.train.images={args.out} data.train.annotations={args.out}/annotations.json")
