"""One device, two devices and two worker processes make the same update from the same global batch."""

import json
import socket

import numpy as np
import pytest
from integration_runs import checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ONE_EPOCH = ("train.epochs=1", "optim.drop_epochs=[]", "train.evaluate_every=0")


def _relative_update(work_dir, reference):
    """Largest over momentum buffers (the updates) and weights: |a - b| / |b|."""
    actual, expected = checkpoint(work_dir), checkpoint(reference)
    assert set(actual) == set(expected)
    keys = [key for key in expected if "buffers" in key]
    assert len(keys) > 60
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


def test_replica_normalizers_make_another_update(runs, one_step):
    settings, one = one_step
    two = runs.finish("own_normalizers", *settings, "train.devices=[cpu:0,cpu:1]", "losses.normalizer=replica")
    assert _relative_update(two, one) > 1e-2


def test_two_workers_make_the_update_of_one(runs, one_step):
    settings, one = one_step
    workers = [f"127.0.0.1:{port}" for port in _free_ports(2)]
    processes = [
        runs.start(
            "workers" if index == 0 else "second",
            *settings,
            "train.strategy=multi_worker",
            "--work-dir",
            str(runs.folder / "workers"),
            environment={"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})},
        )
        for index in range(2)
    ]
    assert [process.wait(timeout=240) for process in processes] == [0, 0]
    assert _relative_update(runs.folder / "workers", one) < 1e-3
    assert sorted(path.name for path in (runs.folder / "workers/checkpoints").iterdir() if path.is_dir()) == []
