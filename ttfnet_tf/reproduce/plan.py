"""Turns published cells into training runs: which settings, in which folder.

A run is a cell with a seed, in DIR/<table>/<cell>/seed<k>.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from ttfnet_tf.config import Config, SetConfig, load_config
from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.errors import UserError
from ttfnet_tf.models.backbones import BACKBONES
from ttfnet_tf.recipes import recipe_path
from ttfnet_tf.reproduce.cells import Cell, Table

SMALL = 0.5  # up to this scale the smallest backbone is used, without pretrained weights
LEAST_SIDE = 64  # px
LEAST_BATCH = 4
STEPS_OF_AN_EPOCH = 50  # a scaled run takes at least so many steps for each published epoch, but no more epochs than published
_SPLITS = (("train", "train2017"), ("val", "val2017"))


@dataclass(frozen=True)
class Run:
    """One training run of a cell."""

    cell: Cell
    seed: int
    config: Config
    settings: tuple[str, ...]  # key=value on top of the cell's configuration file, which together give `config`
    folder: Path  # work directory

    @property
    def command(self) -> str:
        """The command that makes this run alone."""
        return shlex.join(["ttfnet", "train", recipe_path(self.cell.config), "--work-dir", str(self.folder), *self.settings])


@dataclass(frozen=True)
class DataFolder:
    """A COCO-format set in the layout that `ttfnet data shapes` writes, or COCO's own."""

    settings: tuple[str, ...]  # data.* settings
    is_coco: bool  # COCO 2017 by its file names: published figures can be compared


def data_folder(folder: str | Path) -> DataFolder:
    """Finds the annotations and images in a folder.

    `annotations/train.json` and `annotations/val.json` with images in `train/` and `val/` or all in `images/`; or
    `annotations/instances_train2017.json`, ..., with images in `train2017/` and `val2017/`.

    Raises:
        UserError: a file or folder is missing.
    """
    folder = Path(folder)
    settings = []
    is_coco = (folder / "annotations" / "instances_train2017.json").is_file()
    for split, coco_name in _SPLITS:
        annotations = folder / "annotations" / (f"instances_{coco_name}.json" if is_coco else f"{split}.json")
        if not annotations.is_file():
            raise UserError(f"--data {folder}: has no {annotations.relative_to(folder)}; it must have annotations/train.json and val.json")
        places = [folder / coco_name] if is_coco else [folder / split, folder / "images"]
        images = next((place for place in places if place.is_dir()), None)
        if images is None:
            raise UserError(f"--data {folder}: has no folder {' or '.join(place.name for place in places)} with the images of {split}")
        settings += [f"data.{split}.annotations={annotations}", f"data.{split}.images={images}"]
    return DataFolder(tuple(settings), is_coco)


def plan(
    table: Table,
    cells: Sequence[Cell],
    *,
    out: Path,
    seeds: int = 1,
    data: Sequence[str] = (),
    scale: float | None = None,
    overrides: Sequence[str] = (),
) -> tuple[Run, ...]:
    """Plans the runs of some cells.

    Later settings win: the cell's, `data`, those of `scale`, `overrides`, the seed.

    Args:
        table: of the cells.
        cells: to run.
        out: parent folder of all tables.
        seeds: number of runs of each cell, with `train.seed` 0, 1, ...
        data: data.* settings.
        scale: 0 < scale <= 1, see `scaled_settings`; None leaves the recipes as they are.
        overrides: key=value for every run.

    Raises:
        UserError: a setting is wrong, an override would make cells alike, a number is out of range, or, with `scale`, the data are
            missing.
    """
    if seeds < 1:
        raise UserError(f"--seeds {seeds} must be 1 or more")
    if scale is not None and not 0 < scale <= 1:
        raise UserError(f"--scale {scale:g} must lie in 0..1, 0 excluded")
    _refuse_flattening(table, cells, overrides)
    one_backbone = len({_load(cell.config).model.backbone for cell in table.cells}) == 1
    runs = []
    for cell in cells:
        settings = (*cell.settings, *data)
        if scale is not None:
            config = load_config(cell.config, settings)
            images = _count_images(*_training_files(config, overrides))
            settings += scaled_settings(config, scale, images, swap_backbone=one_backbone, given=overrides)
        settings += tuple(overrides)
        config = load_config(cell.config, settings)
        for seed in range(seeds):
            # Only the seed differs: set here rather than reading everything again.
            seeded = dataclasses.replace(config, train=dataclasses.replace(config.train, seed=seed))
            runs.append(Run(cell, seed, seeded, (*settings, f"train.seed={seed}"), out / table.name / cell.name / f"seed{seed}"))
    return tuple(runs)


