"""`ttfnet data ...`: verbs about data sets. `add_verbs` adds the group; each verb is a function of the parsed arguments."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import re
from pathlib import Path

from ttfnet_tf.cli.parser import add_verb, positive
from ttfnet_tf.errors import UserError

# What the figures of `stats` depend on.
_STATS_KEYS = ("data.", "targets.", "model.box_per_class", "decode.")
# What training does about the findings of `check`.
_CHECK_KEYS = ("data.", "model.box_per_class")
# What `show` draws depends on these.
_SHOW_KEYS = ("data.", "targets.", "augment.", "model.head", "model.box_per_class", "train.seed")


def add_verbs(verbs) -> None:
    """Adds the group `data` to the sub-commands of a parser; the function of each verb is `args.command`, to be called with `args`."""
    group = verbs.add_parser("data", description="Data sets: what is wrong with them, what they are like, and other formats.")
    verbs = group.add_verbs()

    verb = add_verb(
        verbs,
        "check",
        check,
        "what is wrong with annotations and images",
        "key=value",
        description=check.__doc__,
        epilog="Settings follow as key=value: data.* and model.box_per_class. docs/check.md lists what is looked for.",
        examples=(
            "ttfnet data check train.json images --val val.json images",
            "ttfnet data check train.json images --fix cleaned.json",
        ),
    )
    verb.add_argument("annotations", metavar="ANNOTATIONS", help="COCO instances JSON that is trained on")
    verb.add_argument("images", metavar="IMAGES", help="folder of its images")
    verb.add_argument("--val", nargs=2, metavar=("ANNOTATIONS", "IMAGES"), help="the validation set, for leaks and classes too")
    verb.add_argument("--config", metavar="CONFIG", help="YAML file whose settings count; default the built-in ones")
    verb.add_argument("--fix", metavar="OUT", help="write cleaned training annotations there, and every change beside them")
    verb.add_argument("--json", metavar="FILE", help="also write the findings there")
    verb.add_argument("--no-images", action="store_true", help="look at the annotations alone")
    verb.add_argument("--strict", action="store_true", help="exit code 2 for warnings too, not for errors alone")
    verb.add_argument("--workers", type=int, default=0, metavar="N", help="images decoded at a time; default one for each processor")

    verb = add_verb(
        verbs,
        "show",
        show,
        "the training targets of images, drawn over them",
        "key=value",
        description=show.__doc__,
        epilog=f"Settings follow as key=value: {', '.join(_SHOW_KEYS)}. docs/microscope.md explains the page.",
        examples=(
            "ttfnet data show train.json images --out pages --config configs/bccd_r18.yaml",
            "ttfnet data show train.json images --ids 12 57 --out pages augment.min_iou_crop=true targets.beta=0.3",
        ),
    )
    verb.add_argument("annotations", metavar="ANNOTATIONS", help="COCO instances JSON that is trained on")
    verb.add_argument("images", metavar="IMAGES", help="folder of its images")
    verb.add_argument("--out", metavar="DIR", help="for a page <image id>.png of each image")
    verb.add_argument("--tensorboard", metavar="LOGDIR", help="also, or only, for TensorBoard")
    verb.add_argument("--ids", nargs="+", metavar="ID", help="image ids of the images to show")
    verb.add_argument("--count", type=int, default=4, metavar="N", help="without --ids: images, spread evenly over the file; default 4")
    verb.add_argument("--epochs", nargs="+", default=list("01234"), metavar="E", help="whose augmentation; default 0 to 4")
    verb.add_argument("--config", metavar="CONFIG", help="YAML file whose settings count; default the built-in ones")

    verb = add_verb(
        verbs,
        "convert",
        convert,
        "annotations of other programs to COCO, and to YOLO",
        description=convert.__doc__,
        epilog="Conventions of boxes, ids and names: docs/formats.md.",
        examples=("ttfnet data convert VOCdevkit/VOC2007 data/voc07", "ttfnet data convert dataset/data.yaml data/mine"),
    )
    verb.add_argument("source", metavar="SOURCE", help="folder of VOC or YOLO, data.yaml, CSV file, or COCO JSON")
    verb.add_argument("out", metavar="OUT", help="folder, new or empty")
    verb.add_argument("--from", dest="from_format", choices=("voc", "yolo", "csv", "coco"), help="default: what SOURCE looks like")
    verb.add_argument("--to", dest="to_format", choices=("coco", "yolo"), help="default coco; from COCO yolo")
    verb.add_argument("--images", metavar="DIR", help="folder of the images, where they are not at their usual place")
    verb.add_argument("--split", metavar="NAME", help="take this split only, or name the only one; default all, train")
    verb.add_argument("--classes", metavar="A,B,C", help="names in the order of their numbers; default of VOC and CSV the alphabet")
    verb.add_argument(
        "--skip-broken", action="store_true", help="leave out images with mistakes in their annotations and list the mistakes"
    )
    verb.add_argument("--copy", action="store_true", help="into YOLO: copy images; default links to them")
    verb.add_argument("--overwrite", action="store_true", help="replace what an earlier call has written into OUT")

    verb = add_verb(
        verbs,
        "stats",
        stats,
        "overlap, samples and the highest AP that targets can reach",
        "key=value",
        description=stats.__doc__,
        epilog="Settings follow as key=value: data.*, targets.*, model.box_per_class and decode.*; docs/settings.md lists them.",
        examples=("ttfnet data stats train.json --ceiling", "ttfnet data stats train.json data.image_size=[320,320] targets.beta=0.3"),
    )
    verb.add_argument("annotations", metavar="ANNOTATIONS", help="COCO instances JSON; its images are not needed")
    verb.add_argument("--config", metavar="CONFIG", help="YAML file whose settings count; default the built-in ones")
    verb.add_argument("--stride", type=int, default=4, metavar="N", help="pixels per cell, to try others than the network's 4")
    verb.add_argument("--ceiling", action="store_true", help="also measure the AP that the targets themselves reach")
    verb.add_argument("--json", metavar="FILE", help="also write the figures there")

    verb = add_verb(
        verbs,
        "shapes",
        draw,
        "draw a small synthetic data set in COCO format",
        description=draw.__doc__,
        examples=("ttfnet data shapes demo/shapes --train 400 --size 128 128",),
    )
    verb.add_argument("out", metavar="OUT", help="folder, new or empty")
    verb.add_argument("--train", type=int, default=200, metavar="N", help="training images; default 200")
    verb.add_argument("--val", type=int, default=40, metavar="N", help="validation images; default 40")
    verb.add_argument("--size", type=int, nargs=2, default=(192, 192), metavar=("H", "W"), help="pixels of each image; default 192 192")
    verb.add_argument("--seed", type=int, default=0, metavar="S", help="the same seed gives the same files; default 0")
    verb.add_argument("--overwrite", action="store_true", help="replace what an earlier call has drawn into OUT")

    group.sections = [("verbs", list(verbs.choices))]


def check(args: argparse.Namespace) -> int:
    """Looks for what training would stumble over or not notice; exit code 0, or 2 where there are errors."""
    config = _check_config(args.config, args.rest)
    if args.workers < 0:
        raise UserError(f"--workers {args.workers} must be 0 or more")

    from ttfnet_tf.doctor.check import check_data
    from ttfnet_tf.doctor.findings import Settings
    from ttfnet_tf.doctor.fix import refuse_existing, write_fixed
    from ttfnet_tf.doctor.report import report_lines
    from ttfnet_tf.files import write_json
    from ttfnet_tf.progress import ProgressMeter

    if args.fix:
        refuse_existing(args.fix)
    data = config.data
    settings = Settings(
        image_size=tuple(data.image_size),
        crowd=data.crowd,
        min_box_size=data.min_box_size,
        min_image_size=data.min_image_size,
        empty_images=data.empty_images,
        broken_images=data.broken_images,
        box_per_class=config.model.box_per_class,
    )
    with contextlib.ExitStack() as stack:
        meters = []
        report = check_data(
            (args.annotations, args.images),
            args.val,
            settings=settings,
            with_images=not args.no_images,
            workers=args.workers,
            on_start=lambda total: meters.append(stack.enter_context(ProgressMeter("check", total))),
            on_image=lambda done: meters[0].update(done),
        )
    print("\n".join(report_lines(report)))
    if args.json:
        write_json(Path(args.json), report.to_json())
        print(f"written: {args.json}")
    if args.fix:
        print("\n".join(write_fixed(report.splits[0], args.fix, settings).lines()))
    return report.exit_code(args.strict)


def show(args: argparse.Namespace) -> None:
    """Draws boxes, heatmap, sub-areas, weights and ambiguous cells of images, and what resize and augmentation leave of them."""
    ids, behind_ids = _numbers(args.ids, "--ids") if args.ids else (None, [])
    epochs, behind_epochs = _numbers(args.epochs, "--epochs")
    config = _show_config(args.config, [*args.rest, *behind_ids, *behind_epochs])
    positive(args.count, "--count")
    if not (args.out or args.tensorboard):
        raise UserError("name a folder for the pages with --out, or one for TensorBoard with --tensorboard")
    if min(epochs) < 0:
        raise UserError(f"--epochs {min(epochs)} must be 0 or more")

    from ttfnet_tf.inspect.show import show_targets

    lines = show_targets(
        config,
        (args.annotations, args.images),
        ids=ids,
        count=args.count,
        epochs=epochs,
        out=args.out,
        log_dir=args.tensorboard,
    )
    print("\n".join(lines))


def draw(args: argparse.Namespace) -> None:
    """Draws circles, squares, triangles and crosses, tiny to large, with boxes in COCO format."""
    from ttfnet_tf.data.shapes import draw_shapes
    from ttfnet_tf.progress import ProgressMeter

    with ProgressMeter("draw", args.train + args.val) as meter:
        draw_shapes(
            args.out,
            train=args.train,
            val=args.val,
            size=tuple(args.size),
            seed=args.seed,
            overwrite=args.overwrite,
            on_image=meter.update,
        )
    boxes = len(json.loads((Path(args.out) / "annotations/train.json").read_text(encoding="utf-8"))["annotations"])
    print(f"{args.out}: drew {args.train} training images with {boxes} objects and {args.val} validation images")


def stats(args: argparse.Namespace) -> None:
    """Prints what the training targets of a data set are like: ambiguous samples, samples per object, collisions, lost objects."""
    config = _stats_config(args.config, args.rest)
    height, width = image_size = tuple(config.data.image_size)
    if args.stride < 1 or height % args.stride or width % args.stride:
        raise UserError(f"--stride {args.stride} must divide data.image_size=[{height}, {width}]")

    from ttfnet_tf.data.coco import load_coco
    from ttfnet_tf.files import write_json
    from ttfnet_tf.inspect.target_stats import measure_ceiling, measure_targets
    from ttfnet_tf.progress import ProgressMeter

    split = load_coco(
        args.annotations,
        Path(args.annotations).parent,  # any folder that exists: no image is opened
        crowd=config.data.crowd,
        min_box_size=config.data.min_box_size,
        min_image_size=config.data.min_image_size,
        empty_images=config.data.empty_images,
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
        result = measure_targets(split, image_size=image_size, on_image=meter.update, **settings)
    print(split.summary())
    print(f"{height} x {width} px; " + ", ".join(f"{name} {value}" for name, value in settings.items()))
    print(result.table())
    content = {"annotations": str(args.annotations), "image_size": list(image_size), "settings": settings, **dataclasses.asdict(result)}
    if args.ceiling:
        with ProgressMeter("ceiling", len(split.images)) as meter:
            content["ceiling"] = measure_ceiling(
                split,
                image_size=image_size,
                top_k=config.decode.top_k,
                score_threshold=config.decode.score_threshold,
                on_image=meter.update,
                **settings,
            )
        figures = "  ".join(f"{name} {content['ceiling'][name]:.3f}" for name in ("AP", "AP50", "AP75", "APs", "APm", "APl"))
        print(f"{'ceiling':20} {figures}")
    if args.json:
        write_json(Path(args.json), content)
        print(f"written: {args.json}")


def convert(args: argparse.Namespace) -> None:
    """Writes Pascal VOC, YOLO or CSV annotations as COCO JSON, or any of them and COCO as YOLO; images stay where they are."""
    from ttfnet_tf.formats.convert import convert as convert_files
    from ttfnet_tf.progress import ProgressMeter

    def watch(label, items):
        if len(items) < 500:  # done before anyone looks
            yield from items
            return
        with ProgressMeter(label, len(items)) as meter:
            for done, item in enumerate(items, start=1):
                yield item
                if done % 100 == 0 or done == len(items):
                    meter.update(done)

    report = convert_files(
        args.source,
        args.out,
        from_format=args.from_format,
        to_format=args.to_format,
        images=args.images,
        split=args.split,
        classes=None if args.classes is None else [name.strip() for name in args.classes.split(",")],
        skip_broken=args.skip_broken,
        copy=args.copy,
        overwrite=args.overwrite,
        watch=watch,
    )
    print("\n".join(report.lines))


def _check_config(path, overrides):
    """The settings that decide about findings; `path` None stands for the built-in ones."""
    for override in overrides:
        if not override.startswith(_CHECK_KEYS):
            raise UserError(f"override '{override}': the findings depend on data.* and model.box_per_class only")
    return _load(path, overrides)


def _stats_config(path, overrides):
    """The settings that the figures depend on; `path` None stands for the built-in ones."""
    for override in overrides:
        if not override.startswith(_STATS_KEYS):
            raise UserError(f"override '{override}': the figures depend on data.*, targets.*, model.box_per_class and decode.* only")
    config = _load(path, overrides)
    if config.model.head != "ttfnet":
        raise UserError(f"{path}: model.head={config.model.head} has no sub-areas to measure; name a configuration with model.head=ttfnet")
    return config


def _numbers(words, option):
    """The whole numbers of an option that takes several, and the key=value arguments that argparse has given it too."""
    numbers, others = [word for word in words if "=" not in word], [word for word in words if "=" in word]
    if not numbers or not all(re.fullmatch(r"-?\d+", word) for word in numbers):
        raise UserError(f"{option} {' '.join(words)}: must be whole numbers")
    return [int(word) for word in numbers], others


def _show_config(path, overrides):
    """The settings that a page depends on; `path` None stands for the built-in ones."""
    for override in overrides:
        if not override.startswith(_SHOW_KEYS):
            raise UserError(f"override '{override}': what is shown depends on {', '.join(_SHOW_KEYS)} only")
    return _load(path, overrides)


def _load(path, overrides):
    """A configuration; `path` None stands for the built-in settings."""
    from ttfnet_tf.config import load_config

    if path is not None:
        return load_config(path, overrides)
    try:
        return load_config(os.devnull, overrides)
    except UserError as error:
        raise UserError(str(error).removeprefix(f"{os.devnull}: ")) from None
