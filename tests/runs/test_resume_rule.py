"""Which runs may resume in a work directory."""

import pytest

from ttfnet_tf.config import Config, dump_config, load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.runs.resume import refuse_other_run
from ttfnet_tf.runs.run_folder import Labels, RunFolder, data_fingerprint, read_config

LABELS = Labels(("cat", "dog"), (3, 7))


def _config(tmp_path, *overrides):
    empty = tmp_path / "empty.yaml"
    empty.write_text("")
    return load_config(empty, overrides)


@pytest.fixture
def begun(tmp_path):
    """A work directory with a run that has done a step."""
    RunFolder(tmp_path / "run", Config(), LABELS).append_metrics({"step": 1})
    return tmp_path / "run"


def test_the_same_run_may_resume_with_other_free_settings(tmp_path, begun):
    refuse_other_run(begun, _config(tmp_path, "train.log_every=3", "train.devices=[cpu:0]", "train.epochs=20"), LABELS)


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
    refuse_other_run(tmp_path / "run", config, LABELS)
    RunFolder(tmp_path / "run", config, LABELS)
    assert "summary_images" in file.read_text()


def test_other_settings_are_refused(tmp_path, begun):
    with pytest.raises(UserError, match=r"run: holds a run with optim\.lr=0\.016, this one has optim\.lr=0\.5; resume with"):
        refuse_other_run(begun, _config(tmp_path, "optim.lr=0.5"), LABELS)


def test_other_classes_are_refused(begun):
    with pytest.raises(UserError, match=r"holds a run with 2 classes \(cat, dog\), the annotations have 1 \(cat\)"):
        refuse_other_run(begun, Config(), Labels(("cat",), (3,)))


@pytest.fixture
def moved(tmp_path):
    """(A run that has done a step, its settings with another place of the same data)."""
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "train.json").write_text('{"images": []}')
    config = _config(tmp_path, f"data.train.annotations={tmp_path}/old/train.json", f"data.train.images={tmp_path}/old")
    fingerprint = data_fingerprint(tmp_path / "old" / "train.json")
    RunFolder(tmp_path / "run", config, LABELS, fingerprint=fingerprint).append_metrics({"step": 1})
    return tmp_path / "run", _config(tmp_path, f"data.train.annotations={tmp_path}/new/train.json", f"data.train.images={tmp_path}/new")


def test_a_data_set_may_move(tmp_path, moved):
    run, config = moved
    (tmp_path / "old" / "train.json").unlink()
    note = refuse_other_run(run, config, LABELS, data_fingerprint(tmp_path / "new" / "train.json"))
    assert note == (
        "note: the training data have moved, with the same annotations: "
        f"data.train.annotations={tmp_path}/new/train.json, data.train.images={tmp_path}/new"
    )


def test_a_data_set_of_an_earlier_version_may_move_while_its_first_place_is_there(tmp_path, moved):
    run, config = moved
    (run / "data.json").unlink()
    fingerprint = data_fingerprint(tmp_path / "new" / "train.json")
    assert refuse_other_run(run, config, LABELS, fingerprint).startswith("note: the training data have moved")
    (tmp_path / "old" / "train.json").unlink()
    with pytest.raises(UserError, match=r"holds a run with data\.train\.annotations=.*old/train\.json, this one has"):
        refuse_other_run(run, config, LABELS, fingerprint)


def test_other_annotations_in_another_place_are_another_run(tmp_path, moved):
    run, config = moved
    (tmp_path / "new" / "train.json").write_text('{"images": [] }')
    with pytest.raises(UserError, match=r"holds a run with data\.train\.annotations=.*old/train\.json, this one has .*new/train\.json"):
        refuse_other_run(run, config, LABELS, data_fingerprint(tmp_path / "new" / "train.json"))


def test_annotations_that_changed_in_place_are_said(tmp_path, moved):
    run, _ = moved
    (tmp_path / "old" / "train.json").write_text('{"images": [] }')
    note = refuse_other_run(run, read_config(run), LABELS, data_fingerprint(tmp_path / "old" / "train.json"))
    assert note == f"note: {tmp_path}/old/train.json has changed since this run began; the run continues with what it holds now"


@pytest.mark.parametrize("name", ["config.yaml", "labels.json", "metrics.jsonl"])
def test_files_that_no_run_has_written_are_not_overwritten(tmp_path, name):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).write_text("train: {epochs: 3}  # mine")
    with pytest.raises(UserError, match=rf"run/{name}: was not written by a run and would be overwritten; move it away, or choose another"):
        refuse_other_run(tmp_path / "run", Config(), LABELS)


def test_a_start_that_was_killed_after_its_first_file_is_no_foreign_one(tmp_path):
    RunFolder(tmp_path / "run", Config(), LABELS)
    for name in ("labels.json", "environment.json"):
        (tmp_path / "run" / name).unlink()
    refuse_other_run(tmp_path / "run", Config(), LABELS)
    (tmp_path / "run" / "config.yaml").write_text(dump_config(Config()))  # of an earlier version
    refuse_other_run(tmp_path / "run", Config(), LABELS)


def test_a_start_that_failed_before_its_first_step_is_no_run(tmp_path):
    refuse_other_run(tmp_path / "run", Config(), LABELS)  # nothing there
    RunFolder(tmp_path / "run", _config(tmp_path, "model.pretrained=misspelt.npz"), LABELS)
    refuse_other_run(tmp_path / "run", Config(), Labels(("cat",), (3,)))
    (tmp_path / "run/checkpoints").mkdir()
    (tmp_path / "run/checkpoints/step-3.index").touch()
    with pytest.raises(UserError, match=r"holds a run with model\.pretrained=misspelt\.npz"):
        refuse_other_run(tmp_path / "run", Config(), Labels(("cat",), (3,)))