def scaled_settings(
    config: Config, scale: float, num_images: int, *, swap_backbone: bool = True, given: Sequence[str] = ()
) -> tuple[str, ...]:
    """key=value that shrink a recipe until it fits a laptop; docs/ablations.md explains it.

    With S = `scale`:
        image sides are S times as long, rounded to 32 px, at least 64;
        the batch has S^2 times the images, at least 4;
        the run has S times the epochs, or enough for 50 steps for each published epoch, but no more epochs than published;
        drops of the learning rate stay at the same fraction of the run;
        `lr_batch_size` is S times as large: the learning rate follows the batch, and is divided by S for the shorter run;
        warm-up takes at most a fifth of the run; every epoch is evaluated; up to S = 0.5 nothing is pretrained.

    Args:
        config: the recipe.
        scale: S in (0, 1].
        num_images: to train on.
        swap_backbone: whether ResNet-18 replaces larger backbones up to S = 0.5.
        given: key=value of the user; these keys are not set here, and others are derived from their values.
    """
    chosen = {key: yaml.safe_load(value) for key, _, value in (setting.partition("=") for setting in given)}
    recipe, optim = config.train, config.optim
    batch = max(LEAST_BATCH, round(scale**2 * recipe.batch_size))
    epoch_steps = -(-num_images // int(chosen.get("train.batch_size", batch)))
    enough = -(-STEPS_OF_AN_EPOCH * recipe.epochs // epoch_steps)
    epochs = min(recipe.epochs, max(1, round(scale * recipe.epochs), enough))
    run_epochs = float(chosen.get("train.epochs", epochs))
    drops = ",".join(f"{drop * run_epochs / recipe.epochs:g}" for drop in optim.drop_epochs)
    steps_down = chosen.get("optim.schedule", optim.schedule) == "step"
    scales = chosen.get("optim.scale_lr", optim.scale_lr)
    height, width = (max(LEAST_SIDE, 32 * round(scale * side / 32)) for side in config.data.image_size)
    settings = {
        "data.image_size": f"[{height},{width}]",
        "train.batch_size": batch,
        "train.epochs": epochs,
        **({"optim.drop_epochs": f"[{drops}]"} if steps_down else {}),
        **({"optim.lr_batch_size": max(1, round(scale * optim.lr_batch_size))} if scales else {}),
        "optim.warmup_steps": min(optim.warmup_steps, int(run_epochs * epoch_steps) // 5),
        "train.evaluate_every": 1,
        "train.keep_checkpoints": 1,
    }
    if scale <= SMALL:
        if swap_backbone and config.model.backbone != "resnet18":
            settings["model.backbone"] = "resnet18"
        if "model.pretrained" not in chosen:
            settings.update({"model.pretrained": "null", "model.frozen_stages": -1})
            backbone = chosen.get("model.backbone", settings.get("model.backbone", config.model.backbone))
            if backbone in BACKBONES and "zero_init_residual" not in BACKBONES[backbone].ignores:
                settings["model.zero_init_residual"] = "false"
    return tuple(f"{key}={value}" for key, value in settings.items() if key not in chosen)


def check_data(runs: Iterable[Run]) -> None:
    """Checks before the first run that the files and folders of all runs exist.

    Raises:
        UserError: one is missing.
    """
    for run in runs:
        for name, split in (("train", run.config.data.train), ("val", run.config.data.val)):
            files = split.files or [SetConfig(split.annotations, split.images)]
            paths = [(key, getattr(one, key)) for one in files for key in ("annotations", "images")]
            for key, path in paths:
                if not (os.path.isfile(path) if key == "annotations" else os.path.isdir(path)):
                    raise UserError(
                        f"data.{name}.{key}={path} does not exist; name the data set by --data FOLDER or data.{name}.{key}=PATH"
                    )
        weights = run.config.model.pretrained
        if weights and not weights.startswith("timm/") and Path(weights).suffix and not os.path.isfile(weights):
            raise UserError(
                f"model.pretrained={weights} does not exist; name weights of {run.config.model.backbone} by model.pretrained=FILE"
            )


def _refuse_flattening(table: Table, cells: Sequence[Cell], overrides: Sequence[str]) -> None:
    """Refuses an override of a key in which the cells differ: it would make them all alike."""
    keys = {override.partition("=")[0] for override in overrides}
    if "train.seed" in keys:
        raise UserError("train.seed is set by --seeds N, which runs the seeds 0 to N - 1")
    taken = sorted(keys & {setting.partition("=")[0] for cell in cells for setting in cell.settings})
    if taken:
        advice = "optim.lr_batch_size raises or lowers all learning rates alike" if taken[0] == "optim.lr" else "remove it"
        raise UserError(f"{taken[0]} is what the cells of {table.name} differ in, so it cannot be set for all; {advice}")


def _training_files(config: Config, overrides: Sequence[str]) -> tuple[str, str, str, float, int, str]:
    """What the number of training images depends on, as set by the user or by the recipe."""
    data = {key: value for key, _, value in (override.partition("=") for override in overrides)}
    if other := sorted(data.keys() & {"data.classes", "data.train", "data.train.sets"}):
        raise UserError(f"{other[0]}: --scale counts the images of one annotation file with all of its classes; leave out one of the two")
    return (
        data.get("data.train.annotations", config.data.train.annotations),
        data.get("data.train.images", config.data.train.images),
        data.get("data.crowd", config.data.crowd),
        float(data.get("data.min_box_size", config.data.min_box_size)),
        int(data.get("data.min_image_size", config.data.min_image_size)),
        data.get("data.empty_images", config.data.empty_images),
    )


@functools.cache
def _count_images(annotations: str, images: str, crowd: str, min_box_size: float, min_image_size: int, empty_images: str) -> int:
    if not Path(annotations).is_file():
        raise UserError(f"{annotations}: does not exist, but --scale needs the number of images; name a data set by --data FOLDER")
    split = load_coco(
        annotations,
        images,
        crowd=crowd,
        min_box_size=min_box_size,
        min_image_size=min_image_size,
        empty_images=empty_images,
        training=True,
    )
    return len(split.images)


@functools.cache
def _load(config: Path) -> Config:
    return load_config(config)
