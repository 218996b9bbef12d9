"""Runs with planted mistakes: caught at their step, reported with images and layers, replayed from the record, skipped or rolled back.

Twelve images, four a batch: steps 1 to 3 are the first epoch. A planted image is one whose heatmap is not a number, at one moment of
the run; a planted learning rate is a thousand times the scheduled one in one step.
"""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import pytest
import tensorflow as tf
from integration_runs import checkpoint, metrics

from ttfnet_tf import build, cli
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.training import build as training_build
from ttfnet_tf.training import run as training_run
from ttfnet_tf.training.loop import TrainingLoop
from ttfnet_tf.training.stop import StopRequest

SETTINGS = """
data:
  train: {{annotations: {shapes}/annotations/train.json, images: {shapes}/train}}
  image_size: [64, 64]
model:
  frozen_stages: -1
  neck: plain
  neck_channels: [8, 8, 8]
  shortcut: [1, 1, 1]
  heatmap_head: {{width: 8, depth: 1}}
  box_head: {{width: 8, depth: 1}}
targets: {{backend: py_function}}  # a batch has a heatmap that can be spoilt
optim: {{lr: 0.002, lr_batch_size: 4, drop_epochs: [], warmup_steps: 0}}
train: {{epochs: 4, batch_size: 4, evaluate_every: 0, log_every: 3, steps_per_call: 3}}
"""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    draw_shapes(folder, train=12, val=1, size=(64, 64), seed=3)
    return folder


@pytest.fixture
def train(tmp_path, shapes, monkeypatch, capfd):
    """train("name", "key=value", ...) -> exit code and error lines of the real command, on a small network."""
    config = tmp_path / "settings.yaml"
    config.write_text(SETTINGS.format(shapes=shapes))
    networks.narrow(monkeypatch)

    def run(name, *overrides):
        code = cli.main(["train", str(config), "--work-dir", str(tmp_path / name), *overrides])
        lines = capfd.readouterr().err.splitlines()
        return code, [line for line in lines if not line.startswith(("train ", "note: "))]

    return run


@pytest.fixture
def plant_image(monkeypatch):
    """plant_image(n, ...) spoils the third image of the batches n of the data (from 0)."""
    real = build.train_dataset

    def plant(*numbers):
        def train_dataset(config, split, *, start_step=0, **more):
            def spoil(number, batch):
                bad = tf.reduce_any(number == tf.constant(numbers, tf.int64))
                rows = tf.range(tf.shape(batch["heatmap"])[0]) == 2
                spoilt = tf.where(rows[:, None, None, None] & bad, np.nan, batch["heatmap"])
                return {**batch, "heatmap": tf.ensure_shape(spoilt, batch["heatmap"].shape)}

            return real(config, split, start_step=start_step, **more).enumerate(start_step).map(spoil)

        monkeypatch.setattr(build, "train_dataset", train_dataset)

    return plant


def _report(folder):
    return json.loads((folder / "report.json").read_text())


@pytest.mark.slow
def test_an_image_that_is_not_a_number_stops_the_run_and_is_named_and_replayed(train, plant_image, shapes, tmp_path, capfd):
    plant_image(4)
    code, lines = train("run")
    record = tmp_path / "run" / "divergence" / "step-5"
    report = _report(record)
    third = report["image_ids"][2]
    assert code == 2
    assert len(lines) == 1
    assert f"ttfnet: {tmp_path}/run: the loss is nan at step 5, and of its 4 images image id {third} has a loss that is not fin" in lines[0]
    assert f"; replay it: ttfnet replay {record}; lower optim.lr (now 0.002)" in lines[0]
    # Nothing of the step is in the metrics, although the same call ran step 6 as well.
    assert [line["step"] for line in metrics(tmp_path / "run")] == [3]
    assert len(set(report["image_ids"])) == 4
    assert (shapes / "train").samefile(Path(report["files"][str(third)]).parent)
    assert [one["step"] for one in report["recent"]] == [1, 2, 3, 4]
    assert report["in_training"]["loss"] == "nan"
    assert [image["image_id"] for image in report["found"]["images"] if image["loss"] == "nan"] == [third]
    layers = {layer["name"]: layer for layer in report["found"]["layers"]}
    assert layers["bbox_head.hm.1.bias"]["gradient_not_finite"] > 0
    assert layers["bbox_head.wh.1.bias"]["gradient_not_finite"] == 0  # a branch of its own
    assert all(layer["weights_not_finite"] == 0 for layer in layers.values())

    command = shlex.split(lines[0].split("; replay it: ")[1].split(";")[0])
    assert cli.main(command[1:]) == 0
    out = capfd.readouterr().out
    assert out.splitlines()[-1] == "the same figures as in training"
    assert f"  image id {third}: nan (heatmap_loss nan, box_loss " in out


