"""A run of every optimizer is resumed, and ends with the bits of a run that was never stopped."""

import networks
import numpy as np
import pytest
from integration_runs import checkpoint, metrics

from ttfnet_tf import cli
from ttfnet_tf.config import OptimConfig
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.training import build as training_build
from ttfnet_tf.training.optimizers import NAMES
from ttfnet_tf.training.step import build_train_function

pytestmark = pytest.mark.slow
SETTINGS = """
data: {{image_size: [64, 64], train: {{annotations: {0}/annotations/train.json, images: {0}/train}},
       val: {{annotations: {0}/annotations/val.json, images: {0}/val}}}}
model: {{neck: plain, neck_channels: [8, 8, 8], shortcut: [1, 1, 1], frozen_stages: -1,
        heatmap_head: {{width: 8, depth: 1}}, box_head: {{width: 8, depth: 1}}}}
optim: {{lr: 0.002, lr_batch_size: 2, warmup_steps: 0, drop_epochs: []}}
train: {{batch_size: 2, summary_images: 0, report: false, evaluate_every: 0}}
"""


@pytest.mark.parametrize("name", [OptimConfig().name, *NAMES])
def test_a_run_is_resumed(name, tmp_path, monkeypatch, capfd):
    def uncompiled(*args, **keywords):
        return build_train_function(*args, **keywords).__wrapped__

    networks.narrow(monkeypatch)
    monkeypatch.setattr(training_build, "build_train_function", uncompiled)
    draw_shapes(tmp_path / "shapes", train=4, val=1, size=(64, 64), seed=3)
    (tmp_path / "settings.yaml").write_text(SETTINGS.format(tmp_path / "shapes"))

    def train(run, epochs):
        words = [
            "train",
            str(tmp_path / "settings.yaml"),
            "--work-dir",
            str(tmp_path / run),
            f"optim.name={name}",
            f"train.epochs={epochs}",
        ]
        assert cli.main(words) == 0, capfd.readouterr().err
        return tmp_path / run

    whole = train("whole", 2)
    assert train("stopped", 1) == train("stopped", 2)
    assert "resumes at step 2 of 4" in capfd.readouterr().out
    expected, resumed = checkpoint(whole), checkpoint(tmp_path / "stopped")
    assert set(expected) == set(resumed)
    assert [key for key in expected if not np.array_equal(expected[key], resumed[key])] == []
    assert [line["step"] for line in metrics(tmp_path / "stopped") if "loss" in line][-1] == 4
