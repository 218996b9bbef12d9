"""Every recipe loads, says what it is, and survives a dump; every setting is explained."""

import dataclasses
import re
from pathlib import Path

import pytest

from ttfnet_tf.config import Config, dump_config, effective_lr, load_config

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted(path for path in (ROOT / "configs").rglob("*.yaml") if path.name != "published.yaml")
RUNS = [path for path in CONFIGS if not path.name.startswith("_")]


def _id(path):
    return str(path.relative_to(ROOT / "configs"))


@pytest.mark.parametrize("path", CONFIGS, ids=_id)
def test_every_config_loads_and_round_trips(path, tmp_path):
    config = load_config(path)
    dumped = tmp_path / "dumped.yaml"
    dumped.write_text(dump_config(config))
    assert load_config(dumped) == config


@pytest.mark.parametrize("path", RUNS, ids=_id)
def test_every_run_says_its_command_and_what_to_expect(path):
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert any("Command:" in line for line in header)
    assert any("Expected:" in line for line in header)


# (config, backbone, peak learning rate, batch, epochs, drops, frozen stages, convolutions in the box head), from the published
# recipes and, for blood cells, from the run of the official code that ours is held against.
RECIPES = [
    ("ttfnet_r18_1x", "resnet18", 0.016, 128, 12, [9, 11], 1, 1),
    ("ttfnet_r18_2x", "resnet18", 0.016, 128, 24, [18, 22], 1, 1),
    ("ttfnet_r34_2x", "resnet34", 0.016, 128, 24, [18, 22], 1, 2),
    ("ttfnet_d53_1x", "darknet53", 0.015, 96, 12, [9, 11], 1, 2),
    ("ttfnet_d53_2x", "darknet53", 0.015, 96, 24, [18, 22], 1, 2),
    ("ttfnet_r18_aug_10x", "resnet18", 0.016, 128, 120, [90, 110], 1, 1),
    ("ttfnet_r34_aug_10x", "resnet34", 0.016, 128, 120, [90, 110], 1, 2),
    ("ttfnet_d53_aug_10x", "darknet53", 0.015, 96, 120, [90, 110], 1, 2),
    ("ttfnet_r18_scratch_aug_10x", "resnet18", 0.016, 128, 120, [90, 110], -1, 1),
    ("ttfnet_r34_scratch_aug_10x", "resnet34", 0.016, 128, 120, [90, 110], -1, 2),
    ("ttfnet_d53_scratch_aug_10x", "darknet53", 0.015, 96, 120, [90, 110], -1, 2),
    ("bccd_r18", "resnet18", 0.008, 8, 24, [18, 22], 1, 1),
    ("bccd_r18_scratch", "resnet18", 0.008, 8, 12, [9, 11], -1, 1),
]


@pytest.mark.parametrize(("name", "backbone", "lr", "batch", "epochs", "drops", "frozen", "depth"), RECIPES, ids=[r[0] for r in RECIPES])
def test_recipes_are_the_published_ones(name, backbone, lr, batch, epochs, drops, frozen, depth):
    config = load_config(ROOT / "configs" / f"{name}.yaml")
    assert (config.model.backbone, config.model.frozen_stages, config.model.box_head.depth) == (backbone, frozen, depth)
    assert (config.train.batch_size, config.train.epochs, config.optim.drop_epochs) == (batch, epochs, drops)
    assert effective_lr(config) == pytest.approx(lr)
    assert (config.optim.momentum, config.optim.weight_decay, config.optim.clip_norm) == (0.9, 4e-4, 35.0)
    assert (config.optim.bias_lr_multiplier, config.optim.bias_weight_decay, config.optim.drop_factor) == (2.0, 0.0, 0.1)
    assert (config.optim.warmup_steps, config.optim.warmup_ratio) == ((100 if "bccd" in name else 500), 0.2)
    assert config.data.image_size == ([256, 256] if "bccd" in name else [512, 512])
    assert (config.targets.alpha, config.targets.beta, config.targets.area, config.targets.weight) == (0.54, 0.54, "gaussian", "log")
    assert (config.losses.heatmap_weight, config.losses.box_weight) == (1.0, 5.0)
    assert (config.model.pretrained is None) == ("scratch" in name)
    assert config.model.zero_init_residual != ("scratch" in name and backbone != "darknet53")  # which has no such branch
    augmented = "aug" in name
    assert (config.augment.photometric, config.augment.expand, config.augment.min_iou_crop) == (augmented, 0.5 * augmented, augmented)
    assert (config.augment.flip, config.augment.affine, config.augment.lighting) == (0.5, False, False)


def _keys(section, prefix=""):
    for field in dataclasses.fields(section):
        value = getattr(section, field.name)
        if dataclasses.is_dataclass(value):
            yield from _keys(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"


def test_every_setting_is_explained_and_nothing_else():
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    explained = set()
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        name = section.split()[0]
        for row in re.findall(r"^\| (`[^|]*) \|", section, flags=re.MULTILINE):
            explained |= {f"{name}.{key.removeprefix(name + '.')}" for key in re.findall(r"`([\w.]+)`", row)}
    assert explained == set(_keys(Config()))
