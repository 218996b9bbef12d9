"""A run killed at any step ends with the bits of an uninterrupted one."""

import random
import signal
import time

import numpy as np
import pytest
from integration_runs import checkpoint, metrics

pytestmark = pytest.mark.slow

STEPS = 12


def _wait_for_step(process, file, step):
    """Returns once the run has logged `step`, or has ended."""
    deadline = time.monotonic() + 180
    while process.poll() is None and time.monotonic() < deadline:
        if file.exists() and f'"step": {step},' in file.read_text():
            return
        time.sleep(0.05)


def _assert_equal_runs(first, second):
    assert metrics(first) == metrics(second)
    expected, actual = checkpoint(first), checkpoint(second)
    assert set(expected) == set(actual)
    different = [key for key in expected if not np.array_equal(expected[key], actual[key])]
    assert different == []


@pytest.mark.timeout(900)
def test_killed_three_times_ends_bit_equal(runs):
    straight = runs.finish("straight", "optim.ema_decay=0.9")
    assert [line["step"] for line in metrics(straight) if "loss" in line] == list(range(1, STEPS + 1))
    assert [line["step"] for line in metrics(straight) if "AP" in line] == [3, 6, 9, 12]
    seed = random.SystemRandom().randrange(10**6)
    kills = sorted(random.Random(seed).sample(range(1, STEPS), 3))
    for step in kills:
        process = runs.start("killed", "optim.ema_decay=0.9")
        _wait_for_step(process, runs.folder / "killed/metrics.jsonl", step)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL, f"kill at {kills} (seed {seed})"
    killed = runs.finish("killed", "optim.ema_decay=0.9")
    _assert_equal_runs(straight, killed)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_signal_saves_inside_an_epoch_and_goes_on_bit_equal(runs, number):
    settings = ("train.epochs=3", "train.log_every=2", "targets.backend=device", "train.steps_per_call=1")
    straight = runs.finish("straight", *settings)
    process = runs.start("stopped", *settings)
    _wait_for_step(process, runs.folder / "stopped/metrics.jsonl", 2)
    process.send_signal(number)
    assert process.wait(timeout=120) == 0
    assert "stopped and saved at step" in (runs.folder / "stopped.log").read_text()
    _assert_equal_runs(straight, runs.finish("stopped", *settings))
