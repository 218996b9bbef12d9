"""`train.batch_size: auto`: the search for the largest batch, what a CPU takes, and what a run that resumes keeps."""

import subprocess
import sys
from types import SimpleNamespace

import networks
import pytest

from ttfnet_tf import build, cli
from ttfnet_tf.config import Config, effective_lr, load_config
from ttfnet_tf.config.load import load_stored
from ttfnet_tf.config.schema import AUTO, with_value
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.errors import UserError
from ttfnet_tf.training.choose_batch import choose_batch_size, largest_that_fits, try_batches, with_margin

ON_GPUS = SimpleNamespace(num_replicas_in_sync=2, extended=SimpleNamespace(worker_devices=["/device:GPU:0", "/device:GPU:1"]))


@pytest.mark.parametrize("limit", [0, 1, 3, 4, 7, 8, 9, 63, 64, 100, 130, 5000])
@pytest.mark.parametrize("most", [1, 6, 8, 100, 1000])
def test_the_search_finds_the_largest_multiple_of_eight(limit, most):
    tried = []

    def fits(size):
        tried.append(size)
        return size <= limit

    found = largest_that_fits(fits, most)
    assert all(1 <= size <= most for size in tried)
    assert found <= min(limit, most)
    assert found == 0 or found in tried
    bound = min(limit, most)
    if bound >= 8:
        assert found > bound - 8
    elif bound == most:
        assert found == most
    else:
        assert found == max((size for size in (4, 2, 1) if size <= bound), default=0)
    assert len(tried) <= 2 * 10


@pytest.mark.parametrize(("size", "expected"), [(1, 1), (2, 1), (8, 7), (9, 8), (16, 8), (24, 16), (64, 56), (100, 88), (360, 320)])
def test_a_tenth_is_left(size, expected):
    assert with_margin(size) == expected


def test_on_a_cpu():
    strategy = SimpleNamespace(num_replicas_in_sync=1, extended=SimpleNamespace(worker_devices=["/device:CPU:0"]))
    assert choose_batch_size(Config(), strategy, num_classes=2, num_images=100) == (
        16,
        "train.batch_size=auto: 16 (16 images are enough for statistics of normalisation, and larger batches are no faster on a CPU); the "
        "learning rate follows it",
    )
    assert choose_batch_size(Config(), strategy, num_classes=2, num_images=5)[0] == 5


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (
            "a line of a library\nlargest batch 64\n",
            (112, "train.batch_size=auto: 112 (56 on each of 2 devices; the largest"),
        ),
        ("largest batch 0\n", "not even one image fits on the GPU"),
        ("", r"no batch could be tried \(KeyError: why\); name a number"),
    ],
)
def test_on_gpus_a_process_answers(monkeypatch, printed, expected):
    commands = []

    def run(command, **_):
        commands.append(command)
        assert load_stored(command[3]).train.batch_size == 1  # a file that loads, whatever the devices are
        return SimpleNamespace(stdout=printed, stderr="Traceback\nKeyError: why\n", returncode=1)

    monkeypatch.setattr(subprocess, "run", run)
    config = with_value(with_value(Config(), "train.batch_size", AUTO), "train.devices", ["gpu:0", "gpu:1"])
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            choose_batch_size(config, ON_GPUS, num_classes=3, num_images=1000)
    else:
        size, line = choose_batch_size(config, ON_GPUS, num_classes=3, num_images=1000)
        assert (size, line[: len(expected[1])]) == expected
    assert commands[0][:3] == [sys.executable, "-m", "ttfnet_tf.training.choose_batch"]
    assert commands[0][4:] == ["3", "500", "gpu:0"]


def test_the_setting(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("train: {batch_size: auto}\noptim: {lr: 0.1, lr_batch_size: 10}")
    config = load_config(path)
    assert config == load_config(path, ["train.batch_size=auto"])
    assert effective_lr(with_value(config, "train.batch_size", 20)) == pytest.approx(0.2)
    with pytest.raises(UserError, match=r"train\.batch_size=auto is for one process"):
        load_config(path, ["train.strategy=multi_worker"])
    with pytest.raises(UserError, match=r"train\.batch_size=autos must be an integer"):
        load_config(path, ["train.batch_size=autos"])
    with pytest.raises(UserError, match=r"train\.epochs=auto must be an integer"):
        load_config(path, ["train.epochs=auto"])
    with pytest.raises(UserError, match="is decided by `ttfnet train` alone"):
        build.train_dataset(config, None)


SETTINGS = """
data:
  train: {{annotations: {tmp}/shapes/annotations/train.json, images: {tmp}/shapes/train}}
  image_size: [64, 64]
model:
  neck: plain
  frozen_stages: -1
  neck_channels: [8, 8, 8]
  shortcut: [1, 1, 1]
  heatmap_head: {{width: 8, depth: 1}}
  box_head: {{width: 8, depth: 1}}
optim: {{drop_epochs: [], warmup_steps: 0}}
train: {{epochs: 1, batch_size: auto, evaluate_every: 0, precision: float32}}
"""


@pytest.mark.slow
def test_a_run_says_its_batch_and_keeps_it(tmp_path, monkeypatch, capsys):
    draw_shapes(tmp_path / "shapes", train=6, val=1, size=(64, 64))
    (tmp_path / "a.yaml").write_text(SETTINGS.format(tmp=tmp_path))
    networks.narrow(monkeypatch)
    command = ["train", str(tmp_path / "a.yaml"), "--work-dir", str(tmp_path / "run")]
    assert cli.main(command) == 0
    out = capsys.readouterr().out
    assert "train.batch_size=auto: 6 (" in out
    assert "learning rate 0.00075: optim.lr=0.016 is for batches of 128, train.batch_size is 6" in out
    assert "batch_size: 6" in (tmp_path / "run" / "config.yaml").read_text()
    assert cli.main([*command, "train.epochs=2"]) == 0
    assert "train.batch_size=auto: 6, as this run began" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["device", "py_function"])
def test_batches_are_tried_by_real_steps(tmp_path, monkeypatch, backend):
    (tmp_path / "a.yaml").write_text(SETTINGS.format(tmp=tmp_path))
    networks.narrow(monkeypatch)
    config = load_config(tmp_path / "a.yaml", ["train.batch_size=1", f"targets.backend={backend}"])
    assert try_batches(config, 2, 2, "cpu:0") == 2
