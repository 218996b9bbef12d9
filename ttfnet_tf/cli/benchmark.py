"""`ttfnet benchmark`: times and costs. `add_verb` puts it beside the other verbs."""

from __future__ import annotations

import argparse
import os
import sys

from ttfnet_tf.cli import parser
from ttfnet_tf.cli.parser import PRECISIONS, RUNTIMES, positive
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
            "ttfnet benchmark export configs/ttfnet_r18_1x.yaml --threads 2",
        ),
    )
    verb.add_argument(
        "what",
        choices=("train", "detect", "video", "size", "export"),
        help="a training step, one image to boxes, a video of 10 s, parameters and multiply-adds, one image to boxes in every export",
    )
    verb.add_argument("config", metavar="CONFIG", help="YAML file; without data.train.annotations images are drawn for it")
    verb.add_argument("--repeats", type=int, default=20, metavar="N", help="measured calls of each stage; default 20")
    verb.add_argument("--classes", type=int, default=80, metavar="N", help="classes of the network; default 80; not of `train`")
    verb.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS, help="TFLite files of `export`; default all")
    verb.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="of `export`; default one for each core")
    verb.add_argument("--runtime", choices=RUNTIMES, help="of the TFLite files of `export`; default litert where it is installed")


def run(args: argparse.Namespace) -> None:
    """Prints where the time of training or detection goes, or what a network costs."""
    config = load_config(args.config, args.rest)
    repeats = positive(args.repeats, "--repeats")
    num_classes, threads = positive(args.classes, "--classes"), positive(args.threads, "--threads")
    if args.what == "export":
        from ttfnet_tf.benchmarks.export import benchmark_export
        from ttfnet_tf.benchmarks.timing import best_runtime

        runtime = args.runtime or best_runtime()
        table = benchmark_export(
            config, num_classes=num_classes, precisions=args.precision, threads=threads, repeats=repeats, runtime=runtime
        )
        print(f"{args.config}, {num_classes} classes, {' x '.join(str(side) for side in config.data.image_size)}")
        print(table)
        return

    height, width = config.data.image_size
    if args.what == "size":
        from ttfnet_tf.benchmarks.cost import network_cost

        print(f"{args.config}, {num_classes} classes, {height} x {width}")
        print(network_cost(config, num_classes=num_classes))
        return

    if args.what == "video":
        from ttfnet_tf.benchmarks.video import BOXES, SECONDS, benchmark_video

        times = benchmark_video(config, num_classes=num_classes)
        print(f"{args.config}, a video of {SECONDS} s at {height} x {width}, {times.frames} frames of {BOXES} boxes")
        print(times)
        return

    def tell(stage):  # no live line here: drawing it would be measured too
        print(f"measuring: {stage}", file=sys.stderr, flush=True)

    if args.what == "train":
        from ttfnet_tf.benchmarks.train import benchmark_training

        stages, peak = benchmark_training(config, repeats=repeats, on_stage=tell)
    else:
        from ttfnet_tf.benchmarks.detect import benchmark_detection

        stages, peak = benchmark_detection(config, num_classes=num_classes, repeats=repeats, on_stage=tell)
    print(f"{args.config}, {args.what} at {height} x {width}, {repeats} repeats: median (10th .. 90th percentile)")
    for stage in stages:
        print(stage)
    print(f"peak memory of the process {peak:.2f} GB")
