"""Which runs may resume in a work directory."""

import pytest

from ttfnet_tf.config import Config, load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.runs.resume import refuse_other_run
from ttfnet_tf.runs.run_folder import Labels, RunFolder, read_config

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


def test_a_start_that_failed_before_its_first_step_is_no_run(tmp_path):
    refuse_other_run(tmp_path / "run", Config(), LABELS)  # nothing there
    RunFolder(tmp_path / "run", _config(tmp_path, "model.pretrained=misspelt.npz"), LABELS)
    refuse_other_run(tmp_path / "run", Config(), Labels(("cat",), (3,)))
    (tmp_path / "run/checkpoints").mkdir()
    (tmp_path / "run/checkpoints/step-3.index").touch()
    with pytest.raises(UserError, match=r"holds a run with model\.pretrained=misspelt\.npz"):
        refuse_other_run(tmp_path / "run", Config(), Labels(("cat",), (3,)))
