"""`ttfnet fit`: what it refuses before any work, and the settings that it writes."""

import json

import pytest
from small_coco import write_coco_file

from ttfnet_tf import cli
from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.fit import machine, run
from ttfnet_tf.fit.decide import Decision, MachineFacts
from ttfnet_tf.runs.lock import RunLock


@pytest.fixture
def coco(tmp_path):
    """A COCO file of eight images of 64 px, one box each."""
    return write_coco_file(tmp_path, 8, 64)


@pytest.fixture
def settings(monkeypatch, coco, tmp_path):
    """settings(minutes, overrides) -> (configuration, lines) of a fit on a machine of ours."""
    monkeypatch.setattr(machine, "describe_machine", lambda: MachineFacts(1e-6, False, 1 << 30))

    def make(*overrides, minutes=3.0, work_dir=tmp_path / "run"):
        lines = []
        request = run.Request(coco, minutes, overrides=overrides)
        return run.settings_of_fit(request, work_dir, say=lines.append, progress=lambda label, items: items), lines

    return make


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "0.5"], "--minutes 0.5 must lie in 1..10080"),
        (["--minutes", "nan"], "--minutes nan must lie in 1..10080"),
        (["--images", "nowhere"], "--images nowhere: is not a folder"),
        (["train.epochs=3"], "override 'train.epochs=3': the time decides how long it trains; set --minutes"),
        (["data.train.images=x"], "override 'data.train.images=x': the data are those of DATA"),
        (["optim.lr=fast"], "optim.lr=fast must be a number"),
        (["optim.schedule=step"], "needs optim.schedule=trapezoid"),
        (["--work-dir", "s3://bucket/run"], "s3://bucket/run: fit reads and writes on a disk; name a path"),
    ],
)
def test_mistakes_answer_in_one_line(coco, tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(machine, "describe_machine", lambda: MachineFacts(1e-6, False, 1 << 30))
    monkeypatch.chdir(tmp_path)
    assert cli.main(["fit", str(coco), *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_the_settings_are_an_ordinary_configuration(settings, tmp_path):
    config, lines = settings("model.box_head.width=32", "optim.lr=0.001")
    assert load_config(tmp_path / "run/fit.yaml") == config
    assert (config.train.minutes, config.optim.schedule, config.model.box_head.width, config.optim.lr) == (3.0, "trapezoid", 32, 0.001)
    text = (tmp_path / "run/fit.yaml").read_text()
    assert all(f"# {line}\n" in text for line in lines if line.startswith("input"))
    assert any(line.endswith("(you set optim.lr)") for line in lines)
    assert lines[1].startswith("too little data for 1 class")


def test_merged_classes_are_counted_together(settings, coco):
    content = json.loads(coco.read_text())
    content["categories"] += [{"id": 2, "name": "b"}]
    coco.write_text(json.dumps(content))
    _, lines = settings("data.classes={thing: [a, b]}")
    assert lines[1].startswith("too little data for 1 class:")


def test_the_same_command_takes_the_same_settings(settings):
    config, _ = settings("optim.lr=0.001")
    again, lines = settings("optim.lr=0.001")
    assert again == config
    assert len(lines) == 1
    assert "goes on with the settings in" in lines[0]


def test_another_fit_is_refused(settings, tmp_path):
    settings()
    with pytest.raises(UserError, match=r"run: holds a fit with minutes 3\.0, now it is 5\.0; repeat that command, or choose another"):
        settings(minutes=5.0)
    with pytest.raises(UserError, match=r"holds a fit with settings none, now it is \['optim.lr=0.1'\]"):
        settings("optim.lr=0.1")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.yaml").write_text("")
    with pytest.raises(UserError, match=r"other/config\.yaml: exists and was not written by ttfnet fit; choose another --work-dir"):
        settings(work_dir=tmp_path / "other")
    record = tmp_path / "run/fit.json"
    record.write_text(record.read_text().replace("true", "false"))
    assert settings(minutes=5.0)[0].train.minutes == 5.0  # nothing was decided yet
    record.write_text("{}")
    with pytest.raises(UserError, match=r"fit\.json: was not written by ttfnet fit, or is damaged; choose"):
        settings()


def test_killed_before_the_settings_were_there_it_decides_again(settings, tmp_path, monkeypatch):
    def kill(*_, **__):
        raise KeyboardInterrupt

    for name in ("describe_data", "dump_config"):
        with monkeypatch.context() as patch:
            patch.setattr(run, name, kill)
            with pytest.raises(KeyboardInterrupt):
                settings()
        assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["data", "fit.json"]  # no draft
    config, lines = settings(minutes=4.0)
    assert config.train.minutes == 4.0
    assert len(lines) > 5
    assert settings(minutes=4.0)[0] == config


def test_settings_without_a_complete_record_do_not_count(settings, tmp_path):
    settings()
    record = tmp_path / "run/fit.json"
    record.write_text(record.read_text().replace("true", "false"))
    (tmp_path / "run/fit.yaml").write_text("train: {minutes: 7}")
    assert settings()[0].train.minutes == 3.0


def test_two_do_not_decide_at_the_same_time(settings, tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    with RunLock(tmp_path / "run"), pytest.raises(UserError, match=r"run: is in use by process \d+"):
        settings()
    assert list((tmp_path / "run").iterdir()) == []


def test_what_no_rule_allows_together_is_one_line_about_the_setting(settings, monkeypatch):
    monkeypatch.setattr(run, "decide", lambda *_, **__: [Decision({"optim.warmup_ratio": 2.0}, "warm up")])
    with pytest.raises(UserError, match=r"^optim\.warmup_ratio=2\.0 must"):
        settings()


@pytest.mark.parametrize(
    ("folder", "name"),
    [("fit-bccd.v2", "fit-bccd.v2"), ("my cells", "my-cells"), ("_best", "best"), ("Zähler", "Z-hler"), ("細胞", "model")],
)
def test_every_work_directory_gives_a_name_of_a_model(tmp_path, folder, name):
    assert run._model_name(tmp_path / folder) == name


@pytest.mark.parametrize(
    ("written", "named", "expected"),
    [
        ("run/config.yaml", "run", True),
        ("run/checkpoints/step-10.index", "run/checkpoints/step-10", True),
        ("run/checkpoints/step-10.index", "run/checkpoints/step-10.index", True),
        ("model/saved_model.pb", "model", True),
        ("model/2/saved_model.pb", "model", True),
        ("preset/weights.h5", "preset", False),
        ("resnet18.npz", "resnet18.npz", False),
        ("resnet18.npz", "timm/resnet18.tv_in1k", False),
    ],
)
def test_weights_of_a_whole_detector_are_recognised(tmp_path, monkeypatch, written, named, expected):
    (tmp_path / written).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / written).touch()
    monkeypatch.chdir(tmp_path)
    assert run.is_detector(named) is expected


def test_figures_of_a_best_checkpoint_whose_line_was_dropped(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 40, "epoch": 2.0, "AP": 0.3}\n')
    (tmp_path / "eval/60").mkdir(parents=True)
    (tmp_path / "eval/60/metrics.json").write_text('{"metrics": {"AP": 0.4, "AP50": 0.7}}')
    assert run._figures(tmp_path, 40)["AP"] == 0.3
    assert run._figures(tmp_path, 60) == {"AP": 0.4, "AP50": 0.7}
    assert run._figures(tmp_path, 50) == {}
