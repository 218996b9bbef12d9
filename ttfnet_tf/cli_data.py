"""`ttfnet data ...`: verbs about data sets. `add_verbs` puts them under a parser; each is a function of the parsed arguments."""

from __future__ import annotations

import argparse
import json
from pathlib import Path


def add_verbs(parser: argparse.ArgumentParser) -> None:
    """Adds the verbs as sub-commands; the chosen one is `args.command`, to be called with `args`."""
    verbs = parser.add_subparsers(metavar="shapes", required=True)

    verb = verbs.add_parser("shapes", help="draw a small synthetic data set in COCO format", description=draw.__doc__)
    verb.add_argument("out", metavar="OUT", help="folder, new or empty")
    verb.add_argument("--train", type=int, default=200, metavar="N", help="training pictures; default 200")
    verb.add_argument("--val", type=int, default=40, metavar="N", help="validation pictures; default 40")
    verb.add_argument("--size", type=int, nargs=2, default=(192, 192), metavar=("H", "W"), help="pixels of each picture; default 192 192")
    verb.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed gives the same files; default 0")
    verb.add_argument("--overwrite", action="store_true", help="replace what an earlier call has drawn into OUT")
    verb.set_defaults(command=draw)


def draw(args: argparse.Namespace) -> None:
    """Draws circles, squares, triangles and crosses, tiny to large, with boxes in COCO format."""
    from ttfnet_tf.data.shapes import draw_shapes

    draw_shapes(args.out, train=args.train, val=args.val, size=tuple(args.size), seed=args.seed, overwrite=args.overwrite)
    boxes = len(json.loads((Path(args.out) / "annotations/train.json").read_text(encoding="utf-8"))["annotations"])
    print(f"{args.out}: drew {args.train} training pictures with {boxes} objects and {args.val} validation pictures")
