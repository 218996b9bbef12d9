"""`ttfnet reproduce`: mistakes, lists, figure 4, runs that stop and resume. Training is a stub; one run is real."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from stub_training import Trainer

from ttfnet_tf import cli


def _fails(capsys, *argv):
    assert cli.main(["reproduce", *map(str, argv)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_mistakes_are_one_line(capsys, shapes, tmp_path):
    assert _fails(capsys, "tabel1") == "ttfnet: unknown table 'tabel1'; did you mean 'table1'?"
    assert "of the paper's figures only figure1 and figure4 can be reproduced" in _fails(capsys, "figure2")
    assert _fails(capsys, "table4", "--cells", "3-2-2") == "ttfnet: table4 has no cell '3-2-2'; did you mean '3-2-1'?"
    assert "instances_train2017.json does not exist; name the data set by --data FOLDER" in _fails(capsys, "table4", "--out", tmp_path)
    assert "has no annotations/train.json" in _fails(capsys, "table4", "--data", tmp_path)
    assert "--scale needs the number of images" in _fails(capsys, "table4", "--scale", "0.5")
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
    commands = [line.strip() for line in lines if line.startswith("  ttfnet train")]
    assert len(commands) == 12
    assert commands[0] == (
        "ttfnet train configs/ablations/table4.yaml --work-dir runs/reproduce/table4/0-0-0/seed0 'model.shortcut=[0,0,0]' train.seed=0"
    )


def test_figure4_takes_own_points(capsys, tmp_path, is_drawn):
    (tmp_path / "own.yaml").write_text(yaml.safe_dump([{"name": "mine", "AP": 30.1, "hours": 2.0, "fps": 95}]))
    assert cli.main(["reproduce", "figure4", "--own", str(tmp_path / "own.yaml"), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "ours       mine                   AP 30.1  hours 2  fps 95" in out
    assert is_drawn(tmp_path / "figure4/results.png")


@pytest.mark.slow
def test_the_command_runs_collects_and_stops(capsys, monkeypatch, shapes, tmp_path, is_drawn):
    import ttfnet_tf.training.run

    arguments = ["reproduce", "table4", "--data", str(shapes), "--scale", "0.25", "--out", str(tmp_path), "--cells", "0-0-0", "3-2-1"]
    trainer = Trainer({"0-0-0": 0.1, "3-2-1": 0.2}, stop_at="3-2-10")
    monkeypatch.setattr(ttfnet_tf.training.run, "run_training", trainer)
    assert cli.main(arguments) == 130
    assert "| 3-2-1 | 54.4 | 32.9 |  |  |  | unfinished |" in capsys.readouterr().out
    trainer.stop_at = None
    assert cli.main(arguments) == 0
    assert trainer.calls == ["0-0-00", "3-2-10", "3-2-10"]
    out = capsys.readouterr().out
    assert "Order: 1 of 1 pairs" in out
    assert is_drawn(tmp_path / "table4/results.png")
    # --collect reads the finished runs, and settings may follow the names of cells.
    assert cli.main([*arguments, "--collect"]) == 0
    assert cli.main([*arguments, "optim.lr=1", "--collect"]) == 0
    assert "settings optim.lr=1" in capsys.readouterr().out
    assert len(trainer.calls) == 3


@pytest.mark.slow
def test_a_real_run_that_diverges(shapes, tmp_path, capsys):
    """An epoch of one step at a learning rate of 0, which is measured; then a rate from which no loss comes back."""
    small = ["model.shortcut=[0,0,0]", "model.neck_channels=[8,8,8]", "model.neck=plain", "train.summary_images=0", "train.log_every=1"]
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
    assert content["hours"] > 0


def test_readers_of_the_page_find_what_it_names(root, published):
    page = Path(root / "docs/ablations.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in [*published.tables, "figure4"])
