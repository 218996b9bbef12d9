"""A run killed or stopped at any step ends with the bits of an uninterrupted one."""

import random
import signal
import time

import numpy as np
import pytest
from integration_runs import checkpoint, metrics

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STEPS = 12
# A checkpoint every second epoch, so that signals also come between an epoch's end and the next checkpoint.
SETTINGS = (
    "model.batch_norm=local",  # a quarter less to compile in each of the eight processes
    "optim.ema_decay=0.9",
    "train.log_every=2",
    "train.steps_per_call=2",
    "train.checkpoint_every=2",
    "targets.backend=py_function",  # whose state could not be saved
)


@pytest.fixture(scope="module")
def straight(runs):
    return runs.finish("straight", *SETTINGS)


def _end_at(runs, name, step, number, settings=SETTINGS):
    """Sends the signal once the run has logged `step`; returns its exit code."""
    process = runs.start(name, *settings)
    file = runs.folder / name / "metrics.jsonl"
    deadline = time.monotonic() + 180
    while process.poll() is None and time.monotonic() < deadline:
        if file.exists() and f'"step": {step},' in file.read_text():
            break
        time.sleep(0.02)
    process.send_signal(number)
    return process.wait(timeout=120)


def _assert_equal_runs(first, second):
    assert metrics(first) == metrics(second)
    expected, actual = checkpoint(first), checkpoint(second)
    assert set(expected) == set(actual)
    assert [key for key in expected if not np.array_equal(expected[key], actual[key])] == []


def test_the_uninterrupted_run_logs_every_line(straight):
    lines = metrics(straight)
    assert [line["step"] for line in lines if "loss" in line] == [2, 3, 4, 6, 8, 9, 10, 12]  # every second, and epoch ends
    assert [line["step"] for line in lines if "AP" in line] == [3, 6, 9, 12]
    assert len(checkpoint(straight)) > 300


def test_killed_three_times_ends_bit_equal(runs, straight):
    logged = [line["step"] for line in metrics(straight) if "loss" in line][:-1]
    steps = sorted(random.SystemRandom().sample(logged, 3))
    for step in steps:
        assert _end_at(runs, "killed", step, signal.SIGKILL) == -signal.SIGKILL, f"kills at {steps}"
    _assert_equal_runs(straight, runs.finish("killed", *SETTINGS))


IN_EPOCHS, IN_STEPS = ("augment.close=0.5",), ("train.steps=12", "optim.schedule=trapezoid", "optim.cooldown=0.6")


@pytest.mark.parametrize("length", [IN_EPOCHS, IN_STEPS], ids=["epochs", "steps"])
def test_mixed_images_a_class_balance_and_a_teacher_resume_bit_equal(runs, straight, length):
    """Stopped in the second of four epochs; mosaic and mixup end with it, or one step after it began."""
    mixed = ("augment.mosaic=0.5", "augment.mixup=0.5", *length, "augment.vertical_flip=0.5", "augment.quarter_turns=0.5")
    learned = ("data.class_balance=0.6", "data.cache=ram", "losses.quality=0.5", f"train.teacher={straight}")
    settings = (*SETTINGS, *mixed, *learned)
    name = f"mixed_{len(length)}"
    whole = runs.finish(name, *settings)
    assert metrics(whole) != metrics(straight)
    assert _end_at(runs, f"{name}_stopped", 4, signal.SIGTERM, settings) == 0
    _assert_equal_runs(whole, runs.finish(f"{name}_stopped", *settings))


def test_signals_save_inside_an_epoch_and_the_run_resumes_bit_equal(runs, straight):
    for number, step in ((signal.SIGINT, 2), (signal.SIGTERM, 9)):
        assert _end_at(runs, "stopped", step, number) == 0
    assert (runs.folder / "stopped.log").read_text().count("stopped and saved at step") == 2
    _assert_equal_runs(straight, runs.finish("stopped", *SETTINGS))
