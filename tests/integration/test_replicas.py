"""One device, two devices and two worker processes make the same update from the same global batch."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest
from integration_runs import ROOT, checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ONE_EPOCH = ("train.epochs=1", "optim.drop_epochs=[]", "train.evaluate_every=0")


def _relative_update(work_dir, reference, least=60):
    """Largest over momentum buffers (the updates) and weights: |a - b| / |b|."""
    actual, expected = checkpoint(work_dir), checkpoint(reference)
    assert set(actual) == set(expected)
    keys = [key for key in expected if "buffers" in key]
    assert len(keys) > least
    total = np.sqrt(sum(np.sum((actual[key] - expected[key]) ** 2.0) for key in keys))
    return total / np.sqrt(sum(np.sum(expected[key] ** 2.0) for key in keys))


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


@pytest.fixture(scope="module")
def one_step(runs):
    """Settings of a run of a single step on all images, and that run on one device."""
    settings = (*ONE_EPOCH, "train.batch_size=12", "optim.lr_batch_size=12")
    return settings, runs.finish("one", *settings)


def test_two_devices_make_the_update_of_one(runs, one_step):
    settings, one = one_step
    two = runs.finish("two", *settings, "train.devices=[cpu:0,cpu:1]")
    assert _relative_update(two, one) < 1e-3


LOCAL = ("model.batch_norm=local", *ONE_EPOCH, "train.batch_size=12", "optim.lr_batch_size=12")


@pytest.mark.parametrize("normalizer", ["global", "replica"])
def test_parts_of_a_batch_make_the_update_of_as_many_devices(runs, normalizer):
    """Both have statistics of their own; with `replica` a device divides by the counts of all its parts."""
    settings = (*LOCAL, f"losses.normalizer={normalizer}")
    four = runs.finish(f"four_parts_{normalizer}", *settings, "optim.accumulate=4")
    both = runs.finish(f"two_parts_{normalizer}", *settings, "optim.accumulate=2", "train.devices=[cpu:0,cpu:1]")
    if normalizer == "global":
        devices = runs.finish("four_devices", *settings, "train.devices=[cpu:0,cpu:1,cpu:2,cpu:3]")
        assert _relative_update(four, devices) < 1e-3
        assert _relative_update(both, devices) < 1e-3
        assert _relative_update(runs.finish("no_parts", *settings), devices) > 1e-2  # statistics of 12 images
    else:
        assert _relative_update(both, four) > 1e-2


def test_a_teacher_of_two_devices_is_that_of_one(runs, one_step):
    settings = (*one_step[0], f"train.teacher={one_step[1]}", "losses.teacher_heatmap_weight=1e5", "losses.quality=1", "train.seed=1")
    alone = runs.finish("student", *settings)
    two = runs.finish("two_students", *settings, "train.devices=[cpu:0,cpu:1]")
    assert _relative_update(two, alone) < 1e-3


def test_replica_normalizers_make_another_update(runs, one_step):
    settings, one = one_step
    two = runs.finish("own_normalizers", *settings, "train.devices=[cpu:0,cpu:1]", "losses.normalizer=replica")
    assert _relative_update(two, one) > 1e-2


SMALL = """
import sys
sys.path.insert(0, {tests!r})
import networks, pytest
networks.narrow(pytest.MonkeyPatch())
from ttfnet_tf import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def test_two_devices_by_xla_make_the_update_of_two(runs, tmp_path):
    """A narrow network, which takes less to compile."""
    config = json.loads(runs.config.read_text())
    config["model"] |= {"batch_norm": "local", "neck_channels": [8, 8, 8], "shortcut": [1, 1, 1]}
    config["train"] |= {"epochs": 1, "evaluate_every": 0, "devices": ["cpu:0", "cpu:1"]}
    config["optim"]["drop_epochs"] = []
    (tmp_path / "a.yaml").write_text(json.dumps(config))
    for name in ("false", "true"):
        command = ["train", str(tmp_path / "a.yaml"), "--work-dir", str(tmp_path / name), f"train.jit_compile={name}"]
        code = SMALL.format(tests=str(ROOT / "tests"))
        done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        assert "Efficient batch_reduce" not in done.stderr  # gradients travel together
    assert _relative_update(tmp_path / "true", tmp_path / "false", least=20) < 1e-5


def _two_workers(runs, name, *settings):
    """Exit codes of two workers of one run in the work directory `name`."""
    workers = [f"127.0.0.1:{port}" for port in _free_ports(2)]
    processes = [
        runs.start(
            name if index == 0 else f"{name}_second",
            *settings,
            "train.strategy=multi_worker",
            "--work-dir",
            str(runs.folder / name),
            environment={"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})},
        )
        for index in range(2)
    ]
    return [process.wait(timeout=240) for process in processes]


def test_two_workers_make_the_update_of_one(runs, one_step):
    settings, one = one_step
    assert _two_workers(runs, "workers", *settings) == [0, 0]
    assert _relative_update(runs.folder / "workers", one) < 1e-3
    assert sorted(path.name for path in (runs.folder / "workers/checkpoints").iterdir() if path.is_dir()) == []


def test_two_workers_stop_early_together(runs):
    """Nothing is above the threshold, so every AP is 0 and the second is no better than the first; one worker evaluates."""
    settings = ("model.batch_norm=local", "optim.drop_epochs=[]", "train.patience=1", "decode.score_threshold=0.9")
    assert _two_workers(runs, "early", *settings) == [0, 0]
    assert "early stop: no AP above 0.000 (epoch 1) in 1 evaluation; train.patience=1" in (runs.folder / "early.log").read_text()
    logged = [json.loads(line) for line in (runs.folder / "early/metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in logged if "AP" in line] == [1, 2]
