"""`ttfnet data show`: the training targets of images, drawn over them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence

from ttfnet_tf.cli.options import CONFIG_HELP, add_overwrite, load_settings, positive, refuse_other_keys
from ttfnet_tf.cli.parser import add_verb
from ttfnet_tf.errors import UserError

# Settings that change a page.
_KEYS = ("data.", "targets.", "augment.", "model.method", "model.box_per_class", "train.epochs", "train.seed")
_KEYS_IN_WORDS = "data.*, targets.*, augment.*, model.method, model.box_per_class, train.epochs, train.seed"


def add_to(verbs) -> None:
    """Adds the verb to the group `data`."""
    verb = add_verb(
        verbs,
        "show",
        run,
        "the training targets of images, drawn over them",
        "key=value",
        description="Draws boxes, heatmap, sub-areas, weights and ambiguous cells of images, and what resize and augmentation do to them.",
        epilog=f"Settings follow as key=value: {_KEYS_IN_WORDS}. docs/microscope.md explains the page.",
        examples=(
            "ttfnet data show train.json images --out pages --config configs/bccd_r18.yaml",
            "ttfnet data show train.json images --ids 12 57 --out pages augment.min_iou_crop=true targets.beta=0.3",
        ),
    )
    verb.add_argument("annotations", metavar="ANNOTATIONS", help="COCO instances JSON to train on")
    verb.add_argument("images", metavar="IMAGES", help="folder of its images")
    verb.add_argument("--out", metavar="DIR", help="write a page <image id>.png for each image there")
    verb.add_argument("--tensorboard", metavar="LOGDIR", help="also, or only, write them for TensorBoard")
    add_overwrite(verb)
    verb.add_argument("--ids", nargs="+", metavar="ID", help="ids of the images to show")
    verb.add_argument("--count", type=int, default=4, metavar="N", help="without --ids: images, spread evenly over the file; default 4")
    verb.add_argument("--epochs", nargs="+", default=list("01234"), metavar="E", help="epochs whose augmentation is shown; default 0 to 4")
    verb.add_argument("--config", metavar="CONFIG", help=CONFIG_HELP)


def run(args: argparse.Namespace) -> None:
    """Writes the pages, and prints where."""
    ids, after_ids = _numbers(args.ids, "--ids") if args.ids else (None, [])
    epochs, after_epochs = _numbers(args.epochs, "--epochs")
    overrides = [*args.rest, *after_ids, *after_epochs]
    refuse_other_keys(overrides, _KEYS, f"what is shown depends on {_KEYS_IN_WORDS} only")
    config = load_settings(args.config, overrides)
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
        overwrite=args.overwrite,
    )
    print("\n".join(lines))


def _numbers(words: Sequence[str], option: str) -> tuple[list[int], list[str]]:
    """The integers of an option that takes several, and the key=value words that argparse gave to it too."""
    numbers, others = [word for word in words if "=" not in word], [word for word in words if "=" in word]
    if not numbers or not all(re.fullmatch(r"-?\d+", word) for word in numbers):
        raise UserError(f"{option} {' '.join(words)}: must be integers")
    return [int(word) for word in numbers], others
