"""Runs one after the other, with resuming and failures. Training is a stub that writes metrics.jsonl."""

import pytest
from stub_training import PRECISION, Trainer

from ttfnet_tf.errors import UserError
from ttfnet_tf.reproduce import results, tables
from ttfnet_tf.reproduce.plan import plan
from ttfnet_tf.reproduce.run import RESULT, is_done, run_all


def test_finished_runs_are_not_made_again_and_stopped_ones_resume(table, tmp_path):
    runs = plan(table, table.cells, out=tmp_path, seeds=2)
    said = []
    first = Trainer(PRECISION, stop_at="b1")
    assert run_all(runs, first, said.append) is False
    assert first.calls == ["a0", "a1", "b0", "b1"]
    assert said[-1] == "[4/6] b seed 1: stopped and saved at step 10; the same command resumes it"
    states = [[run.state for run in result.runs] for result in results.collect(runs)]
    assert states == [["done", "done"], ["done", "unfinished"], ["missing", "missing"]]
    assert results.collect(runs)[1].mean == pytest.approx(31.4)  # the one that is done
    second = Trainer(PRECISION)
    assert run_all(runs, second, said.append) is True
    assert second.calls == ["b1", "c0", "c1"]
    assert f"[1/6] a seed 0: already done, {runs[0].folder}" in said


def test_other_settings_are_another_run(table, tmp_path):
    """Whether it may resume in the same folder is then decided by training."""
    run_all(plan(table, table.cells[:1], out=tmp_path), Trainer(PRECISION), lambda line: None)
    changed = plan(table, table.cells[:1], out=tmp_path, overrides=["train.epochs=3"])
    assert not is_done(changed[0])
    again = Trainer(PRECISION)
    run_all(changed, again, lambda line: None)
    assert again.calls == ["a0"]


def test_a_diverged_run_is_a_result_and_others_still_run(table, tmp_path):
    runs, said = plan(table, table.cells, out=tmp_path), []
    assert run_all(runs, Trainer(PRECISION, diverge="b"), said.append) is True
    found = {result.cell.name: result for result in results.collect(runs)}
    assert [found[name].runs[0].state for name in "abc"] == ["done", "failed", "done"]
    assert found["b"].mean is None
    page = tables.as_markdown(table, list(found.values()), tables.Conditions(True, None, None, ()))
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
    assert not (runs[0].folder / RESULT).exists()


def test_a_damaged_result_is_reported(table, tmp_path):
    runs = plan(table, table.cells[:1], out=tmp_path)
    runs[0].folder.mkdir(parents=True)
    (runs[0].folder / RESULT).write_text('{"config"')
    with pytest.raises(UserError, match=r"result.json: is damaged; delete it"):
        is_done(runs[0])
