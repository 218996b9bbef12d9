"""Published figures and the settings of cells against the tables of the paper."""

import re

import pytest
import yaml

from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.reproduce.cells import read_published, select


@pytest.fixture(scope="module")
def published():
    return read_published()


def _column(published, table, figure="AP"):
    return [cell.published.get(figure) for cell in published.tables[table].cells]


# Read off the paper's tables, left to right and top to bottom.
COLUMNS = [
    ("table1", "AP", [27.2, 31.7, 31.2, 31.6, 32.0, 32.9]),
    ("table2", "AP", [27.2, 31.0, 32.1, 32.5, 32.2, 30.9, 29.5, 26.7, 30.9, 32.1, 32.0, 30.9, 30.1, 22.6]),
    ("table2", "ratio", [0.40, 1.14, 2.17, 3.65, 6.81, 11.30, 17.27, 0.05, 0.09, 0.22, 0.42, 1.18, 2.49, 4.34]),
    ("table3", "AP", [32.2, 32.5, 32.0, 32.7, 32.9]),
    ("table3", "ratio", [3.66, 3.65, 8.01, 7.57, 7.13]),
    ("table4", "AP", [29.0, 32.0, 32.0, 32.8, 32.9, 33.2]),
    ("table4", "fps", [58.7, 55.5, 54.8, 54.6, 54.4, 54.3]),
    ("table6", "AP", [25.9, 28.1, 31.3, 32.9, 35.1]),
    ("table6", "hours", [1.8, 3.6, 4.1, 3.1, 6.1]),
    ("table6", "APs", [10.7, 11.8, 13.5, 15.3, 17.0]),
]


@pytest.mark.parametrize(("table", "figure", "expected"), COLUMNS, ids=[f"{table}-{figure}" for table, figure, _ in COLUMNS])
def test_columns_are_the_papers(published, table, figure, expected):
    assert _column(published, table, figure) == expected


# Table 5 as printed: one row for each beta; learning rates 6e-3, 1.2e-2, 1.8e-2, each with 1x and 2x.
TABLE5 = {
    0.01: [29.9, 33.4, 29.2, 33.1, 2.9, 6.0],
    0.03: [30.1, 33.5, 29.4, 33.1, 7.4, 20.2],
    0.1: [30.9, 33.7, 30.0, 33.8, 28.1, 32.7],
    0.2: [31.0, 33.8, 31.8, 34.4, 30.6, 34.0],
    0.4: [31.8, 34.3, 32.6, 35.0, 32.2, 35.2],
    0.54: [31.9, 34.1, 32.5, 35.0, 32.6, 35.3],
}


@pytest.fixture(scope="module")
def settings(published):
    """(table, cell) -> its Config; loaded once, for reading takes a tenth of a second."""
    return {(table.name, cell.name): load_config(cell.config, cell.settings) for table in published.tables.values() for cell in table.cells}


def test_every_cell_loads(published, settings):
    assert {name: len(table.cells) for name, table in published.tables.items()} == {
        "table1": 6,
        "table2": 14,
        "table3": 5,
        "table4": 6,
        "table5": 36,
        "table6": 5,
        "repository": 8,
        "figure1": 3,
        "bccd": 10,
    }
    assert len(settings) == 93


def test_table5_is_the_papers(published, settings):
    found = {}
    for cell in published.tables["table5"].cells:
        config = settings["table5", cell.name]
        column = [0.006, 0.012, 0.018].index(config.optim.lr) * 2 + [12, 24].index(config.train.epochs)
        assert config.optim.drop_epochs == ([9, 11] if config.train.epochs == 12 else [18, 22])
        assert (config.targets.alpha, config.targets.area, config.targets.weight) == (0.54, "gaussian", "log")
        found[config.targets.beta, column] = cell.published["AP"]
        assert cell.name == f"beta_{config.targets.beta:g}_lr_{config.optim.lr:g}_{config.train.epochs // 12}x"
    assert found == {(beta, column): ap for beta, row in TABLE5.items() for column, ap in enumerate(row)}


