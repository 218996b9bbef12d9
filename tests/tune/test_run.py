"""A whole study without TensorFlow and without Optuna: its time, what it tries, failures, and a study that is stopped or killed."""

import csv
import dataclasses
import json
import signal

import pytest
from stub_study import Proposals

from ttfnet_tf.config import load_config
from ttfnet_tf.config.schema import value_of
from ttfnet_tf.errors import UserError
from ttfnet_tf.tune.record import Request
from ttfnet_tf.tune.results import best_average_precision, table
from ttfnet_tf.tune.run import tune
from ttfnet_tf.tune.trial_process import Ended
from ttfnet_tf.tune.trials import Trial, best_of


@pytest.fixture
def study(coco, machine, tmp_path):
    """study(...) -> (record, trials, complete, lines); minutes are those of the machine's own clock."""

    def make(proposals, *overrides, minutes=20.0, trial_minutes=4.0, source=coco, folder=tmp_path / "study"):
        lines = []
        request = Request(source, minutes, trial_minutes=trial_minutes, overrides=overrides)
        result = tune(
            request,
            folder,
            started=machine.now,
            say=lines.append,
            progress=lambda label, items: items,
            study_of=proposals,
            run=machine.run,
            measure=machine.facts,
        )
        return (*result, lines)

    return make


def test_the_first_trial_is_what_fit_decides_and_others_differ_in_what_is_tuned(study, tmp_path):
    record, trials, complete, lines = study(Proposals(), "model.box_head.width=32", "train.batch_size=47")
    assert complete
    assert [trial.state for trial in trials] == ["done"] * 5
    centre = load_config(tmp_path / "study/fit/fit.yaml")
    assert (centre.train.minutes, centre.model.box_head.width) == (4.0, 32)
    configs = [load_config(tmp_path / f"study/trials/{number:03d}/trial.yaml") for number in range(5)]
    assert configs[0] == centre  # to the last digit of 0.006 sqrt(47 / 8)
    assert centre.optim.lr == 0.014543
    keys = [one.key for one in record.space]
    assert keys[:3] == ["optim.lr", "losses.box_weight", "optim.weight_decay"]
    for config in configs[1:]:
        assert all(value_of(config, key) != value_of(centre, key) for key in keys[:3])
        for key in keys:
            config = _with(config, key, value_of(centre, key))
        assert config == centre
    assert "trial 000: what ttfnet fit decides" in lines


def _with(config, key, value):
    from ttfnet_tf.config.schema import with_value

    return with_value(config, key, value)


def test_no_trial_begins_that_cannot_end(study, machine):
    start = machine.now
    record, trials, _, _ = study(Proposals(), minutes=21.9)
    assert len(trials) == 5  # of 4 minutes; 1.9 are left
    assert record.used == machine.now - start == 5 * 240.0


def test_the_time_of_pruned_trials_goes_to_others(study, machine):
    proposals = Proposals(prunes=[1, 2])
    machine.average_precision = lambda config: 0.4
    _, trials, _, lines = study(proposals, minutes=20.0)
    assert [trial.state for trial in trials] == ["done", "pruned", "pruned", "done", "done", "done"]
    # At the first mark, 30 % of 4 minutes, with the AP of then.
    assert proposals.reports[4:6] == [(1, 30, pytest.approx(0.12)), (2, 30, pytest.approx(0.12))]
    assert [mark for number, mark, _ in proposals.reports if number == 0] == [30, 40, 50, 60]
    assert trials[1].minutes == pytest.approx(1.2)
    assert "trial 001: pruned after 1.2 minutes: at 30 % of its time below the median of the trials before" in lines


def test_failures_are_rows_and_three_without_a_success_end_it(study, machine, tmp_path):
    def crash():
        (tmp_path / "study/trials/001/output.txt").write_text("step 3\nttfnet: out of memory\n\n")
        return Ended(2, 100.0, None)

    machine.at = {"001": crash, "002": lambda: Ended(-signal.SIGKILL, 100.0, None)}
    _, trials, complete, _ = study(Proposals())
    assert complete
    assert [(trial.state, trial.reason) for trial in trials[:4]] == [
        ("done", ""),
        ("failed", "ttfnet: out of memory"),
        ("failed", "its process was ended by signal 9, probably out of memory"),
        ("done", ""),
    ]
    machine.at = {f"{number:03d}": lambda: Ended(1, 100.0, None) for number in range(3)}
    with pytest.raises(UserError, match=r"other: 3 trials have failed and none has ended well: exit code 1; see .*trials/002/output\.txt"):
        study(Proposals(), folder=tmp_path / "other")


