import json
import os

import pytest

from ttfnet_tf.config import Config, load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.runs.run_folder import Labels, RunFolder, read_config, read_labels

LABELS = Labels(("cat", "dog"), (3, 7))


def _config(tmp_path, *overrides):
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    return load_config(empty, overrides)


def test_what_is_written_reads_back(tmp_path):
    RunFolder(tmp_path / "deep" / "run", Config(), LABELS)
    assert read_config(tmp_path / "deep" / "run") == Config()
    assert read_labels(tmp_path / "deep" / "run") == LABELS
    environment = json.loads((tmp_path / "deep" / "run" / "environment.json").read_text())
    assert environment["packages"]["tensorflow"].startswith("2.15")


def test_what_defines_a_run_can_be_read_by_people(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["ttfnet", "train", "my settings.yaml"])
    texts = RunFolder(tmp_path / "run", Config(), LABELS).texts()
    assert texts["command"] == "ttfnet train 'my settings.yaml'"
    assert texts["config"] == (tmp_path / "run" / "config.yaml").read_text()
    assert '"tensorflow": "2.15' in texts["environment"]
    assert "my settings.yaml" not in texts["environment"]


def test_same_run_may_go_on_with_other_free_settings(tmp_path):
    RunFolder(tmp_path / "run", Config(), LABELS)
    RunFolder(tmp_path / "run", _config(tmp_path, "train.log_every=3", "train.devices=[cpu:0]", "train.epochs=20"), LABELS)
    assert read_config(tmp_path / "run").train.epochs == 20


def test_a_run_of_an_earlier_version_resumes(tmp_path):
    config = _config(tmp_path, "model.method=centernet", "model.backbone=dla34")
    RunFolder(tmp_path / "run", config, LABELS).append_metrics({"step": 1})
    file = tmp_path / "run" / "config.yaml"
    old = {"broken_images": "broken_pictures", "summary_images": "summary_pictures", "method: centernet": "head: centernet"}
    text = file.read_text()
    for new, name in {**old, "beta: 0.54": "beta: 0.3"}.items():  # a setting that CenterNet does not read
        assert new in text
        text = text.replace(new, name)
    file.write_text(text)
    assert read_config(tmp_path / "run") == config
    RunFolder(tmp_path / "run", config, LABELS)
    assert "summary_images" in file.read_text()


def test_other_settings_are_refused_and_nothing_is_written(tmp_path):
    RunFolder(tmp_path / "run", Config(), LABELS).append_metrics({"step": 1})
    with pytest.raises(UserError, match=r"run: holds a run with optim\.lr=0\.016, this one has optim\.lr=0\.5; resume with"):
        RunFolder(tmp_path / "run", _config(tmp_path, "optim.lr=0.5"), LABELS)
    assert read_config(tmp_path / "run") == Config()


def test_a_start_that_failed_before_its_first_step_is_no_run(tmp_path):
    RunFolder(tmp_path / "run", _config(tmp_path, "model.pretrained=misspelt.npz"), LABELS)
    RunFolder(tmp_path / "run", Config(), Labels(("cat",), (3,)))
    assert read_config(tmp_path / "run") == Config()
    assert read_labels(tmp_path / "run").class_names == ("cat",)


def test_other_classes_are_refused(tmp_path):
    RunFolder(tmp_path / "run", Config(), LABELS).append_metrics({"step": 1})
    with pytest.raises(UserError, match=r"holds a run with 2 classes \(cat, dog\), the annotations have 1 \(cat\)"):
        RunFolder(tmp_path / "run", Config(), Labels(("cat",), (3,)))


def test_metrics_of_later_steps_and_half_a_line_are_dropped(tmp_path):
    folder = RunFolder(tmp_path / "run", Config(), LABELS)
    for step in (1, 2, 3):
        folder.append_metrics({"step": step, "loss": 0.1 * step})
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')  # killed while writing
    folder.drop_metrics_after(2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": 1, "loss": 0.1}, {"step": 2, "loss": 0.2}]


def test_workers_other_than_the_chief_write_nothing(tmp_path):
    folder = RunFolder(tmp_path / "run", Config(), LABELS, writes=False)
    folder.append_metrics({"step": 1})
    assert not (tmp_path / "run").exists()


def test_work_directory_that_is_a_file(tmp_path):
    (tmp_path / "run").write_text("not a folder")
    with pytest.raises(UserError, match=r"run: cannot be written \(File exists\); choose another --work-dir"):
        RunFolder(tmp_path / "run", Config(), LABELS)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_work_directory(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        RunFolder(tmp_path / "run", Config(), LABELS)


def test_folder_without_a_run(tmp_path):
    with pytest.raises(UserError, match=r"holds no config\.yaml; name a work directory that training has written"):
        read_config(tmp_path)
    (tmp_path / "labels.json").write_text("[]")
    with pytest.raises(UserError, match=r"labels\.json: is missing or broken"):
        read_labels(tmp_path)