# What rows of the paper say, by hand: (table, cell) -> dotted key -> value.
D53 = {"model.backbone": "darknet53", "train.batch_size": 96, "train.epochs": 12, "optim.drop_epochs": [9, 11], "model.box_head.depth": 2}
ROWS = {
    # no Norm, no Gaussian: every cell alike
    ("table1", "equal"): {**D53, "targets.weight": "equal", "targets.area": "rectangle", "targets.beta": 0.54, "optim.lr": 0.015},
    ("table1", "norm"): {"targets.weight": "norm", "targets.area": "rectangle"},
    ("table1", "sqrt"): {"targets.weight": "sqrt", "targets.area": "rectangle"},
    ("table1", "sqrt_gaussian"): {"targets.weight": "sqrt", "targets.area": "gaussian"},
    ("table1", "log"): {"targets.weight": "log", "targets.area": "rectangle", "targets.beta": 0.54},
    ("table1", "log_gaussian"): {**D53, "targets.weight": "log", "targets.area": "gaussian", "targets.beta": 0.54},
    # rectangle, Norm + Log
    ("table2", "agnostic_0.01"): {**D53, "targets.area": "rectangle", "targets.weight": "log", "targets.beta": 0.01},
    ("table2", "aware_0.9"): {"model.box_per_class": True, "targets.area": "rectangle", "targets.weight": "log", "targets.beta": 0.9},
    ("table2", "agnostic_0.9"): {"model.box_per_class": False, "targets.beta": 0.9},
    ("table3", "rectangle_0.3_square"): {**D53, "targets.area": "rectangle", "targets.beta": 0.3, "targets.kernel": "cornernet"},
    ("table3", "rectangle_0.54_aspect"): {"targets.area": "rectangle", "targets.beta": 0.54, "targets.kernel": "aspect"},
    ("table3", "gaussian_0.54_square"): {"targets.area": "gaussian", "targets.beta": 0.54, "targets.kernel": "cornernet"},
    ("table4", "0-0-0"): {**D53, "model.shortcut": [0, 0, 0]},
    ("table4", "2-1-1"): {"model.shortcut": [2, 1, 1]},
    ("table5", "beta_0.03_lr_0.018_2x"): {"targets.beta": 0.03, "optim.lr": 0.018, "optim.lr_batch_size": 96, "train.batch_size": 96},
    ("table6", "TTFNet-34"): {"model.backbone": "resnet34", "train.epochs": 24, "train.batch_size": 128, "optim.lr": 0.016},
    ("repository", "TTFNet-53_10x"): {"model.backbone": "darknet53", "train.epochs": 120, "augment.photometric": True},
    ("repository", "TTFNet-18_10x_scratch"): {"model.pretrained": None, "model.frozen_stages": -1, "train.epochs": 120},
    ("repository", "TTFNet-DLA34"): {"model.backbone": "dla34", "train.epochs": 24},
    ("figure1", "lr_1.0x"): {
        "model.method": "centernet",
        "optim.name": "adam",
        "optim.lr": 0.0005,
        "augment.affine": True,
        "train.epochs": 140,
    },
    ("figure1", "lr_1.5x"): {"optim.lr": 0.00075, "augment.affine": True, "augment.lighting": True},
    ("figure1", "lr_1.5x_plain"): {"optim.lr": 0.00075, "augment.affine": False, "augment.lighting": False, "augment.flip": 0.5},
    ("bccd", "default"): {"targets.beta": 0.54, "train.epochs": 12, "optim.lr": 0.008, "data.image_size": [256, 256]},
    ("bccd", "centre_only_lr_4x"): {"targets.beta": 0.01, "optim.lr": 0.032, "optim.lr_batch_size": 8, "train.batch_size": 8},
    ("bccd", "centernet"): {"model.method": "centernet", "train.batch_size": 8, "train.epochs": 12, "data.image_size": [256, 256]},
}


@pytest.mark.parametrize("place", ROWS, ids="-".join)
def test_cells_are_what_their_rows_say(settings, place):
    for key, expected in ROWS[place].items():
        value = settings[place]
        for part in key.split("."):
            value = getattr(value, part)
        assert value == expected, key


def test_cells_of_a_table_differ_in_their_names_settings_only(published, settings):
    """No two cells of a table are the same run."""
    for table in published.tables.values():
        configs = [settings[table.name, cell.name] for cell in table.cells]
        assert all(configs.count(config) == 1 for config in configs), table.name