def test_a_trial_that_is_killed_leaves_no_rubbish(study, machine, tmp_path):
    run = tmp_path / "study/trials/001"

    def kill():
        (run / ".lock").write_text("")
        (run / f"eval/.detections.{2**22 + 1}.ttfnet-part.json").parent.mkdir()
        (run / f"eval/.detections.{2**22 + 1}.ttfnet-part.json").write_text("half")  # no process has such a number
        return Ended(-signal.SIGKILL, 100.0, None)

    machine.at = {"001": kill}
    study(Proposals())
    assert sorted(path.name for path in run.iterdir()) == ["eval", "metrics.jsonl", "trial.yaml"]
    assert list((run / "eval").iterdir()) == []


def test_a_trial_that_hangs_is_stopped(study, machine):
    def hang():
        machine.now += 5 * 60

    machine.at = {"001": hang}
    _, trials, _, _ = study(Proposals())
    assert (trials[1].state, trials[1].reason) == ("failed", "took longer than its time")


def test_the_last_trial_is_stopped_8_percent_after_the_time(study, machine):
    def slow():
        machine.now += 90

    machine.at = {f"{number:03d}": slow for number in range(9)}
    record, _, _, _ = study(Proposals(), minutes=11.0)
    assert record.used <= 1.1 * 660


def test_a_killed_study_resumes_its_trial_and_keeps_its_time(study, machine):
    def kill():
        raise KeyboardInterrupt

    proposals, start = Proposals(), machine.now
    machine.at = {"001": kill}
    with pytest.raises(KeyboardInterrupt):
        study(proposals)
    assert machine.now - start == pytest.approx(240 + 132)
    machine.now += 10_000  # between two processes no time passes for the study
    record, trials, complete, lines = study(proposals)
    assert complete
    assert "trial 001 resumes" in lines
    assert [trial.state for trial in trials] == ["done"] * 5
    assert trials[1].minutes == pytest.approx(4.0, abs=0.2)  # both processes together, up to what was not yet recorded
    assert [name for name, _ in machine.began] == ["000", "001", "001", "002", "003", "004"]
    assert record.used == pytest.approx(1200, abs=12)


def test_a_trial_that_has_no_time_to_resume_has_failed(study, machine, tmp_path):
    def kill():
        raise KeyboardInterrupt

    proposals = Proposals()
    machine.at = {"001": kill}
    with pytest.raises(KeyboardInterrupt):
        study(proposals)
    file = tmp_path / "study/tune.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "used_seconds": 1150}))
    _, trials, _, lines = study(proposals)
    assert [trial.state for trial in trials] == ["done", "failed"]
    assert any("the time ended before it could resume" in line for line in lines)


def test_a_trial_that_had_ended_when_the_study_was_killed_counts(study, machine, tmp_path):
    def kill(trial):
        raise KeyboardInterrupt

    proposals = Proposals()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposals, "end", kill)
        with pytest.raises(KeyboardInterrupt):
            study(proposals, minutes=4.0)
    _, trials, complete, _ = study(proposals, minutes=4.0)  # no time is left
    assert complete
    assert [(trial.state, trial.average_precision, trial.minutes) for trial in trials] == [("done", 0.5, 4.0)]
    assert [name for name, _ in machine.began] == ["000"]


def test_the_best_checkpoint_of_a_resumed_run_counts_without_its_line(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 40, "epoch": 2.0, "AP": 0.3}\n')
    assert best_average_precision(tmp_path) == 0.3
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints/best.json").write_text('{"step": 60, "AP": 0.4}')
    assert best_average_precision(tmp_path) == 0.4
    (tmp_path / "checkpoints/best.json").write_text("{")
    assert best_average_precision(tmp_path) == 0.3


def test_without_a_checkpoint_a_trial_begins_anew(study, machine, tmp_path):
    def kill():
        (tmp_path / "study/trials/001/checkpoints/checkpoint").unlink()
        raise KeyboardInterrupt

    proposals = Proposals()
    machine.at = {"001": kill}
    with pytest.raises(KeyboardInterrupt):
        study(proposals)
    _, trials, _, _ = study(proposals)
    assert trials[1].minutes == pytest.approx(4.0)


