"""`ttfnet data shapes`: draws a small synthetic data set in COCO format."""

from __future__ import annotations

import argparse
from pathlib import Path

from ttfnet_tf.cli.parser import add_verb


def add_to(verbs) -> None:
    """Adds the verb to the group `data`."""
    verb = add_verb(
        verbs,
        "shapes",
        run,
        "draw a small synthetic data set in COCO format",
        description="Draws circles, squares, triangles and crosses, and stars on request, tiny to large, with boxes in COCO format.",
        examples=(
            "ttfnet data shapes demo/shapes --train 400 --size 128 128",
            "ttfnet data shapes five --classes circle square triangle cross star",
        ),
    )
    verb.add_argument("out", metavar="OUT", help="folder, new or empty")
    verb.add_argument("--train", type=int, default=200, metavar="N", help="training images; default 200")
    verb.add_argument("--val", type=int, default=40, metavar="N", help="validation images; default 40")
    verb.add_argument("--size", type=int, nargs=2, default=(192, 192), metavar=("H", "W"), help="pixels of each image; default 192 192")
    verb.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed gives the same files; default 0")
    verb.add_argument(
        "--classes",
        nargs="+",
        metavar="NAME",
        help="which of circle, square, triangle, cross and star, in any order; default all but star",
    )
    verb.add_argument("--overwrite", action="store_true", help="replace what an earlier call has drawn into OUT")


def run(args: argparse.Namespace) -> None:
    """Draws the images, and prints how many."""
    from ttfnet_tf.data.shapes import DEFAULT_CLASSES, draw_shapes
    from ttfnet_tf.progress import ProgressMeter

    with ProgressMeter("draw", args.train + args.val) as meter:
        draw_shapes(
            args.out,
            train=args.train,
            val=args.val,
            size=tuple(args.size),
            seed=args.seed,
            classes=args.classes or DEFAULT_CLASSES,
            overwrite=args.overwrite,
            on_image=meter.update,
        )
    from ttfnet_tf.json_text import read_json

    boxes = len(read_json(Path(args.out) / "annotations/train.json")["annotations"])
    print(f"{args.out}: drew {args.train} training images with {boxes} objects and {args.val} validation images")