def test_centernet_is_the_published_recipe(settings):
    """experiments/ctdet_coco_resdcn18.sh and the defaults of src/lib/opts.py of xingyizhou/CenterNet."""
    config = settings["figure1", "lr_1.0x"]
    assert (config.train.batch_size, config.optim.lr, config.optim.lr_batch_size) == (114, 5e-4, 114)
    assert (config.train.epochs, config.optim.drop_epochs, config.optim.drop_factor) == (140, [90, 120], 0.1)
    assert (config.optim.weight_decay, config.optim.clip_norm, config.optim.warmup_steps, config.optim.bias_lr_multiplier) == (0, 0, 0, 1)
    assert (config.losses.heatmap_weight, config.losses.box_weight, config.losses.offset_weight) == (1, 0.1, 1)
    assert (config.model.heatmap_head, config.model.box_head) == (type(config.model.box_head)(64, 1),) * 2
    assert (config.model.shortcut, config.model.upsampling, config.model.frozen_stages) == ([0, 0, 0], "transposed", -1)
    assert (config.augment.affine, config.augment.lighting, config.augment.photometric) == (True, True, False)


def test_other_detectors(published):
    found = {detector.name: detector for detector in published.detectors}
    assert len(found) == 13
    ssd = found["SSD VGG16 300"]
    assert (ssd.family, ssd.size, ssd.published["fps"], ssd.published["hours"], ssd.published["AP"]) == (
        "SSD",
        (300, 300),
        44.0,
        21.4,
        25.7,
    )
    assert found["YOLOv3 D53 608"].published == {
        "AP": 33.0,
        "AP50": 57.9,
        "AP75": 34.4,
        "APs": 18.3,
        "APm": 25.4,
        "APl": 41.9,
        "hours": 66.7,
        "fps": 30.3,
    }
    assert found["FCOS R50-FPN"].published["AP"] == 36.6
    assert "AP50" not in found["YOLOv3 D53 320"].published


def test_selection_keeps_the_tables_order(published):
    table = published.table("table4")
    assert [cell.name for cell in select(table, ["3-2-1", "0-0-0"])] == ["0-0-0", "3-2-1"]
    assert select(table, []) == table.cells


def test_unknown_names_get_the_nearest(published):
    with pytest.raises(UserError, match=r"^unknown table 'tabel2'; did you mean 'table2'\?$"):
        published.table("tabel2")
    with pytest.raises(UserError, match=r"^table4 has no cell '3-2-2'; did you mean '3-2-1'\?$"):
        select(published.table("table4"), ["3-2-2"])


BROKEN = [
    (lambda c: c["tables"]["table1"].pop("title"), "table1: has no title"),
    (lambda c: c["tables"]["table1"].update(titel="x"), "table1: unknown key 'titel'; did you mean 'title'?"),
    (lambda c: c["tables"]["table1"]["cells"][0].update(tolerence=1), "unknown key 'tolerence'; did you mean 'tolerance'?"),
    (lambda c: c["tables"]["table1"]["cells"][1].update(name="equal"), "table1: has two cells equal"),
    (lambda c: c["tables"]["table1"].pop("config"), "cell equal has no config"),
    (lambda c: c["tables"].update(table2=3), "table2: must have the keys title,"),
    (lambda c: c["detectors"][0].pop("family"), "has no family"),
    (lambda c: c.pop("sources"), "has no sources"),
]
SMALL = """
sources: {paper: a paper}
tables:
  table1:
    {title: t, source: s, question: q, config: a.yaml, tolerance: 0.4, cells: [{name: equal, AP: 27.2}, {name: norm, tolerance: null}]}
detectors: [{name: SSD, family: SSD, size: [300, 300], AP: 25.7}]
"""


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[message for _, message in BROKEN])
def test_a_broken_file_is_reported(tmp_path, change, message):
    content = yaml.safe_load(SMALL)
    change(content)
    file = tmp_path / "published.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=re.escape(message)):
        read_published(file)


def test_cells_inherit_from_their_table(tmp_path):
    (tmp_path / "published.yaml").write_text(SMALL)
    equal, norm = read_published(tmp_path / "published.yaml").table("table1").cells
    assert (equal.config, equal.settings, equal.tolerance, equal.published) == (tmp_path / "a.yaml", (), 0.4, {"AP": 27.2})
    assert (norm.tolerance, norm.published) == (None, {})


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(UserError, match=r"published.yaml: cannot be read \(No such file or directory\); the package is incomplete"):
        read_published(tmp_path / "published.yaml")
