"""From cells to runs, their resumption, tables, trend and plots. Training is a stub that writes metrics.jsonl; one run is real."""

import json
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from PIL import Image

from ttfnet_tf import cli, plots, reproduce, results
from ttfnet_tf.cells import Cell, Detector, Published, Table, read_published, select
from ttfnet_tf.config import load_config
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.errors import DivergenceError, UserError
from ttfnet_tf.reproduce import plan, run_all, scaled_settings


@pytest.fixture(scope="module")
def published():
    return read_published()


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "shapes"
    draw_shapes(folder, train=6, val=2, size=(64, 64), seed=1)
    return folder


@pytest.fixture
def table(tmp_path):
    """Three cells; "b" has a setting, "c" has no AP to compare with."""
    config = tmp_path / "base.yaml"
    config.write_text("train: {epochs: 2, batch_size: 4}\noptim: {drop_epochs: [1], lr_batch_size: 4}\ndata: {image_size: [64, 64]}")
    cells = (
        Cell("a", config, (), {"AP": 30.0, "ratio": 1.5}, 0.4),
        Cell("b", config, ("targets.beta=0.1",), {"AP": 32.0}, 0.4),
        Cell("c", config, ("targets.beta=0.2",), {}, None),
    )
    return Table("t", "a title", "a source", "Why?", cells)


