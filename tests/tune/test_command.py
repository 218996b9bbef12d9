"""`ttfnet tune` as a command: what it prints at the end, and its exit code."""

import functools
import shlex
from types import SimpleNamespace

import pytest
from stub_study import Proposals

from ttfnet_tf import cli
from ttfnet_tf.cli import tune as command
from ttfnet_tf.tune import run
from ttfnet_tf.tune.trial_process import Ended


@pytest.fixture
def tuned(monkeypatch, machine, coco, tmp_path):
    """tuned(options, proposals) -> exit code of the command on stand-ins."""
    tune = functools.partial(run.tune, run=machine.run, measure=machine.facts)
    monkeypatch.setattr(run, "tune", tune)
    monkeypatch.setattr(command, "time", SimpleNamespace(monotonic=machine.monotonic))

    def make(*options, proposals=None):
        monkeypatch.setattr(command, "_optuna_study", lambda: proposals or Proposals())
        return cli.main(["tune", str(coco), "--work-dir", str(tmp_path / "a study"), *options])

    return make


def test_it_ends_with_a_table_and_commands_that_parse(tuned, machine, tmp_path, capsys):
    machine.average_precision = lambda config: 0.3 + 0.1 * (config.losses.box_weight < 5)
    assert tuned("--minutes", "16", "--trial-minutes", "4") == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    folder = tmp_path / "a study"
    table = lines.index(next(line for line in lines if line.startswith("trial  ")))
    assert [line.split()[0] for line in lines[table : table + 5]] == ["trial", "000", "001", "002", "003"]
    assert lines[table + 5] == f"{folder}: AP 0.400 by trial 002; what ttfnet fit decides has 0.300; the study took 16.0 minutes"
    commands = [line.partition(": ttfnet ")[2].replace("DIR", "runs/x").replace("IMAGES", "images") for line in lines[table + 6 :]]
    parsed = [cli.parse(shlex.split(words)) for words in commands if words]
    assert [getattr(args, "config", getattr(args, "run", None)) for args in parsed] == [
        f"{folder}/best.yaml",
        f"{folder}/best.yaml",
        f"{folder}/trials/002",
        f"{folder}/trials/002",
    ]


def test_when_fit_was_best_it_says_no_more(tuned, capsys):
    assert tuned("--minutes", "8", "--trial-minutes", "4") == 0
    assert "AP 0.500 by trial 000; the study took 8.0 minutes" in capsys.readouterr().out


def test_no_trial_in_the_time_is_one_line(tuned, machine, tmp_path, capsys):
    machine.at = {"000": lambda: Ended(2, 1000.0, None)}
    assert tuned("--minutes", "5", "--trial-minutes", "2.5") == 0  # another one ended well
    machine.at = {f"{number:03d}": lambda: Ended(2, 1000.0, None) for number in range(2)}
    (tmp_path / "a study").rename(tmp_path / "before")
    assert tuned("--minutes", "5", "--trial-minutes", "2.5") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == f"ttfnet: {tmp_path}/a study: no trial has ended in the time; give it more --minutes, or fewer --trial-minutes"