def test_asked_to_stop_it_saves_and_goes_on_later(study, machine):
    proposals = Proposals()
    machine.at = {"001": lambda: signal.raise_signal(signal.SIGINT)}
    record, trials, complete, _ = study(proposals)
    assert (complete, trials[1].state) == (False, "running")
    assert record.running[0] == 1
    assert study(proposals)[2]
    assert [trial.state for trial in proposals.kept] == ["done"] * 5


def test_more_minutes_add_trials_and_none_repeats_them(study, machine):
    proposals = Proposals()
    study(proposals, minutes=8.0)
    assert len(proposals.kept) == 2
    began = len(machine.began)
    assert study(proposals, minutes=8.0)[2]
    assert len(machine.began) == began
    study(proposals, minutes=16.5)
    assert len(proposals.kept) == 4


def test_the_results_are_an_ordinary_configuration_and_a_table(study, machine, tmp_path):
    machine.average_precision = lambda config: 0.3 + 0.1 * (config.losses.box_weight < 5)
    record, trials, _, _ = study(Proposals())
    best = best_of(trials)
    assert (best.number, best.average_precision) == (2, pytest.approx(0.4))
    file = tmp_path / "study/best.yaml"
    config = load_config(file)
    assert (config.losses.box_weight, config.train.steps, config.train.minutes) == (2.0, 40, 0.0)
    assert "# The best trial of a study, written by ttfnet tune: 002 with AP 0.400." in file.read_text()
    longer = load_config(file, ["train.minutes=60"])
    assert (longer.train.minutes, longer.train.steps, longer.optim.cooldown_bends) == (60.0, 0, [])
    with open(tmp_path / "study/trials.csv", newline="") as rows:
        rows = list(csv.DictReader(rows))
    assert [(row["trial"], row["AP"], row["losses.box_weight"]) for row in rows[:3]] == [
        ("000", "0.300", "5"),
        ("001", "0.300", "12.5"),
        ("002", "0.400", "2"),
    ]
    lines = table(trials, record.space)
    assert lines[3].split()[:5] == ["002", "*", "0.400", "4.0", "done"]
    assert [path.parent.name for path in tmp_path.glob("study/trials/*/checkpoints")] == ["002"]


def test_named_settings_are_not_tuned(study, tmp_path):
    record, _, _, _ = study(Proposals(), "optim.lr=0.003", "augment.mosaic=0.2")
    assert not {"optim.lr", "augment.mosaic"} & {one.key for one in record.space}
    assert load_config(tmp_path / "study/trials/003/trial.yaml").optim.lr == 0.003


def test_nothing_to_tune_is_refused(study):
    named = ("optim.lr=0.01", "losses.box_weight=5", "optim.weight_decay=0", "train.batch_size=4", "data.image_size=[64,64]")
    with pytest.raises(UserError, match=r"study: every setting that is tuned was set by key=value; leave one of them out"):
        study(Proposals(), *named, "augment.mosaic=0")


def test_another_study_is_refused(study, coco, tmp_path):
    study(Proposals(), minutes=8.0)
    other = tmp_path / "other.json"
    other.write_bytes(coco.read_bytes())
    with pytest.raises(UserError, match=r"study: holds a study with data .*all\.json, now it is .*other\.json; repeat that command, or"):
        study(Proposals(), source=other)
    with pytest.raises(UserError, match=r"holds a study with settings none, now it is \['optim.lr=0.1'\]"):
        study(Proposals(), "optim.lr=0.1")
    with pytest.raises(UserError, match=r"holds a study with trial_minutes 4\.0, now it is 5\.0"):
        study(Proposals(), trial_minutes=5.0)
    (tmp_path / "study/tune.json").write_text("{}")
    with pytest.raises(UserError, match=r"tune\.json: was not written by ttfnet tune, or is damaged; choose another --work-dir"):
        study(Proposals())


def test_two_studies_do_not_share_a_folder(study, machine):
    def again():
        with pytest.raises(UserError, match="is in use by process"):
            study(Proposals())

    machine.at = {"001": again}
    assert study(Proposals())[2]


def test_a_best_trial_is_complete_and_the_earliest_of_equals():
    trials = [
        Trial(0, {}, "done", 0.3),
        Trial(1, {}, "done", 0.4),
        Trial(2, {}, "done", 0.4),
        Trial(3, {}, "pruned", 0.9),
        Trial(4, {}, "failed", 0.9),
    ]
    assert best_of(trials).number == 1
    assert best_of([dataclasses.replace(one, state="failed") for one in trials]) is None
