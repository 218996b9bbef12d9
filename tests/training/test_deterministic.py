"""`train.deterministic`: two runs end with the same bits, and what has no deterministic form is refused in one line."""

import networks
import numpy as np
import pytest
import tensorflow as tf
from integration_runs import checkpoint
from tensorflow.python.framework import config as tensorflow_config

from ttfnet_tf import build, cli
from ttfnet_tf.config import Config
from ttfnet_tf.config.schema import with_value
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.training import build as training_build

SETTINGS = """
data:
  train: {{annotations: {tmp}/shapes/annotations/train.json, images: {tmp}/shapes/train}}
  image_size: [64, 64]
model:
  frozen_stages: -1
  neck_channels: [8, 8, 8]
  shortcut: [1, 1, 1]
  heatmap_head: {{width: 8, depth: 1}}
  box_head: {{width: 8, depth: 1}}
optim: {{drop_epochs: [], warmup_steps: 0}}
train: {{epochs: 2, batch_size: 4, evaluate_every: 0, deterministic: true}}
"""


@pytest.fixture
def train(tmp_path, monkeypatch, capfd):
    """train(name, setting, ...) -> exit code and lines of errors of the real command, on a small network."""
    draw_shapes(tmp_path / "shapes", train=8, val=1, size=(64, 64))
    (tmp_path / "a.yaml").write_text(SETTINGS.format(tmp=tmp_path))
    networks.narrow(monkeypatch)

    def run(name, *overrides):
        code = cli.main(["train", str(tmp_path / "a.yaml"), "--work-dir", str(tmp_path / name), *overrides])
        return code, [line for line in capfd.readouterr().err.splitlines() if not line.startswith(("train ", "note: "))]

    yield run
    tensorflow_config.disable_op_determinism()


@pytest.mark.slow
def test_two_runs_end_with_the_same_bits(train, tmp_path):
    for name in ("first", "second"):
        assert train(name) == (0, [])
        assert tensorflow_config.is_op_determinism_enabled()
    first, second = checkpoint(tmp_path / "first"), checkpoint(tmp_path / "second")
    assert [key for key, value in first.items() if not np.array_equal(value, second[key])] == []


@pytest.mark.slow
def test_an_operation_without_a_deterministic_form_is_one_line(train, monkeypatch, tmp_path):
    def sparse_step(*_, **__):
        def run(iterator, rates, step):
            raise tf.errors.UnimplementedError(None, None, "A deterministic GPU implementation of X is not currently available.\nmore")

        return run

    monkeypatch.setattr(training_build, "build_train_function", sparse_step)
    code, lines = train("run")
    assert (code, len(lines)) == (2, 1)
    reason = "A deterministic GPU implementation of X is not currently available"
    assert lines[0].endswith(f"train.deterministic=true: {reason}; set it to false, or train on the CPU")


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.epochs", 1, "crop_and_resize"),
        ("train.jit_compile", True, "gather"),
        ("train.deterministic", True, "gather"),
        ("model.sampler", "gather", "gather"),
        ("model.sampler", "crop_and_resize", "crop_and_resize"),
    ],
)
def test_the_sampler_by_itself(key, value, expected):
    assert build.sampler_of(with_value(Config(), key, value)) == expected


def test_the_sampler_on_a_gpu(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [f"a {kind}"])
    assert build.sampler_of(Config()) == "gather"
    assert build.sampler_of(with_value(Config(), "train.devices", ["cpu:0"])) == "crop_and_resize"
