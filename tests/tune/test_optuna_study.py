"""The study on disk, with Optuna: the first trial, pruning by the median, and what a kill leaves."""

import json
import math

import pytest

pytest.importorskip("optuna")

import dataclasses

from ttfnet_tf.errors import UserError
from ttfnet_tf.tune.optuna_study import OptunaStudy
from ttfnet_tf.tune.record import Request
from ttfnet_tf.tune.run import tune
from ttfnet_tf.tune.space import Options, Range
from ttfnet_tf.tune.trials import best_of

SPACE = [Range("optim.lr", 0.001, 0.016), Options("train.batch_size", ("8", "4", "16"))]
CENTRE = {"optim.lr": 0.004, "train.batch_size": "8"}


@pytest.fixture
def study(tmp_path):
    return lambda: OptunaStudy(tmp_path / "study.journal", SPACE, CENTRE, seed=3)


def _done(study, average_precision):
    trial = study.begin()
    study.report(trial, 30, average_precision / 2)
    study.end(dataclasses.replace(trial, state="done", average_precision=average_precision, minutes=2.0))
    return trial


def test_the_first_trial_is_the_centre_and_others_are_in_the_space(study):
    one = study()
    trials = [_done(one, 0.3) for _ in range(8)]
    assert trials[0].values == CENTRE
    assert len({trial.values["optim.lr"] for trial in trials}) == 8
    for trial in trials:
        assert 0.001 <= trial.values["optim.lr"] <= 0.016
        assert trial.values["train.batch_size"] in ("8", "4", "16")


def test_a_study_that_was_killed_goes_on_as_it_would_have(study, tmp_path):
    one = study()
    expected = [_done(one, 0.1 * k) for k in range(7)]
    (tmp_path / "study.journal").unlink()
    for k in range(7):
        assert _done(study(), 0.1 * k) == expected[k]  # another process for each


def test_the_median_of_four_complete_trials_prunes(study):
    one = study()
    for figure in (0.2, 0.4, 0.6):
        _done(one, figure)
    trial = one.begin()
    assert not one.report(trial, 30, 0.0)  # there are three
    one.end(dataclasses.replace(trial, state="failed", reason="x"))
    _done(one, 0.8)
    trial = one.begin()
    assert not one.report(trial, 30, 0.26)  # the median is 0.25
    assert not one.report(trial, 40, 0.0)  # nobody was measured there
    one.end(dataclasses.replace(trial, state="done", average_precision=0.5))
    trial = one.begin()
    assert one.report(trial, 30, 0.24)
    one.end(dataclasses.replace(trial, state="pruned", average_precision=0.24, minutes=0.5, reason="at 30 %"))
    assert [(one.state, one.average_precision) for one in study().trials()[3:]] == [
        ("failed", 0.0),
        ("done", 0.8),
        ("done", 0.5),
        ("pruned", 0.24),
    ]


def test_everything_is_read_again(study):
    one = study()
    _done(one, 0.3)
    running = one.begin()
    one.report(running, 30, 0.2)
    again = study()
    first, second = again.trials()
    assert (first.values, first.state, first.average_precision, first.minutes) == (CENTRE, "done", 0.3, 2.0)
    assert (second.values, second.state, second.marks) == (running.values, "running", (30,))
    again.report(second, 40, 0.25)
    again.end(dataclasses.replace(second, state="failed", reason="out of memory"))
    assert study().trials()[1].reason == "out of memory"


def test_the_journal_may_end_after_any_line(study, tmp_path):
    one = study()
    _done(one, 0.3)
    one.begin()
    file = tmp_path / "study.journal"
    lines = file.read_text().splitlines(keepends=True)
    assert all(isinstance(json.loads(line), dict) for line in lines)
    for count in range(len(lines)):
        file.write_text("".join(lines[:count]))
        again = study()
        running = [trial for trial in again.trials() if trial.state == "running"]
        trial = running[0] if running else again.begin()
        again.end(dataclasses.replace(trial, state="done", average_precision=0.4))
        assert again.trials()[0].values == CENTRE
        assert {trial.state for trial in again.trials()} == {"done"}
        following = again.begin()
        assert following.values != CENTRE
        assert [one.number for one in again.trials()] == list(range(following.number + 1))  # none is lost between two lines


@pytest.mark.parametrize("content", ["{", "[]\n", '{"op_code": 4}\n', "\x00\n"])
def test_a_damaged_journal_is_refused(study, tmp_path, content):
    (tmp_path / "study.journal").write_text(content)
    with pytest.raises(UserError, match=r"study\.journal: is damaged; choose another --work-dir"):
        study()


def test_optuna_prints_nothing(study, capfd):
    one = study()
    for k in range(7):
        _done(one, 0.1 * k)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_a_whole_study_finds_better_settings_and_keeps_its_time(machine, coco, tmp_path):
    machine.average_precision = lambda config: 0.5 - 0.1 * abs(math.log(config.optim.lr / 0.012)) - 0.01 * config.losses.box_weight
    request = Request(coco, minutes=48.0, trial_minutes=4.0)
    record, trials, complete = tune(
        request,
        tmp_path / "study",
        started=machine.now,
        say=lambda line: None,
        progress=lambda label, items: items,
        study_of=OptunaStudy,
        run=machine.run,
        measure=machine.facts,
    )
    assert complete
    assert 44 * 60 <= record.used <= 48 * 60
    pruned = [trial for trial in trials if trial.state == "pruned"]
    assert pruned
    assert all(trial.number >= 4 and trial.minutes < 4 for trial in pruned)
    assert len(trials) > 12
    assert best_of(trials).average_precision > trials[0].average_precision
