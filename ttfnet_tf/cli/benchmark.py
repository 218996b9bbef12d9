"""`ttfnet benchmark`: where the time of training or detection goes, and what a network costs."""

from __future__ import annotations

import argparse
import os
import sys

from ttfnet_tf.cli.options import positive
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.config import Config, load_config
from ttfnet_tf.export.forms import ALL_PRECISIONS
from ttfnet_tf.inference.tflite_predictor import RUNTIMES


def add_to(verbs) -> None:
    """Adds the verb to a parser."""
    verb = add_verb(
        verbs,
        "benchmark",
        run,
        "where the time goes, and what a network costs",
        "key=value",
        description="Prints where the time of training or detection goes, or what a network costs.",
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
        help="a training step; one image to boxes; a video of 10 s; parameters and multiply-adds; one image in every exported form",
    )
    verb.add_argument("config", metavar="CONFIG", help="YAML file; without data.train.annotations synthetic images are drawn")
    verb.add_argument("--repeats", type=int, default=20, metavar="N", help="measured calls of each stage; default 20")
    verb.add_argument("--classes", type=int, default=80, metavar="N", help="classes of the network; default 80; not for train")
    verb.add_argument("--precision", nargs="+", choices=ALL_PRECISIONS, default=ALL_PRECISIONS, help="for export; default all")
    verb.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="for export: default one for each core")
    verb.add_argument("--runtime", choices=RUNTIMES, help="for export: runs the TFLite files; default litert if it is installed")


def run(args: argparse.Namespace) -> None:
    """Measures what was asked for, and prints it."""
    config = load_config(args.config, args.rest)
    for value, option in ((args.repeats, "--repeats"), (args.classes, "--classes"), (args.threads, "--threads")):
        positive(value, option)
    height, width = config.data.image_size
    size = f"{height} x {width}"
    if args.what == "export":
        _exported_forms(args, config, size)
    elif args.what == "size":
        from ttfnet_tf.benchmarks.cost import network_cost

        print(f"{args.config}, {args.classes} classes, {size}")
        print(network_cost(config, num_classes=args.classes))
    elif args.what == "video":
        from ttfnet_tf.benchmarks.video import BOXES, SECONDS, benchmark_video

        times = benchmark_video(config, num_classes=args.classes)
        print(f"{args.config}, a video of {SECONDS} s at {size}, {times.frames} frames of {BOXES} boxes")
        print(times)
    else:
        _stages(args, config, size)


def _exported_forms(args: argparse.Namespace, config: Config, size: str) -> None:
    from ttfnet_tf.benchmarks.export import benchmark_export
    from ttfnet_tf.benchmarks.timing import installed_runtime

    table = benchmark_export(
        config,
        num_classes=args.classes,
        precisions=args.precision,
        threads=args.threads,
        repeats=args.repeats,
        runtime=installed_runtime(args.runtime),
    )
    print(f"{args.config}, {args.classes} classes, {size}")
    print(table)


def _stages(args: argparse.Namespace, config: Config, size: str) -> None:
    """A training step or a detection, stage by stage."""

    def print_stage(stage):  # no live line here: drawing it would be measured too
        print(f"measuring: {stage}", file=sys.stderr, flush=True)

    if args.what == "train":
        from ttfnet_tf.benchmarks.train import benchmark_training

        stages, peak = benchmark_training(config, repeats=args.repeats, on_stage=print_stage)
    else:
        from ttfnet_tf.benchmarks.detect import benchmark_detection

        stages, peak = benchmark_detection(config, num_classes=args.classes, repeats=args.repeats, on_stage=print_stage)
    print(f"{args.config}, {args.what} at {size}, {args.repeats} repeats: median (10th .. 90th percentile)")
    for stage in stages:
        print(stage)
    print(f"peak memory of the process {peak:.2f} GB")
