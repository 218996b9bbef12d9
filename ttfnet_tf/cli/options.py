"""Shared by several verbs: help texts, checks of option values, and loading of settings."""

from __future__ import annotations

import argparse
import csv
import math
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.locations import is_url

if TYPE_CHECKING:
    from ttfnet_tf.config import Config

RUN_HELP = "work directory, one checkpoint such as runs/x/checkpoints/step-370, an exported SavedModel, a .tflite or an .onnx file"
CONFIG_HELP = "YAML file with settings; default the built-in ones"
OVERLAP = 0.2  # of tiles
_SETTING = re.compile(r"[a-z_]+(\.[a-z_]+)+=")


def add_overwrite(verb: argparse.ArgumentParser) -> None:
    """Adds --overwrite to a verb that writes files."""
    verb.add_argument("--overwrite", action="store_true", help="also replace files that this command has not written")


def positive(value: int, option: str) -> int:
    """The value of an option that counts something.

    Raises:
        UserError: it is below 1.
    """
    if value < 1:
        raise UserError(f"{option} {value} must be 1 or more")
    return value


def threshold(value: float, option: str) -> float:
    """The value of an option that is a score threshold.

    Args:
        value: 0..1, 1 excluded.
        option: as typed, for the message, e.g. "--score-threshold 1".

    Raises:
        UserError: it is outside that range.
    """
    if not 0 <= value < 1:
        raise UserError(f"{option} must lie in 0..1, 1 excluded")
    return value


def class_list(values: Sequence[str]) -> tuple[str, ...]:
    """The class names of an option that may be repeated: with commas between, and in quotes where a name has a comma.

    Raises:
        UserError: a name is empty.
    """
    names = tuple(name.strip() for row in csv.reader(values, skipinitialspace=True) for name in row)
    if "" in names or (values and not names):
        raise UserError(f"--classes {','.join(values)}: a name is empty; give the names of classes with commas between")
    return names


def load_detector(run: str, options: dict[str, Any], classes: Sequence[str], tiling: tuple[int, float, int] | None = None):
    """The detector, limited to `classes` and in tiles if wanted; and category id -> index of the class, which decides its colour."""
    from ttfnet_tf.progress import working

    with working(f"loading {run}"):
        from ttfnet_tf.inference.detector import Detector

        detector: Any = Detector.load(run, **options)
        if classes:
            detector.keep_classes(classes)
        if tiling is not None:
            tile, overlap, max_pixels = tiling
            detector = detector.tiled(tile, overlap, max_pixels=max_pixels)
    return detector, {category_id: index for index, category_id in enumerate(detector.category_ids)}


def add_tiles(verb: argparse.ArgumentParser) -> None:
    """Adds the options of detection in tiles."""
    group = verb.add_argument_group("large images (docs/image_sizes.md)")
    group.add_argument("--tile", type=int, metavar="PX", help="detect in tiles of this side and merge what they give")
    group.add_argument("--overlap", type=float, metavar="F", help="of neighbouring tiles, 0 to .5 of their side; default .2")
    group.add_argument(
        "--max-pixels", type=int, metavar="N", help=f"height x width of the largest image that is read; default {MAX_PIXELS}"
    )


def tiles(args: argparse.Namespace) -> tuple[int, float, int] | None:
    """(tile, overlap, max_pixels) of the options; None without --tile.

    Raises:
        UserError: one is out of range, or needs --tile.
    """
    from ttfnet_tf.inference.tiling import check_tiles

    if args.tile is None:
        for option, value in (("--overlap", args.overlap), ("--max-pixels", args.max_pixels)):
            if value is not None:
                raise UserError(f"{option} is for images in tiles; add --tile, e.g. --tile 512")
        return None
    overlap = OVERLAP if args.overlap is None else args.overlap
    check_tiles(args.tile, overlap)
    return args.tile, overlap, MAX_PIXELS if args.max_pixels is None else positive(args.max_pixels, "--max-pixels")


def refuse_other_keys(overrides: Iterable[str], prefixes: Sequence[str], why: str) -> None:
    """Checks that every key=value begins with one of the prefixes.

    Raises:
        UserError: one does not; `why` ends the message.
    """
    for override in overrides:
        if not override.startswith(tuple(prefixes)):
            raise UserError(f"override '{override}': {why}")


def split_settings(arguments: Iterable[str]) -> tuple[list[str], list[str]]:
    """(arguments that name files, arguments that are settings); a file whose name looks like key=value is a file."""
    files, settings = [], []
    for one in arguments:
        is_setting = _SETTING.match(one) and not os.path.lexists(one.replace("\0", ""))
        (settings if is_setting else files).append(one)
    return files, settings


def check_timed_data(args: argparse.Namespace, verb: str, least: float, most: float) -> None:
    """Checks --minutes, DATA, --work-dir and --images of a verb that trains on a data set within a time.

    Raises:
        UserError: the minutes do not lie in least..most, a path is a URL, or there is no such folder of images.
    """
    if not math.isfinite(args.minutes) or not least <= args.minutes <= most:
        raise UserError(f"--minutes {args.minutes:g} must lie in {least:g}..{most:g}")
    if is_url(args.data) or (args.work_dir and is_url(args.work_dir)):
        raise UserError(f"{args.data if is_url(args.data) else args.work_dir}: {verb} reads and writes on a disk; name a path")
    if args.images is not None and not Path(args.images).is_dir():
        raise UserError(f"--images {args.images}: is not a folder")


def image_size_of(run: str, settings: Sequence[str], why: str) -> tuple[int, int] | None:
    """(H, W) that `data.image_size=[H,W]` of the command line asks for; None: that of training or export. Checks that there is a run.

    Raises:
        UserError: there is no run or exported model, the size is wrong or not that of the export, or another key is set; `why` ends that
            message.
    """
    from ttfnet_tf.config import config_of, load_stored
    from ttfnet_tf.inference.exported_model import find_exported
    from ttfnet_tf.runs.run_folder import work_directory

    refuse_other_keys(settings, ["data.image_size="], why)
    exported = find_exported(run)
    if exported:
        config = config_of(exported.card["config"], settings, source=str(exported.path))
        exported.check_image_size(config.data.size)
    else:
        config = load_stored(work_directory(run) / "config.yaml", settings)
    return config.data.size if settings else None


def load_settings(config: str | None, overrides: Sequence[str]) -> Config:
    """Settings of a YAML file with key=value on top; None: the built-in ones.

    Raises:
        UserError: a key is unknown or a value is wrong.
    """
    from ttfnet_tf.config import load_config

    if config is not None:
        return load_config(config, overrides)
    try:
        return load_config(os.devnull, overrides)
    except UserError as error:
        raise UserError(str(error).removeprefix(f"{os.devnull}: ")) from None
