"""`ttfnet data merge`: several COCO files to one."""

from __future__ import annotations

import argparse
from pathlib import Path

from ttfnet_tf.cli.options import add_overwrite
from ttfnet_tf.cli.parser import add_verb


def add_to(verbs) -> None:
    """Adds the verb to the group `data`."""
    verb = add_verb(
        verbs,
        "merge",
        run,
        "several COCO files, with their images, to one",
        description="Writes one COCO file with the images and boxes of all. Classes of the same name are one class; images stay in place.",
        epilog="docs/formats.md has the rules for ids and names.",
        examples=("ttfnet data merge a.json images/a b.json images/b --out all.json",),
    )
    verb.add_argument("sources", metavar="SOURCE", nargs="+", help="pairs: COCO instances JSON, folder of its images")
    verb.add_argument("--out", metavar="FILE", required=True, help="the COCO file to write")
    add_overwrite(verb)


def run(args: argparse.Namespace) -> None:
    """Merges, and prints what was written."""
    from ttfnet_tf.errors import UserError
    from ttfnet_tf.formats.merge_coco import merge_coco

    if len(args.sources) % 2 or len(args.sources) < 4:
        raise UserError(f"{len(args.sources)} sources; name pairs of a COCO file and the folder of its images, at least two of them")
    pairs = [(Path(file), Path(folder)) for file, folder in zip(args.sources[::2], args.sources[1::2])]
    print("\n".join(merge_coco(pairs, Path(args.out), overwrite=args.overwrite).lines))
