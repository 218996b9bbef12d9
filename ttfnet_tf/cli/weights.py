"""`ttfnet weights`: converts third-party weights into ours, and ours into the official form."""

from __future__ import annotations

import argparse
from pathlib import Path

from ttfnet_tf.cli.options import add_overwrite, positive
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_text
from ttfnet_tf.outputs import refuse_to_overwrite, written_by
from ttfnet_tf.progress import working

_WRITER = "ttfnet weights"
_SUFFIXES = (".npz", ".safetensors", ".pth")


def add_to(verbs) -> None:
    """Adds the verb to a parser."""
    verb = add_verb(
        verbs,
        "weights",
        run,
        "convert third-party weights to ours, and ours back",
        "key=value",
        description="Converts weights and reports which tensors matched, are missing or are unused.",
        epilog="Settings of CONFIG follow as key=value, e.g. model.box_head.depth=2; docs/weights.md says more.",
        examples=(
            "ttfnet weights ttfnet_r18.pth --config configs/ttfnet_r18_1x.yaml --out runs/official_r18",
            "ttfnet weights runs/mine --to official --out mine.pth",
        ),
    )
    verb.add_argument("source", metavar="SOURCE", help="weights file or timm/<model>; with --to official a work directory or checkpoint")
    verb.add_argument("--config", metavar="CONFIG", help="YAML file of the network for the weights")
    verb.add_argument("--out", metavar="OUT", required=True, help=".npz, .safetensors or .pth file, or a new work directory")
    verb.add_argument("--to", choices=("ours", "official"), default="ours", help="names and layout to write; default ours")
    verb.add_argument("--classes", type=int, metavar="N", help="classes of the network; default as in the file")
    verb.add_argument("--labels", metavar="JSON", help="annotations that name the classes, for a work directory; default COCO's 80")
    verb.add_argument("--partial", action="store_true", help="use what fits: missing, unused and misshapen tensors are no errors")
    verb.add_argument("--report", metavar="FILE", help="write one line about every tensor there")
    add_overwrite(verb)


def run(args: argparse.Namespace) -> None:
    """Converts weights, and prints what matched."""
    if args.to == "official":
        _to_official(args)
    else:
        _to_ours(args)


def _to_official(args: argparse.Namespace) -> None:
    for option in ("config", "classes", "labels", "report"):
        if getattr(args, option) is not None:
            raise UserError(f"--{option} does not go with --to official, which takes all settings from the run")
    if not args.out.endswith(_SUFFIXES):
        raise UserError(f"--out {args.out} must end in {', '.join(_SUFFIXES)}; the official code reads .pth")
    refuse_to_overwrite(args.out, _WRITER, inputs=[args.source], overwrite=args.overwrite)
    with working(f"converting {args.source}"):
        from ttfnet_tf.weights.convert import export_official

        count = export_official(args.source, args.out)
    print(f"{args.out}: {count} tensors of {args.source} under their official names")


def _to_ours(args: argparse.Namespace) -> None:
    if args.config is None:
        raise UserError(f"--config is missing; name the configuration of the network for {args.source}, e.g. configs/ttfnet_r18_1x.yaml")
    if args.classes is not None:
        positive(args.classes, "--classes")
    config = load_config(args.config, getattr(args, "rest", ()))
    inputs = [args.source, args.config, args.labels]
    if args.out.endswith(_SUFFIXES):
        refuse_to_overwrite(args.out, _WRITER, inputs=inputs, overwrite=args.overwrite)
    if args.report is not None:
        refuse_to_overwrite(args.report, _WRITER, inputs=[*inputs, args.out], overwrite=args.overwrite)
    from ttfnet_tf.weights.convert import convert_weights

    def write_report(report):
        print(report)
        if args.report is not None:
            write_text(Path(args.report), "\n".join([f"# {written_by(_WRITER)}", *report.lines()]) + "\n")
            print(f"every tensor: {args.report}")

    options = {"num_classes": args.classes, "labels": args.labels, "partial": args.partial}
    convert_weights(args.source, config, args.out, before_writing=write_report, **options)
    print(f"written: {args.out}")