@pytest.mark.slow
def test_a_learning_rate_a_thousand_times_too_high_is_caught_before_its_effect_spreads(train, monkeypatch, tmp_path, capfd):
    """Step 5 still has the loss of good weights; its update ruins them, and step 6 shows it."""
    real = training_build.learning_rate_of

    def planted(*args):
        rate = real(*args)
        return lambda step: rate(step) * (1000 if step == 4 else 1)

    monkeypatch.setattr(training_build, "learning_rate_of", planted)
    code, lines = train("run", "train.explode_factor=10")  # the loss of so small a network grows 18-fold
    record = tmp_path / "run" / "divergence" / "step-6"
    report = _report(record)
    assert code == 2
    assert len(lines) == 1
    shown = re.search(
        r"run: the loss is ([\d.]+), (\d+) times its running mean ([\d.]+) at step 6, image ids (\d+), (\d+), (\d+), (\d+); replay it: ",
        lines[0],
    )
    loss, times, mean, *ids = shown.groups()
    assert [int(image_id) for image_id in ids] == report["image_ids"]
    assert round(float(loss) / float(mean)) == pytest.approx(int(times), abs=1)
    assert float(loss) == pytest.approx(report["found"]["losses"]["loss"], rel=1e-3)
    assert [one["lr"] for one in report["recent"]] == [0.002] * 4 + [2.0]
    assert sum(image["loss"] for image in report["found"]["images"]) == pytest.approx(report["found"]["losses"]["loss"], rel=1e-4)
    norms = [layer["gradient_norm"] for layer in report["found"]["layers"]]
    assert np.linalg.norm(norms) == pytest.approx(report["in_training"]["gradient_norm"], rel=1e-3)
    assert cli.main(["replay", str(record)]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "the same figures as in training"
    # With other settings the figures differ, and that is said.
    assert cli.main(["replay", str(record), "losses.box_weight=10"]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "other figures than in training (settings were changed)"


@pytest.mark.slow
def test_weights_that_are_not_numbers_are_named(train, monkeypatch, tmp_path, capfd):
    real = TrainingLoop.run

    def run(loop, step, must_stop):
        bias = loop.state.parameters["bbox_head.deconv_layers.1.0.conv_offset_mask.bias"]
        bias.assign(tf.concat([[np.nan], bias[1:]], 0))
        return real(loop, step, must_stop)

    monkeypatch.setattr(TrainingLoop, "run", run)
    code, lines = train("run", "train.on_divergence=skip", "model.neck=deformable")
    assert (code, len(lines)) == (2, 1)
    assert "the offsets of a deformable convolution are not finite at step 1, image ids " in lines[0]
    assert "a step without a loss cannot be skipped: resume with train.on_divergence=rollback" in lines[0]
    assert cli.main(["replay", str(tmp_path / "run/divergence/step-1")]) == 0
    out = capfd.readouterr().out.splitlines()
    assert out[1].startswith("the network cannot be computed: ")
    assert re.fullmatch(r"  bbox_head\.deconv_layers\.1\.0\.conv_offset_mask\.bias +nan +-  1, -", out[3])
    assert out[-1] == "the same figures as in training"


def _assert_equal_runs(first, second):
    assert metrics(first) == metrics(second)
    expected, actual = checkpoint(first), checkpoint(second)
    assert set(expected) == set(actual)
    assert [key for key in expected if not np.array_equal(expected[key], actual[key])] == []


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["skip", "rollback"])
def test_a_run_that_continues_ends_and_resumes_bit_equal(train, plant_image, tmp_path, policy):
    plant_image(4)
    setting = f"train.on_divergence={policy}"
    code, lines = train("straight", setting, "optim.ema_decay=0.9")
    assert code == 0
    assert len(lines) == 1
    assert f"{tmp_path}/straight: the loss is nan at step 5, and of its 4 images image id " in lines[0]
    logged = metrics(tmp_path / "straight")
    event = {"step": 5, "epoch": pytest.approx(5 / 3), "divergence": policy}
    assert logged[1] == event
    assert [line["step"] for line in logged if "loss" in line] == [3, 6, 9, 12]
    assert all(np.isfinite(line["loss"]) for line in logged if "loss" in line)
    state = checkpoint(tmp_path / "straight")
    assert all(np.isfinite(value).all() for value in state.values() if value.dtype.kind == "f")
    # After the rollback, step 4 (3 from 0) took batch 5, behind the bad one: 5 - 3 batches further than its number.
    assert state["sentinel/data_offset/.ATTRIBUTES/VARIABLE_VALUE"] == (2 if policy == "rollback" else 0)
    assert state["sentinel/left_out/.ATTRIBUTES/VARIABLE_VALUE"] == 1
    assert state["sentinel/seen/.ATTRIBUTES/VARIABLE_VALUE"] == (12 if policy == "rollback" else 11)

    assert train("resumed", setting, "optim.ema_decay=0.9", "train.epochs=1")[0] == 0
    assert train("resumed", setting, "optim.ema_decay=0.9", "train.epochs=2")[0] == 0
    assert train("resumed", setting, "optim.ema_decay=0.9")[0] == 0
    _assert_equal_runs(tmp_path / "straight", tmp_path / "resumed")


@pytest.mark.slow
def test_a_run_stopped_between_two_lines_resumes_bit_equal(train, monkeypatch, tmp_path):
    """When the stop is noticed, the host has not read the last step; six steps an epoch, one a call, and a line at the end of an epoch."""
    settings = ("train.epochs=2", "train.batch_size=2", "train.log_every=100", "train.steps_per_call=1", "train.checkpoint_every=2")
    assert train("straight", *settings)[0] == 0
    asked = []

    class Stop(StopRequest):
        @property
        def requested(self):
            asked.append(1)
            return len(asked) > 9

        @requested.setter
        def requested(self, value):
            pass

    with monkeypatch.context() as patch:
        patch.setattr(training_run, "StopRequest", Stop)
        assert train("stopped", *settings)[0] == 0
    assert checkpoint(tmp_path / "stopped")["sentinel/current_step/.ATTRIBUTES/VARIABLE_VALUE"] == 8  # from 0: nine steps
    assert [line["step"] for line in metrics(tmp_path / "stopped")] == [6]
    assert train("stopped", *settings)[0] == 0
    _assert_equal_runs(tmp_path / "straight", tmp_path / "stopped")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("policy", "bad", "line"),
    [
        ("skip", range(1, 12), "at step 12, .*; 10 steps in a row were skipped before it; "),
        # Batch 4 (from 0) spoils step 5; back at the checkpoint of step 3, step 4 takes the batch behind it.
        ("rollback", range(4, 100), "at step 4, .*; 3 rollbacks did not help; "),
    ],
)
def test_too_many_in_a_row_end_the_run(train, plant_image, policy, bad, line):
    plant_image(*bad)
    code, lines = train("run", f"train.on_divergence={policy}")
    assert code == 2
    assert re.search(line, lines[-1])
    assert len(lines) == (11 if policy == "skip" else 4)


