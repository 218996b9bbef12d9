"""The files of a work directory."""

import json
import os
from importlib import metadata

import pytest

from ttfnet_tf.config import Config
from ttfnet_tf.errors import UserError
from ttfnet_tf.runs.run_folder import Labels, RunFolder, read_config, read_labels

LABELS = Labels(("cat", "dog"), (3, 7))


def test_what_is_written_reads_back(tmp_path):
    RunFolder(tmp_path / "deep" / "run", Config(), LABELS)
    assert read_config(tmp_path / "deep" / "run") == Config()
    assert read_labels(tmp_path / "deep" / "run") == LABELS
    environment = json.loads((tmp_path / "deep" / "run" / "environment.json").read_text())
    assert environment["packages"]["tensorflow"] == metadata.version("tensorflow")


def test_what_defines_a_run_can_be_read_by_people(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", ["ttfnet", "train", "my settings.yaml"])
    texts = RunFolder(tmp_path / "run", Config(), LABELS).texts()
    assert texts["command"] == "ttfnet train 'my settings.yaml'"
    assert texts["config"] == (tmp_path / "run" / "config.yaml").read_text()
    assert f'"tensorflow": "{metadata.version("tensorflow")}"' in texts["environment"]
    assert "my settings.yaml" not in texts["environment"]


def test_metrics_of_later_steps_and_half_a_line_are_dropped(tmp_path):
    folder = RunFolder(tmp_path / "run", Config(), LABELS)
    for step in (1, 2, 3):
        folder.append_metrics({"step": step, "epoch": 0.5, "loss": 0.1 * step})
    with open(tmp_path / "run" / "metrics.jsonl", "a") as file:
        file.write('{"step": 4, "lo')  # killed while writing
    folder.drop_metrics_after(2)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines == [{"step": step, "epoch": 0.5, "loss": 0.1 * step} for step in (1, 2)]


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
