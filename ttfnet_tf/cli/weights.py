"""`ttfnet convert`: weights of others into ours, and ours into the official form. `add_verb` puts it beside the other verbs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ttfnet_tf.cli import parser
from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_text
from ttfnet_tf.progress import working

_KINDS = (".npz", ".safetensors", ".pth")


def add_verb(verbs) -> None:
    """Adds `convert` to the sub-commands of a parser; its function is `args.command`, to be called with `args`."""
    verb = parser.add_verb(
        verbs,
        "convert",
        run,
        "weights of other programs into ours, and back",
        "key=value",
        description=run.__doc__,
        epilog="Settings of CONFIG follow as key=value, e.g. model.box_head.depth=2; docs/weights.md says more.",
        examples=(
            "ttfnet convert ttfnet_r18.pth --config configs/ttfnet_r18_1x.yaml --out runs/official_r18",
            "ttfnet convert runs/mine --to official --out mine.pth",
        ),
    )
    verb.add_argument("source", metavar="SOURCE", help="file of weights or timm/<model>; with --to official a work directory or checkpoint")
    verb.add_argument("--config", metavar="CONFIG", help="YAML file of the network that the weights are for")
    verb.add_argument("--out", metavar="OUT", required=True, help=".npz, .safetensors or .pth file, or a new work directory")
    verb.add_argument("--to", choices=("ours", "official"), default="ours", help="which names and form to write; default ours")
    verb.add_argument("--classes", type=int, metavar="N", help="classes of the network; default those of the file")
    verb.add_argument("--labels", metavar="JSON", help="annotations with the classes, for a work directory; default COCO's 80")
    verb.add_argument("--partial", action="store_true", help="take what fits: missing, left over and misshapen tensors are no errors")
    verb.add_argument("--report", metavar="FILE", help="for one line about every tensor")


def run(args: argparse.Namespace) -> None:
    """Converts weights and says what matched, what is missing and what is left over."""
    if args.to == "official":
        _to_official(args)
    else:
        _to_ours(args)


def _to_official(args: argparse.Namespace) -> None:
    for option in ("config", "classes", "labels", "report"):
        if getattr(args, option) is not None:
            raise UserError(f"--{option} does not go with --to official, which takes everything from the run")
    if not args.out.endswith(_KINDS):
        raise UserError(f"--out {args.out} must end in {', '.join(_KINDS)}; the official code reads .pth")
    with working(f"converting {args.source}"):
        from ttfnet_tf.weights.convert import export

        count = export(args.source, args.out)
    print(f"{args.out}: {count} tensors of {args.source} under their official names")


def _to_ours(args: argparse.Namespace) -> None:
    if args.config is None:
        raise UserError(f"--config is missing; name the configuration that {args.source} is for, e.g. configs/ttfnet_r18_1x.yaml")
    if args.classes is not None and args.classes < 1:
        raise UserError(f"--classes {args.classes} must be 1 or more")
    config = load_config(args.config, getattr(args, "rest", ()))
    from ttfnet_tf.weights.convert import convert

    report = convert(args.source, config, args.out, num_classes=args.classes, labels=args.labels, partial=args.partial)
    print(report)
    if args.report is not None:
        write_text(Path(args.report), "\n".join(report.lines()) + "\n")
        print(f"every tensor: {args.report}")
    print(f"written: {args.out}")
