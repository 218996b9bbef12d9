"""`ttfnet benchmark`: times and costs. `add_verb` puts it beside the other verbs."""

from __future__ import annotations

import argparse
import sys

from ttfnet_tf.cli import parser
from ttfnet_tf.cli.parser import positive
from ttfnet_tf.config import load_config


def add_verb(verbs) -> None:
    """Adds `benchmark` to the sub-commands of a parser; its function is `args.command`, to be called with `args`."""
    verb = parser.add_verb(
        verbs,
        "benchmark",
        run,
        "where the time goes, and what a network costs",
        "key=value",
        description="Prints where the time of training or of detection goes, or what a network costs.",
        examples=(
            "ttfnet benchmark train configs/demo.yaml",
            "ttfnet benchmark detect configs/ttfnet_r18_1x.yaml --repeats 30",
            "ttfnet benchmark size configs/ttfnet_d53_1x.yaml",
        ),
    )
    verb.add_argument(
        "what", choices=("train", "detect", "size"), help="a training step, one picture to boxes, parameters and multiply-adds"
    )
    verb.add_argument("config", metavar="CONFIG", help="YAML file; without data.train.annotations pictures are drawn for it")
    verb.add_argument("--repeats", type=int, default=20, metavar="N", help="measured calls of each stage; default 20")
    verb.add_argument("--classes", type=int, default=80, metavar="N", help="classes of the network of `detect` and `size`; default 80")


def run(args: argparse.Namespace) -> None:
    """Prints where the time of training or detection goes, or what a network costs."""
    config = load_config(args.config, args.rest)
    repeats = positive(args.repeats, "--repeats")
    num_classes = positive(args.classes, "--classes")

    from ttfnet_tf.benchmark import benchmark_detection, benchmark_training, network_cost

    height, width = config.data.image_size
    if args.what == "size":
        print(f"{args.config}, {num_classes} classes, {height} x {width}")
        print(network_cost(config, num_classes=num_classes))
        return

    def tell(stage):  # no live line here: drawing it would be measured too
        print(f"measuring: {stage}", file=sys.stderr, flush=True)

    if args.what == "train":
        stages, peak = benchmark_training(config, repeats=repeats, on_stage=tell)
    else:
        stages, peak = benchmark_detection(config, num_classes=num_classes, repeats=repeats, on_stage=tell)
    print(f"{args.config}, {args.what} at {height} x {width}, {repeats} repeats: median (10th .. 90th percentile)")
    for stage in stages:
        print(stage)
    print(f"peak memory of the process {peak:.2f} GB")