class Trainer:
    """Stands in for training: writes what it would, with AP by cell and seed."""

    def __init__(self, precision, stop_at=None, diverge=()):
        self.precision, self.stop_at, self.diverge, self.calls = precision, stop_at, diverge, []

    def __call__(self, config, folder):
        name = folder.parent.name
        self.calls.append(f"{name}{config.train.seed}")
        folder.mkdir(parents=True, exist_ok=True)
        if name in self.diverge:
            (folder / "metrics.jsonl").write_text('{"step": 10, "epoch": 0.1, "loss": 3.0, "images_per_second": 8.0}\n')
            raise DivergenceError(f"{folder}: the loss is nan at step 20; lower optim.lr")
        if self.calls[-1] == self.stop_at:
            (folder / "metrics.jsonl").write_text('{"step": 10, "epoch": 1.0, "AP": 0.01, "AP50": 0.02}\n')
            return SimpleNamespace(finished=False, step=10)
        ap = self.precision[name] + config.train.seed / 100
        lines = [
            {"step": 90, "epoch": 1.0, "loss": 2.0, "images_per_second": 2.0},
            {"step": 90, "epoch": 1.0, "AP": ap / 2, "AP50": ap},
            {"step": 180, "epoch": 2.0, "loss": 1.0, "images_per_second": 4.0},
            {"step": 180, "epoch": 2.0, "AP": ap, "AP50": 2 * ap},
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return SimpleNamespace(finished=True, step=180)


PRECISION = {"a": 0.302, "b": 0.314, "c": 0.25}
COMPARABLE = results.Circumstances(True, None, None, ())
OTHER_SET = results.Circumstances(False, "SET", 0.25, ("optim.lr=1",))


# Planning


def test_runs_have_their_settings_folders_and_commands(table, tmp_path):
    runs = plan(table, table.cells[:2], out=tmp_path / "out", seeds=2, overrides=["optim.lr=0.5"])
    assert [(run.cell.name, run.seed) for run in runs] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    last = runs[-1]
    assert last.folder == tmp_path / "out/t/b/seed1"
    assert last.settings == ("targets.beta=0.1", "optim.lr=0.5", "train.seed=1")
    assert (last.config.targets.beta, last.config.optim.lr, last.config.train.seed) == (0.1, 0.5, 1)
    words = shlex.split(last.command)
    assert words[:2] == ["python", "tools/train.py"]
    assert words[3:] == ["--work-dir", str(last.folder), *last.settings]
    # The command by hand is the same run.
    assert load_config(words[2], words[5:]) == last.config


def test_seeds_and_what_cells_differ_in_cannot_be_overridden(table, tmp_path):
    with pytest.raises(UserError, match=r"^targets.beta is what cells of t differ in"):
        plan(table, table.cells, out=tmp_path, overrides=["targets.beta=0.3"])
    assert plan(table, table.cells[:1], out=tmp_path, overrides=["targets.beta=0.3"])[0].config.targets.beta == 0.3
    with pytest.raises(UserError, match=r"^train.seed is set by --seeds N"):
        plan(table, table.cells, out=tmp_path, overrides=["train.seed=3"])
    with pytest.raises(UserError, match="--seeds 0 must be 1 or more"):
        plan(table, table.cells, out=tmp_path, seeds=0)
    for scale in (0, 1.5, float("nan")):
        with pytest.raises(UserError, match=r"--scale .* must lie in 0..1, 0 excluded"):
            plan(table, table.cells, out=tmp_path, scale=scale)


def test_the_learning_rate_has_its_own_advice(published, tmp_path):
    table = published.table("table5")
    with pytest.raises(UserError, match=r"optim.lr_batch_size raises or lowers all learning rates alike"):
        plan(table, table.cells[:1], out=tmp_path, overrides=["optim.lr=0.1"])


def _settings(*arguments, **keywords):
    return dict(setting.split("=") for setting in scaled_settings(*arguments, **keywords))


def test_scale_by_hand(root):
    """TTFNet-53 1x: 512 px, batch 96, 12 epochs with drops at 9 and 11, lr .015 for 96, 500 steps of warm-up."""
    config = load_config(root / "configs/ttfnet_d53_1x.yaml")
    # 400 pictures in batches of 96 / 16 = 6: 67 steps an epoch. 50 x 12 = 600 steps take 9 epochs.
    assert _settings(config, 0.25, 400) == {
        "data.image_size": "[128,128]",
        "train.batch_size": "6",
        "train.epochs": "9",
        "optim.drop_epochs": "[6.75,8.25]",
        "optim.lr_batch_size": "24",
        "optim.warmup_steps": "120",  # a fifth of 603
        "train.evaluate_every": "1",
        "train.keep_checkpoints": "1",
        "model.backbone": "resnet18",
        "model.pretrained": "null",
        "model.frozen_stages": "-1",
        "model.zero_init_residual": "false",
    }
    # COCO: a quarter of the epochs is more than enough.
    large = _settings(config, 0.25, 117266)
    assert (large["train.epochs"], large["optim.drop_epochs"], large["optim.warmup_steps"]) == ("3", "[2.25,2.75]", "500")
    # Very few pictures: never more epochs than published.
    assert _settings(config, 0.25, 20)["train.epochs"] == "12"
    # Above a half the network stays, as do its weights. 0.75 x 512 = 384; 96 x 9 / 16 = 54.
    three_quarters = _settings(config, 0.75, 400)
    assert not [key for key in three_quarters if key.startswith("model.")]
    assert (three_quarters["data.image_size"], three_quarters["train.batch_size"]) == ("[384,384]", "54")
    # Least sizes.
    tiny = _settings(config, 0.01, 400)
    assert (tiny["data.image_size"], tiny["train.batch_size"]) == ("[64,64]", "4")


def test_scaled_learning_rate_is_the_published_one_times_the_scale(root, published, shapes, tmp_path):
    from ttfnet_tf.config import effective_lr

    table = published.table("table5")
    cells = select(table, ["beta_0.01_lr_0.018_2x", "beta_0.54_lr_0.012_1x"])
    runs = plan(table, cells, out=tmp_path, data=reproduce.data_folder(shapes).settings, scale=0.25)
    by_name = {run.cell.name: run.config for run in runs}
    assert effective_lr(by_name["beta_0.01_lr_0.018_2x"]) == pytest.approx(0.018 / 4)
    assert effective_lr(by_name["beta_0.54_lr_0.012_1x"]) == pytest.approx(0.012 / 4)
    assert by_name["beta_0.01_lr_0.018_2x"].train.epochs == 24  # 6 pictures: one step an epoch
    assert {config.model.backbone for config in by_name.values()} == {"resnet18"}


def test_settings_of_the_user_come_after_the_scale(root):
    config = load_config(root / "configs/ttfnet_d53_1x.yaml")
    given = ["train.batch_size=8", "train.epochs=4", "model.pretrained=mine.npz"]
    settings = _settings(config, 0.25, 400, given=given)
    assert not {"train.batch_size", "train.epochs", "model.pretrained", "model.frozen_stages"} & set(settings)
    assert settings["optim.drop_epochs"] == "[3,3.66667]"  # 9 / 12 and 11 / 12 of 4
    assert settings["optim.warmup_steps"] == "40"  # a fifth of 4 x 50
    assert settings["model.backbone"] == "resnet18"
    assert "model.backbone" not in _settings(config, 0.25, 400, swap_backbone=False)


def test_tables_of_backbones_keep_them(published, shapes, tmp_path):
    data = reproduce.data_folder(shapes).settings
    table = published.table("table6")
    runs = plan(table, table.cells, out=tmp_path, data=data, scale=0.25)
    assert [run.config.model.backbone for run in runs] == ["resnet18", "resnet18", "resnet34", "darknet53", "darknet53"]
    assert {run.config.model.pretrained for run in runs} == {None}


def test_data_folders(shapes, tmp_path):
    found = reproduce.data_folder(shapes)
    assert found.is_coco is False
    assert found.settings[0] == f"data.train.annotations={shapes / 'annotations/train.json'}"
    assert found.settings[3] == f"data.val.images={shapes / 'val'}"
    folder = tmp_path / "set"
    (folder / "annotations").mkdir(parents=True)
    with pytest.raises(UserError, match=r"has no annotations/train.json"):
        reproduce.data_folder(folder)
    for name in ("train.json", "val.json"):
        (folder / "annotations" / name).write_text("{}")
    with pytest.raises(UserError, match=r"has no folder train or images"):
        reproduce.data_folder(folder)
    (folder / "images").mkdir()
    assert reproduce.data_folder(folder).settings[1::2] == (
        f"data.train.images={folder / 'images'}",
        f"data.val.images={folder / 'images'}",
    )
    for split in ("train", "val"):
        (folder / "annotations" / f"instances_{split}2017.json").write_text("{}")
        (folder / f"{split}2017").mkdir()
    coco = reproduce.data_folder(folder)
    assert coco.is_coco
    assert coco.settings[1::2] == (f"data.train.images={folder / 'train2017'}", f"data.val.images={folder / 'val2017'}")


def test_missing_files_are_told_before_the_first_run(table, shapes, tmp_path):
    with pytest.raises(UserError, match=r"^data.train.annotations= is not there; name the set by --data FOLDER"):
        reproduce.check_data(plan(table, table.cells, out=tmp_path))
    data = reproduce.data_folder(shapes).settings
    reproduce.check_data(plan(table, table.cells, out=tmp_path, data=data))
    with pytest.raises(UserError, match=r"^model.pretrained=gone.npz is not there; name a file of resnet18"):
        reproduce.check_data(plan(table, table.cells, out=tmp_path, data=data, overrides=["model.pretrained=gone.npz"]))
    reproduce.check_data(plan(table, table.cells, out=tmp_path, data=data, overrides=["model.pretrained=timm/resnet18.tv_in1k"]))


# Running


def test_finished_runs_are_not_made_again_and_stopped_ones_go_on(table, tmp_path):
    runs = plan(table, table.cells, out=tmp_path, seeds=2)
    said = []
    first = Trainer(PRECISION, stop_at="b1")
    assert run_all(runs, first, said.append) is False
    assert first.calls == ["a0", "a1", "b0", "b1"]
    assert said[-1] == "[4/6] b seed 1: stopped and saved at step 10; the same command goes on from there"
    states = [[run.state for run in result.runs] for result in results.collect(runs)]
    assert states == [["done", "done"], ["done", "unfinished"], ["missing", "missing"]]
    assert results.collect(runs)[1].mean == pytest.approx(31.4)  # the one that is done
    second = Trainer(PRECISION)
    assert run_all(runs, second, said.append) is True
    assert second.calls == ["b1", "c0", "c1"]
    assert f"[1/6] a seed 0: done before, {runs[0].folder}" in said


def test_other_settings_are_another_run(table, tmp_path):
    """Whether it may go on in the same folder is then up to training."""
    run_all(plan(table, table.cells[:1], out=tmp_path), Trainer(PRECISION), lambda line: None)
    changed = plan(table, table.cells[:1], out=tmp_path, overrides=["train.epochs=3"])
    assert not reproduce.is_done(changed[0])
    again = Trainer(PRECISION)
    run_all(changed, again, lambda line: None)
    assert again.calls == ["a0"]


def test_a_diverged_run_is_a_result_and_others_go_on(table, tmp_path):
    runs, said = plan(table, table.cells, out=tmp_path), []
    assert run_all(runs, Trainer(PRECISION, diverge="b"), said.append) is True
    found = {result.cell.name: result for result in results.collect(runs)}
    assert [found[name].runs[0].state for name in "abc"] == ["done", "failed", "done"]
    assert found["b"].mean is None
    page = results.markdown(table, list(found.values()), COMPARABLE)
    assert f"Failed: b seed 0: {runs[1].folder}: the loss is nan at step 20; lower optim.lr" in page
    again = Trainer(PRECISION)
    run_all(runs, again, said.append)
    assert again.calls == []


def test_a_run_that_cannot_start_stops_everything(table, tmp_path):
    def refuse(config, folder):
        raise UserError("no space left")

    runs = plan(table, table.cells, out=tmp_path)
    with pytest.raises(UserError, match="no space left"):
        run_all(runs, refuse, lambda line: None)
    assert not (runs[0].folder / reproduce.RESULT).exists()


def test_a_damaged_result_is_told(table, tmp_path):
    runs = plan(table, table.cells[:1], out=tmp_path)
    runs[0].folder.mkdir(parents=True)
    (runs[0].folder / reproduce.RESULT).write_text('{"config"')
    with pytest.raises(UserError, match=r"result.json: is damaged; delete it"):
        reproduce.is_done(runs[0])


# Tables


def _results(table, tmp_path, precision=PRECISION, seeds=1):
    runs = plan(table, table.cells, out=tmp_path, seeds=seeds)
    run_all(runs, Trainer(precision), lambda line: None)
    return results.collect(runs)


def test_measured_beside_published(table, tmp_path):
    page = results.markdown(table, _results(table, tmp_path), COMPARABLE)
    assert page.splitlines() == [
        "# t: a title",
        "",
        "Why? Source: a source.",
        "",
        "Runs: the published recipes.",
        "",
        "| cell | ratio published | AP published | AP measured | difference | tolerance | within | state |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        "| a | 1.50 | 30.0 | 30.2 | +0.2 | 0.4 | yes | done |",
        "| b |  | 32.0 | 31.4 | -0.6 | 0.4 | no | done |",
        "| c |  |  | 25.0 |  |  |  | done |",
        "",
        "Order: 1 of 1 pairs of cells that differ clearly where published are in the same order here.",
    ]


def test_on_another_set_only_the_order_is_held_against_the_paper(table, tmp_path):
    page = results.markdown(table, _results(table, tmp_path, {"a": 0.5, "b": 0.4, "c": 0.1}, seeds=2), OTHER_SET)
    assert "Runs: data SET; scale 0.25; settings optim.lr=1." in page
    assert "| cell | ratio published | AP published | AP measured | spread | place published | place here | state |" in page
    assert "| a | 1.50 | 30.0 | 50.5 | 1.0 | 2 | 1 | done |" in page
    assert "| b |  | 32.0 | 40.5 | 1.0 | 1 | 2 | done |" in page
    assert "Order: 0 of 1 pairs" in page
    assert "Seeds of a cell differ by up to 1.0 points." in page
    assert "difference" not in page


def test_a_table_without_published_figures_has_no_column_for_them(table, tmp_path):
    own = Table("t", "a title", "none", "Why?", table.cells[2:])
    page = results.markdown(own, _results(own, tmp_path), COMPARABLE)
    assert "| cell | AP measured | state |" in page
    assert "Order" not in page


def test_trend_counts_clear_pairs_only(table, tmp_path):
    """Published 30.0, 30.4, 32.0 and 33.0 with a tolerance of 0.4: all pairs but the first are clear."""
    config = table.cells[0].config
    figures = {"p": (30.0, 0.30), "q": (30.4, 0.20), "r": (32.0, 0.25), "s": (33.0, 0.40)}
    cells = tuple(Cell(name, config, (), {"AP": ap}, 0.4) for name, (ap, _) in figures.items())
    found = _results(Table("t", "", "", "", cells), tmp_path, {name: measured for name, (_, measured) in figures.items()})
    # p r is reversed; p s, q r, q s, r s are as published.
    assert results.trend(found) == results.Trend(same=4, pairs=5)


def test_curves_hours_and_json(table, tmp_path):
    found = _results(table, tmp_path, seeds=2)
    run = found[0].runs[1]
    assert run.curve == ((1.0, pytest.approx(15.6)), (2.0, pytest.approx(31.2)))
    assert run.figures == {"AP": pytest.approx(31.2), "AP50": pytest.approx(62.4)}
    assert run.hours == pytest.approx((90 * 4 / 2.0 + 90 * 4 / 4.0) / 3600)  # steps x batch / speed
    files = results.write(table, found, COMPARABLE, tmp_path / "t")
    assert [file.name for file in files] == ["results.md", "results.json", "results.png"]
    content = json.loads(files[1].read_text())
    assert (content["table"], content["comparable"], content["order"]) == ("t", True, {"same": 1, "pairs": 1})
    cell = content["cells"][0]
    assert (cell["AP"], cell["spread"], cell["difference"]) == (pytest.approx(30.7), pytest.approx(1.0), pytest.approx(0.7))
    assert cell["runs"][1]["curve"] == [[1.0, pytest.approx(15.6)], [2.0, pytest.approx(31.2)]]
    assert _is_drawn(files[2])
    own = results.own_points(tmp_path / "t")
    assert own[0] == {"name": "a", "AP": pytest.approx(30.7), "hours": pytest.approx(0.075)}
    # Runs that are not the published recipes are none of Figure 4's.
    results.write(table, found, OTHER_SET, tmp_path / "t", plot=False)
    assert results.own_points(tmp_path / "t") == []
    assert results.own_points(tmp_path) == []


# Plots


def _is_drawn(file):
    """Several colours on several rows: more than an empty frame."""
    with Image.open(file) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    coloured = np.ptp(pixels.astype(int), axis=-1) > 60
    return min(pixels.shape[:2]) > 100 and coloured.sum() > 50


def test_plots_of_cells(tmp_path):
    curves = {"a": [((1, 10.0), (2, 20.0)), ((1, 12.0), (2, 19.0))], "b": [((1, 5.0), (2, 25.0))]}
    plots.cells(tmp_path / "with.png", "t", curves, {"a": (20.0, 19.0), "b": (25.0,)}, {"a": 30.0})
    plots.cells(tmp_path / "without.png", "t", curves, {}, {})
    plots.cells(tmp_path / "none.png", "t", {}, {}, {})
    many = {f"cell {i}": [((1, i), (2, i + 1))] for i in range(36)}
    plots.cells(tmp_path / "many.png", "t", many, dict.fromkeys(many, (3.0,)), dict.fromkeys(many, 5.0))
    assert all(_is_drawn(tmp_path / f"{name}.png") for name in ("with", "without", "many"))
    assert not _is_drawn(tmp_path / "none.png")


def test_learning_curves_of_runs(tmp_path):
    run = tmp_path / "run"
    Trainer({tmp_path.name: 0.4})(SimpleNamespace(train=SimpleNamespace(seed=0)), run)
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 200, "AP"')  # killed while writing
    assert len(plots.read_metrics(run)) == 4
    assert plots.read_metrics(tmp_path) == []
    plots.learning_curves(tmp_path / "curves.png", {"run": run})
    assert _is_drawn(tmp_path / "curves.png")
    (run / "metrics.jsonl").write_text("AP\n")
    with pytest.raises(UserError, match="holds a line that training has not written"):
        plots.read_metrics(run)


def test_matplotlib_is_asked_for_when_it_is_needed(monkeypatch, capsys, shapes, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    arguments = ["reproduce", "table4", "--data", str(shapes), "--out", str(tmp_path), "--collect"]
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith("ttfnet: plots need matplotlib; install it")
    assert cli.main([*arguments, "--no-plot"]) == 0


def test_trade_offs_have_every_detector_with_hours_or_speed(published, tmp_path):
    points = {
        name: (family, figures) for family, name, figures in results.trade_off_points(published, [{"name": "mine", "AP": 30, "fps": 9}])
    }
    # 13 other detectors, five systems, and six recipes of the repository; DLA-34 has no figures.
    assert len(points) == 13 + 5 + 6 + 1
    assert points["TTFNet-18_fast"] == (
        "TTFNet",
        {"AP": 25.9, "AP50": 41.3, "AP75": 27.9, "APs": 10.7, "APm": 27.1, "APl": 38.6, "hours": 1.8, "fps": 112.2},
    )
    assert points["mine"] == ("ours", {"AP": 30.0, "fps": 9.0})
    small = Published({}, {name: published.tables[name] for name in ("table6", "repository")}, (Detector("x", "X", (9, 9), {"AP": 1.0}),))
    assert "x" not in {name for _, name, _ in results.trade_off_points(small)}
    plots.trade_offs(tmp_path / "figure4.png", results.trade_off_points(published))
    assert _is_drawn(tmp_path / "figure4.png")


# The command


def _fails(capsys, *argv):
    assert cli.main(["reproduce", *map(str, argv)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_mistakes_are_one_line(capsys, shapes, tmp_path):
    assert _fails(capsys, "tabel1") == "ttfnet: unknown table 'tabel1'; did you mean 'table1'?"
    assert "of the paper's figures there are figure1 and figure4" in _fails(capsys, "figure2")
    assert _fails(capsys, "table4", "--cells", "3-2-2") == "ttfnet: table4 has no cell '3-2-2'; did you mean '3-2-1'?"
    assert "instances_train2017.json is not there; name the set by --data FOLDER" in _fails(capsys, "table4", "--out", tmp_path)
    assert "has no annotations/train.json" in _fails(capsys, "table4", "--data", tmp_path)
    assert "--scale depends on the number of pictures" in _fails(capsys, "table4", "--scale", "0.5")
    assert "--own goes with figure4" in _fails(capsys, "table4", "--own", "a.yaml")
    assert "--data does not go with figure4" in _fails(capsys, "figure4", "--data", shapes)
    assert "--own gone.yaml: cannot be read" in _fails(capsys, "figure4", "--own", "gone.yaml")
    (tmp_path / "own.yaml").write_text("- {name: x, AP: 3}")
    assert "must have name, AP in percent, and hours or fps" in _fails(capsys, "figure4", "--own", tmp_path / "own.yaml")
    assert _fails(capsys, "table4", "--frobnicate") == "ttfnet: unknown argument --frobnicate; see ttfnet reproduce --help"


def test_list_prints_targets_and_commands_without_tensorflow(root):
    command = ["reproduce", "table4", "--list", "--seeds", "2"]
    code = f"import sys; from ttfnet_tf.cli import main; print(main({command}), 'tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    lines = done.stdout.splitlines()
    assert lines[-1] == "0 False"
    assert "0-0-0: AP 29.0 +- 0.4, fps 58.7" in lines
    commands = [line.strip() for line in lines if line.startswith("  python tools/train.py")]
    assert len(commands) == 12
    assert commands[0] == (
        "python tools/train.py configs/ablations/table4.yaml --work-dir runs/reproduce/table4/0-0-0/seed0 "
        "'model.shortcut=[0,0,0]' train.seed=0"
    )


def test_figure4_takes_own_points(capsys, tmp_path):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump([{"name": "mine", "AP": 30.1, "hours": 2.0, "fps": 95}]))
    assert cli.main(["reproduce", "figure4", "--own", str(tmp_path / "own.yaml"), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "ours       mine                   AP 30.1  hours 2  fps 95" in out
    assert _is_drawn(tmp_path / "figure4/results.png")


def test_the_command_runs_collects_and_stops(capsys, monkeypatch, shapes, tmp_path):
    import ttfnet_tf.train

    arguments = ["reproduce", "table4", "--data", str(shapes), "--scale", "0.25", "--out", str(tmp_path), "--cells", "0-0-0", "3-2-1"]
    trainer = Trainer({"0-0-0": 0.1, "3-2-1": 0.2}, stop_at="3-2-10")
    monkeypatch.setattr(ttfnet_tf.train, "run_training", trainer)
    assert cli.main(arguments) == 130
    assert "| 3-2-1 | 54.4 | 32.9 |  |  |  | unfinished |" in capsys.readouterr().out
    trainer.stop_at = None
    assert cli.main(arguments) == 0
    assert trainer.calls == ["0-0-00", "3-2-10", "3-2-10"]
    out = capsys.readouterr().out
    assert "Order: 1 of 1 pairs" in out
    assert _is_drawn(tmp_path / "table4/results.png")
    # --collect reads what is there, and settings may follow the names of cells.
    assert cli.main([*arguments, "--collect"]) == 0
    assert cli.main([*arguments, "optim.lr=1", "--collect"]) == 0
    assert "settings optim.lr=1" in capsys.readouterr().out
    assert len(trainer.calls) == 3


@pytest.mark.slow
def test_a_real_run_that_diverges(shapes, tmp_path, capsys):
    """An epoch of one step at a learning rate of 0, which is measured; then a rate from which no loss comes back."""
    small = ["model.shortcut=[0,0,0]", "model.neck_channels=[8,8,8]", "model.neck=plain", "train.summary_pictures=0", "train.log_every=1"]
    small += ["model.backbone=resnet18", "model.pretrained=null", "data.image_size=[64,64]", "train.batch_size=6", "train.epochs=4"]
    wild = ["optim.lr=1e30", "optim.warmup_steps=1", "optim.warmup_ratio=0", "optim.drop_epochs=[3]", "optim.clip_norm=0"]
    assert cli.main(["reproduce", "table1", "--data", str(shapes), "--cells", "log", "--out", str(tmp_path), *small, *wild]) == 0
    run = tmp_path / "table1/log/seed0"
    assert f"{run}: the loss is " in json.loads((run / "result.json").read_text())["failure"]
    assert "| log | 32.0 |  |  |  | failed |" in capsys.readouterr().out
    content = json.loads((tmp_path / "table1/results.json").read_text())["cells"][0]["runs"][0]
    assert content["curve"][0][0] == 1
    assert 0 <= content["curve"][0][1] < 100
    assert {"AP", "AP50", "AP75"} <= set(content["figures"])
    assert 0 < content["hours"] < 0.1


def test_readers_of_the_page_find_what_it_names(root, published):
    page = Path(root / "docs/ablations.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in [*published.tables, "figure4"])
