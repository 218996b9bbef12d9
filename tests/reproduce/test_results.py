"""Tables, trend, curves and JSON of finished runs. Training is a stub that writes metrics.jsonl."""

import json

import pytest
from stub_training import PRECISION, Trainer

from ttfnet_tf.reproduce import figure4, results, tables
from ttfnet_tf.reproduce.cells import Cell, Table
from ttfnet_tf.reproduce.plan import plan
from ttfnet_tf.reproduce.run import run_all

COMPARABLE = tables.Conditions(True, None, None, ())
OTHER_SET = tables.Conditions(False, "SET", 0.25, ("optim.lr=1",))


def _results(table, tmp_path, precision=PRECISION, seeds=1):
    runs = plan(table, table.cells, out=tmp_path, seeds=seeds)
    run_all(runs, Trainer(precision), lambda line: None)
    return results.collect(runs)


def test_measured_beside_published(table, tmp_path):
    page = tables.as_markdown(table, _results(table, tmp_path), COMPARABLE)
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
        "Order: 1 of 1 pairs of cells that clearly differ as published have the same order here.",
    ]


def test_on_another_data_set_only_the_order_is_compared_with_the_paper(table, tmp_path):
    page = tables.as_markdown(table, _results(table, tmp_path, {"a": 0.5, "b": 0.4, "c": 0.1}, seeds=2), OTHER_SET)
    assert "Runs: data SET; scale 0.25; settings optim.lr=1." in page
    assert "| cell | ratio published | AP published | AP measured | spread | rank published | rank here | state |" in page
    assert "| a | 1.50 | 30.0 | 50.5 | 1.0 | 2 | 1 | done |" in page
    assert "| b |  | 32.0 | 40.5 | 1.0 | 1 | 2 | done |" in page
    assert "Order: 0 of 1 pairs" in page
    assert "Seeds of a cell differ by up to 1.0 points." in page
    assert "difference" not in page


def test_a_table_without_published_figures_has_no_column_for_them(table, tmp_path):
    own = Table("t", "a title", "none", "Why?", table.cells[2:])
    page = tables.as_markdown(own, _results(own, tmp_path), COMPARABLE)
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


def test_curves_hours_and_json(table, tmp_path, is_drawn):
    found = _results(table, tmp_path, seeds=2)
    run = found[0].runs[1]
    assert run.curve == ((1.0, pytest.approx(15.6)), (2.0, pytest.approx(31.2)))
    assert run.figures == {"AP": pytest.approx(31.2), "AP50": pytest.approx(62.4)}
    assert run.hours == pytest.approx((90 * 4 / 2.0 + 90 * 4 / 4.0) / 3600)  # steps x batch / speed
    files = tables.write_results(table, found, COMPARABLE, tmp_path / "t")
    assert [file.name for file in files] == ["results.md", "results.json", "results.png"]
    content = json.loads(files[1].read_text())
    assert (content["table"], content["comparable"], content["order"]) == ("t", True, {"same": 1, "pairs": 1})
    cell = content["cells"][0]
    assert (cell["AP"], cell["spread"], cell["difference"]) == (pytest.approx(30.7), pytest.approx(1.0), pytest.approx(0.7))
    assert cell["runs"][1]["curve"] == [[1.0, pytest.approx(15.6)], [2.0, pytest.approx(31.2)]]
    assert is_drawn(files[2])
    own = figure4.own_points(tmp_path / "t")
    assert own[0] == {"name": "a", "AP": pytest.approx(30.7), "hours": pytest.approx(0.075)}
    # Runs that are not the published recipes are none of Figure 4's.
    tables.write_results(table, found, OTHER_SET, tmp_path / "t", plot=False)
    assert figure4.own_points(tmp_path / "t") == []
    assert figure4.own_points(tmp_path) == []
