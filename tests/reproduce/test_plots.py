"""Plots are drawn with every curve and point."""

import sys
from types import SimpleNamespace

import pytest
from stub_training import Trainer

from ttfnet_tf import cli
from ttfnet_tf.errors import UserError
from ttfnet_tf.reproduce import figure4, plots
from ttfnet_tf.reproduce.cells import Detector, Published
from ttfnet_tf.runs.run_folder import read_metrics


def test_plots_of_cells(tmp_path, is_drawn):
    curves = {"a": [((1, 10.0), (2, 20.0)), ((1, 12.0), (2, 19.0))], "b": [((1, 5.0), (2, 25.0))]}
    plots.cells(tmp_path / "with.png", "t", curves, {"a": (20.0, 19.0), "b": (25.0,)}, {"a": 30.0})
    plots.cells(tmp_path / "without.png", "t", curves, {}, {})
    plots.cells(tmp_path / "none.png", "t", {}, {}, {})
    many = {f"cell {i}": [((1, i), (2, i + 1))] for i in range(36)}
    plots.cells(tmp_path / "many.png", "t", many, dict.fromkeys(many, (3.0,)), dict.fromkeys(many, 5.0))
    assert all(is_drawn(tmp_path / f"{name}.png") for name in ("with", "without", "many"))
    assert not is_drawn(tmp_path / "none.png")


def test_learning_curves_of_runs(tmp_path, is_drawn):
    run = tmp_path / "run"
    Trainer({tmp_path.name: 0.4})(SimpleNamespace(train=SimpleNamespace(seed=0)), run)
    with open(run / "metrics.jsonl", "a") as file:
        file.write('{"step": 200, "AP"')  # killed while writing
    assert len(read_metrics(run)) == 4
    assert read_metrics(tmp_path) == []
    plots.learning_curves(tmp_path / "curves.png", {"run": run})
    assert is_drawn(tmp_path / "curves.png")
    (run / "metrics.jsonl").write_text("AP\n")
    with pytest.raises(UserError, match="holds a line that training has not written"):
        read_metrics(run)


def test_matplotlib_is_asked_for_when_it_is_needed(monkeypatch, capsys, shapes, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    arguments = ["reproduce", "table4", "--data", str(shapes), "--out", str(tmp_path), "--collect"]
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith("ttfnet: plots need matplotlib; install it")
    assert cli.main([*arguments, "--no-plot"]) == 0


def test_trade_offs_have_every_detector_with_hours_or_speed(published, tmp_path, is_drawn):
    points = {
        name: (family, figures) for family, name, figures in figure4.trade_off_points(published, [{"name": "mine", "AP": 30, "fps": 9}])
    }
    # 13 other detectors, five systems, and six recipes of the repository; DLA-34 has no figures.
    assert len(points) == 13 + 5 + 6 + 1
    assert points["TTFNet-18_fast"] == (
        "TTFNet",
        {"AP": 25.9, "AP50": 41.3, "AP75": 27.9, "APs": 10.7, "APm": 27.1, "APl": 38.6, "hours": 1.8, "fps": 112.2},
    )
    assert points["mine"] == ("ours", {"AP": 30.0, "fps": 9.0})
    small = Published({}, {name: published.tables[name] for name in ("table6", "repository")}, (Detector("x", "X", (9, 9), {"AP": 1.0}),))
    assert "x" not in {name for _, name, _ in figure4.trade_off_points(small)}
    plots.trade_offs(tmp_path / "figure4.png", figure4.trade_off_points(published))
    assert is_drawn(tmp_path / "figure4.png")


def test_a_dollar_in_a_name_is_no_formula(tmp_path, is_drawn):
    names = ("$a$", r"$\frac{1}{$")
    plots.cells(tmp_path / "cells.png", names[1], {name: [((1, 1.0), (2, 3.0))] for name in names}, {}, dict.fromkeys(names, 2.0))
    run = tmp_path / "run"
    Trainer({tmp_path.name: 0.4})(SimpleNamespace(train=SimpleNamespace(seed=0)), run)
    plots.learning_curves(tmp_path / "curves.png", dict.fromkeys(names, run))
    assert is_drawn(tmp_path / "cells.png")
    assert is_drawn(tmp_path / "curves.png")