@pytest.mark.slow
def test_two_replicas_report_the_images_of_both(tmp_path, shapes):
    """In a process of its own, which must start with two devices."""
    config = tmp_path / "settings.yaml"
    config.write_text(SETTINGS.format(shapes=shapes))
    code = f"""
import sys
import numpy as np, tensorflow as tf
from ttfnet_tf import build, cli
real = build.train_dataset
def spoilt(config, split, *, start_step=0, **more):
    def spoil(number, batch):
        bad = (tf.range(tf.shape(batch["heatmap"])[0]) == 3)[:, None, None, None] & (number == 1)
        return {{**batch, "heatmap": tf.ensure_shape(tf.where(bad, np.nan, batch["heatmap"]), batch["heatmap"].shape)}}
    return real(config, split, start_step=start_step, **more).enumerate(start_step).map(spoil)
build.train_dataset = spoilt
sys.exit(cli.main(["train", {str(config)!r}, "--work-dir", {str(tmp_path / "run")!r}, "train.devices=[cpu:0,cpu:1]"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2, done.stderr
    report = _report(tmp_path / "run/divergence/step-2")
    assert len(set(report["image_ids"])) == 4
    assert report["replicas"] == 2
    assert f"of its 4 images image id {report['image_ids'][3]} has a loss that is not finite" in done.stderr.splitlines()[-1]
    # The box head is a branch of its own: its loss is finite, and equal however it is computed.
    assert report["found"]["losses"]["box_loss"] == pytest.approx(report["in_training"]["box_loss"], rel=1e-4)
