"""`ttfnet benchmark`: where the time of training or detection goes, and what a network costs."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ttfnet_tf.cli.options import add_overwrite, positive
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.config import Config, load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.export.forms import ALL_PRECISIONS
from ttfnet_tf.inference.tflite_predictor import RUNTIMES
from ttfnet_tf.outputs import refuse_to_overwrite

STAGES = ("train", "detect", "eval")
WHAT = (*STAGES, "input", "video", "size", "export")
_WRITER = "ttfnet benchmark"


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
            "ttfnet benchmark eval configs/ttfnet_r18_1x.yaml --device gpu --json eval.json",
            "ttfnet benchmark input configs/ttfnet_r18_1x.yaml --repeats 5 --images 5000 117266 --json input.json",
            "ttfnet benchmark size configs/ttfnet_d53_1x.yaml",
            "ttfnet benchmark export configs/ttfnet_r18_1x.yaml --threads 2",
        ),
    )
    verb.add_argument(
        "what",
        choices=WHAT,
        help="a training step; one image to boxes; an evaluation; the input; a video; parameters and multiply-adds; every exported form",
    )
    verb.add_argument("config", metavar="CONFIG", help="YAML file; without data.train.annotations synthetic images are drawn")
    verb.add_argument("--repeats", type=int, default=20, metavar="N", help="measured calls of each stage; default 20")
    verb.add_argument("--classes", type=int, default=80, metavar="N", help="classes of the network; default 80; not for train")
    verb.add_argument("--precision", nargs="+", choices=ALL_PRECISIONS, default=ALL_PRECISIONS, help="for export; default all")
    verb.add_argument("--threads", type=int, default=os.cpu_count() or 1, metavar="N", help="for export: default one for each core")
    verb.add_argument("--runtime", choices=RUNTIMES, help="for export: runs the TFLite files; default litert if it is installed")
    verb.add_argument("--images", type=int, nargs="+", metavar="N", help="for input: sizes of the data sets; default 5000 117266")
    verb.add_argument("--device", choices=("cpu", "gpu"), help="default the GPUs where there are any")
    verb.add_argument("--json", metavar="FILE", help="also write the figures of train, detect, eval and input there")
    add_overwrite(verb)


def run(args: argparse.Namespace) -> None:
    """Measures what was asked for, and prints it."""
    config = load_config(args.config, args.rest)
    for value, option in (
        *((count, "--images") for count in args.images or ()),
        (args.repeats, "--repeats"),
        (args.classes, "--classes"),
        (args.threads, "--threads"),
    ):
        positive(value, option)
    if args.json:
        if args.what not in (*STAGES, "input"):
            raise UserError(f"--json: benchmark {args.what} has no figures to write; {', '.join(STAGES)} and input have")
        inputs = [args.config, *(one.annotations for one in (*config.data.train.files, *config.data.val.files))]
        refuse_to_overwrite(args.json, _WRITER, inputs=inputs, overwrite=args.overwrite)
    if args.device and args.what != "size":
        _use(args.device)
    height, width = config.data.image_size
    size = f"{height} x {width}"
    if args.what == "export":
        _exported_forms(args, config, size)
    elif args.what == "size":
        from ttfnet_tf.benchmarks.cost import network_cost

        print(f"{args.config}, {args.classes} classes, {size}")
        print(network_cost(config, num_classes=args.classes))
    elif args.what == "input":
        _input(args, config, size)
    elif args.what == "video":
        from ttfnet_tf.benchmarks.video import BOXES, SECONDS, benchmark_video

        times = benchmark_video(config, num_classes=args.classes)
        print(f"{args.config}, a video of {SECONDS} s at {size}, {times.frames} frames of {BOXES} boxes")
        print(times)
    else:
        _stages(args, config, size)


def _use(device: str) -> None:
    """Hides the GPUs, or refuses to go on without one."""
    import tensorflow as tf

    if device == "cpu":
        tf.config.set_visible_devices([], "GPU")
    elif not tf.config.list_physical_devices("GPU"):
        raise UserError("--device gpu: TensorFlow finds no GPU here; docs/install.md says what one needs")


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


def _input(args: argparse.Namespace, config: Config, size: str) -> None:
    from ttfnet_tf.benchmarks.input import COUNTS, benchmark_input
    from ttfnet_tf.benchmarks.stages import peak_memory_gb

    def print_stage(stage):
        print(f"measuring: {stage}", file=sys.stderr, flush=True)

    speed = benchmark_input(config, counts=args.images or COUNTS, repeats=args.repeats, on_stage=print_stage)
    print(f"{args.config}, input at {size}, batches of {config.train.batch_size}, {args.repeats} rounds: medians")
    print(speed)
    print(f"peak memory of the process {peak_memory_gb():.2f} GB")
    if args.json:
        _write(args, config, speed.figures(), peak_memory_gb())


def _stages(args: argparse.Namespace, config: Config, size: str) -> None:
    """A training step, a detection or an evaluation, stage by stage."""

    def print_stage(stage):  # no live line here: drawing it would be measured too
        print(f"measuring: {stage}", file=sys.stderr, flush=True)

    if args.what == "train":
        from ttfnet_tf.benchmarks.train import benchmark_training

        stages, peak = benchmark_training(config, repeats=args.repeats, on_stage=print_stage)
    elif args.what == "detect":
        from ttfnet_tf.benchmarks.detect import benchmark_detection

        stages, peak = benchmark_detection(config, num_classes=args.classes, repeats=args.repeats, on_stage=print_stage)
    else:
        from ttfnet_tf.benchmarks.evaluate import benchmark_evaluation

        stages, peak = benchmark_evaluation(config, repeats=args.repeats, on_stage=print_stage)
    print(f"{args.config}, {args.what} at {size}, {args.repeats} repeats: median (10th .. 90th percentile)")
    for stage in stages:
        print(stage)
    print(f"peak memory of the process {peak:.2f} GB")
    if args.json:
        _write(args, config, [stage.figures() for stage in stages], peak)


def _write(args: argparse.Namespace, config: Config, stages: list[dict], peak: float) -> None:
    from ttfnet_tf.benchmarks.stages import machine
    from ttfnet_tf.files import write_json
    from ttfnet_tf.outputs import marked

    figures = {
        "what": args.what,
        "config": args.config,
        "overrides": args.rest,
        "image_size": list(config.data.image_size),
        "batch_size": config.train.batch_size,
        "repeats": args.repeats,
        "stages": stages,
        "peak_memory_gb": round(peak, 3),
        **machine(),
    }
    write_json(Path(args.json), marked(_WRITER, figures))
    print(f"written: {args.json}")
