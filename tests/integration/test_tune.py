"""`ttfnet tune` on drawn shapes: two trials in processes of their own, the second stopped in its middle and resumed."""

import functools
import json
import os
import re
import signal
import sys
import time

import pytest

pytest.importorskip("optuna")

from ttfnet_tf.config import load_config
from ttfnet_tf.config.schema import value_of
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.tune.optuna_study import OptunaStudy
from ttfnet_tf.tune.record import Request
from ttfnet_tf.tune.results import table
from ttfnet_tf.tune.run import tune
from ttfnet_tf.tune.trial_process import run_process

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def tuned(root, tmp_path_factory):
    """(folder, record, trials, lines of both calls) of a study that was stopped in its second trial, went on and was stopped again."""
    folder = tmp_path_factory.mktemp("tune")
    draw_shapes(folder / "shapes", train=48, val=8, size=(64, 64))
    study, lines = folder / "study", []
    run = functools.partial(run_process, program=(sys.executable, str(root / "tests/tiny_trial.py")))

    def run_and_stop(config, run_folder, watch):
        def watch_and_stop(seconds):
            if run_folder.name == "001" and max(_steps(run_folder), default=0) > 0:
                signal.raise_signal(signal.SIGINT)
            return watch(seconds)

        return run(config, run_folder, watch_and_stop)

    def say(line):
        lines.append(line)
        if re.match("trial 001: (AP|failed|pruned)", line):
            signal.raise_signal(signal.SIGINT)

    overrides = ("data.image_size=[64,64]", "train.batch_size=4", "train.log_every=1")
    request = Request(folder / "shapes", minutes=60.0, trial_minutes=0.6, overrides=overrides)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{root}{os.pathsep}{root / 'tests'}")
        for one in (run_and_stop, run):
            record, trials, complete = tune(
                request,
                study,
                started=time.monotonic(),
                say=say,
                progress=lambda label, items: items,
                study_of=OptunaStudy,
                run=one,
            )
            assert not complete, "\n".join(lines)
            lines.append("---")
    return study, record, trials, lines


def _steps(run):
    return [int(path.stem.partition("-")[2]) for path in run.glob("checkpoints/step-*.index")]


def test_both_trials_end_and_the_second_has_resumed(tuned):
    study, _, trials, lines = tuned
    assert [trial.state for trial in trials] == ["done", "done"], "\n".join(lines)
    first, second = "\n".join(lines).split("---")[:2]
    assert "trial 001: optim.lr=" in first
    assert "trial 001: AP" not in first
    assert "trial 001 resumes" in second
    assert "resumes at step" in (study / "trials/001/output.txt").read_text()
    assert all(trial.average_precision >= 0 and trial.minutes >= 0.5 for trial in trials)


def test_trials_are_ordinary_runs_of_their_settings(tuned):
    study, record, trials, _ = tuned
    centre = load_config(study / "fit/fit.yaml")
    assert load_config(study / "trials/000/trial.yaml") == centre
    assert centre.train.minutes == 0.6
    for trial in trials:
        run = study / f"trials/{trial.number:03d}"
        config = load_config(run / "config.yaml")
        for key, value in trial.values.items():
            assert value_of(config, key) == pytest.approx(float(value), rel=1e-3), key
        figures = [line["AP"] for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()) if "AP" in line]
        assert trial.average_precision == max(figures)
    assert {one.key for one in record.space} == {"optim.lr", "losses.box_weight", "optim.weight_decay", "augment.mosaic"}


def test_the_best_settings_repeat_the_run(tuned):
    study, record, trials, _ = tuned
    best = max(trials, key=lambda trial: (trial.average_precision, -trial.number))
    config = load_config(study / "best.yaml")
    assert config == load_config(study / f"trials/{best.number:03d}/repeat.yaml")
    assert config.train.minutes == 0
    assert config.train.steps == max(_steps(study / f"trials/{best.number:03d}"))
    assert load_config(study / "best.yaml", ["train.minutes=60"]).train.minutes == 60
    assert len(table(trials, record.space)) == 3
