"""`ttfnet data stats`: overlap and samples of the training targets, and the highest AP that they allow."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from ttfnet_tf.cli.options import CONFIG_HELP, add_overwrite, load_settings, refuse_other_keys
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.errors import UserError
from ttfnet_tf.locations import location
from ttfnet_tf.methods.catalog import METHODS
from ttfnet_tf.outputs import marked, refuse_to_overwrite

# Settings that change the figures.
_KEYS = ("data.", "targets.", "model.box_per_class", "decode.")
_WRITER = "ttfnet data stats"


def add_to(verbs) -> None:
    """Adds the verb to the group `data`."""
    verb = add_verb(
        verbs,
        "stats",
        run,
        "overlap, samples and the highest AP that targets can reach",
        "key=value",
        description="Prints figures of the training targets: ambiguous samples, samples per object, collisions, lost objects.",
        epilog="Settings follow as key=value: data.*, targets.*, model.box_per_class and decode.*; docs/settings.md lists them.",
        examples=("ttfnet data stats train.json --ceiling", "ttfnet data stats train.json data.image_size=[320,320] targets.beta=0.3"),
    )
    verb.add_argument("annotations", metavar="ANNOTATIONS", help="COCO instances JSON; its images are not needed")
    verb.add_argument("--config", metavar="CONFIG", help=CONFIG_HELP)
    verb.add_argument("--stride", type=int, default=4, metavar="N", help="input pixels per cell; default 4, as in the network")
    verb.add_argument("--ceiling", action="store_true", help="also measure the AP that the targets themselves reach")
    verb.add_argument("--json", metavar="FILE", help="also write the figures there")
    add_overwrite(verb)


def run(args: argparse.Namespace) -> None:
    """Measures the targets, and prints the figures."""
    config = _settings(args)
    height, width = config.data.size
    resizing = {"image_size": config.data.size, "keep_ratio": config.data.keep_ratio}
    if args.json:
        refuse_to_overwrite(args.json, _WRITER, inputs=[args.annotations, args.config], overwrite=args.overwrite)

    from ttfnet_tf.data.coco import load_coco
    from ttfnet_tf.files import write_json
    from ttfnet_tf.inspect.target_ceiling import measure_ceiling
    from ttfnet_tf.inspect.target_stats import measure_targets
    from ttfnet_tf.progress import ProgressMeter

    split = load_coco(
        args.annotations,
        location(args.annotations).parent,  # any folder that exists: no image is opened
        crowd=config.data.crowd,
        min_box_size=config.data.min_box_size,
        min_image_size=config.data.min_image_size,
        empty_images=config.data.empty_images,
        classes=config.data.classes,
        training=True,
    )
    settings = {
        "alpha": config.targets.alpha,
        "beta": config.targets.beta,
        "area": config.targets.area,
        "kernel": config.targets.kernel,
        "box_per_class": config.model.box_per_class,
        "stride": args.stride,
    }
    with ProgressMeter("stats", len(split.images)) as meter:
        result = measure_targets(split, on_image=meter.update, **resizing, **settings)
    print(split.summary())
    print(f"{height} x {width} px; " + ", ".join(f"{name} {value}" for name, value in settings.items()))
    print(result.table())
    content = {"annotations": str(args.annotations), "image_size": [height, width], "settings": settings, **dataclasses.asdict(result)}
    if args.ceiling:
        decode = {"top_k": config.decode.top_k, "score_threshold": config.decode.score_threshold}
        with ProgressMeter("ceiling", len(split.images)) as meter:
            ceiling = measure_ceiling(split, on_image=meter.update, **resizing, **decode, **settings)
        content["ceiling"] = ceiling
        print(f"{'ceiling':20} " + "  ".join(f"{name} {ceiling[name]:.3f}" for name in ("AP", "AP50", "AP75", "APs", "APm", "APl")))
    if args.json:
        write_json(Path(args.json), marked(_WRITER, content))
        print(f"written: {args.json}")


def _settings(args: argparse.Namespace):
    """The settings, checked for what only this verb needs."""
    refuse_other_keys(args.rest, _KEYS, "the figures depend on data.*, targets.*, model.box_per_class and decode.* only")
    config = load_settings(args.config, args.rest)
    if "targets.beta" not in METHODS[config.model.method].reads:
        raise UserError(
            f"{args.config}: model.method={config.model.method} has no sub-areas to measure; name a configuration with model.method=ttfnet"
        )
    height, width = config.data.image_size
    if args.stride < 1 or height % args.stride or width % args.stride:
        raise UserError(f"--stride {args.stride} must divide data.image_size=[{height}, {width}]")
    return config
