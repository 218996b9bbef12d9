"""`ttfnet fit` on a drawn YOLO folder, with a tiny network: killed once, it goes on, ends in time and leaves everything it promises."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from integration_runs import checkpoint

from ttfnet_tf.config import load_config
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.formats.convert import convert
from ttfnet_tf.training.schedule import Trapezoid

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SECONDS = 60.0
ENOUGH = 3  # times as long, with two starts on a machine that others use; tests/training/test_time_plan.py has the exact figures


@pytest.fixture(scope="module")
def yolo(tmp_path_factory):
    """A YOLO folder without a validation split."""
    folder = tmp_path_factory.mktemp("fit")
    draw_shapes(folder / "shapes", train=48, val=1, size=(64, 64))
    convert(folder / "shapes/annotations/train.json", folder / "yolo", images=folder / "shapes/train")
    return folder / "yolo"


def _start(root, arguments, log):
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}", "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, root / "tests/tiny_train.py", *map(str, arguments)]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)


def _lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def fitted(root, yolo):
    """(work directory, seconds of both processes, output) of a fit that was killed once after its first checkpoint."""
    run, log = yolo.parent / "run", yolo.parent / "log.txt"
    arguments = ["fit", yolo, "--minutes", SECONDS / 60, "--work-dir", run, "data.image_size=[64,64]", "train.batch_size=4"]
    arguments += ["optim.name=adamw", "optim.lr=0.001"]  # as with pretrained weights; one with moments
    seconds = 0.0
    with open(log, "w") as output:
        start = time.monotonic()
        process = _start(root, arguments, output)
        deadline = start + 300
        while process.poll() is None and time.monotonic() < deadline:
            steps = [int(path.stem.partition("-")[2]) for path in run.glob("checkpoints/step-*.index")]
            if max(steps, default=0) > 0:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=60)
        seconds += time.monotonic() - start
        assert max(steps, default=0) > 0, log.read_text()
        start = time.monotonic()
        assert _start(root, arguments, output).wait(timeout=400) == 0, log.read_text()
        seconds += time.monotonic() - start
    return run, seconds, log.read_text()


def test_the_time_is_kept_by_both_processes_together(fitted):
    _, seconds, text = fitted
    assert seconds < ENOUGH * SECONDS, text


def test_it_says_what_it_decides_and_what_comes_next(fitted):
    run, _, text = fitted
    for words in ("is yolo, converted to", "images are split by seed 0", "schedule: about", f"goes on with the settings in {run}"):
        assert words in text
    for words in (f"report: {run}/report.html", f"model: {run}/export/run/1", f"predict: ttfnet predict {run}", "AP50"):
        assert words in text
    assert (run / "report.html").exists()
    assert (run / "export/run/1/saved_model.pb").exists()


def test_the_schedule_ends_at_the_end(fitted):
    run, _, _ = fitted
    lines = [line for line in _lines(run) if "lr" in line]
    config = load_config(run / "repeat.yaml")
    steps = config.train.steps
    assert lines[-1]["step"] == steps
    # From the last bend of the cooldown linear to 0 one step after the last; half of the rate for a batch of 8.
    bend, fraction = Trapezoid.of(steps, config.optim.cooldown, config.optim.cooldown_bends).bends[-1]
    # On a machine that slowed down the run may end within the warm-up that was planned at its start.
    missing = max(1 - (steps - 1) / config.optim.warmup_steps, 0.0) if config.optim.warmup_steps else 0.0
    warmed = 1 - missing * (1 - config.optim.warmup_ratio)
    assert lines[-1]["lr"] == pytest.approx(0.001 * fraction / (steps - bend) * warmed, rel=1e-6)
    assert (config.train.minutes, config.optim.schedule) == (0.0, "trapezoid")


def test_the_settings_without_a_clock_repeat_the_run(root, fitted):
    run, _, _ = fitted
    again = run.parent / "again"
    with open(run.parent / "again.txt", "w") as output:
        command = [run / "repeat.yaml", "--work-dir", again, "train.evaluate_every=0"]
        assert _start(root, command, output).wait(timeout=400) == 0, (run.parent / "again.txt").read_text()
    config = load_config(run / "repeat.yaml")
    rates = [{line["step"]: line["lr"] for line in _lines(folder) if "lr" in line} for folder in (run, again)]
    assert all(rates[0][step] == pytest.approx(rates[1][step], rel=1e-6) for step in set(rates[0]) & set(rates[1]))
    if len(Trapezoid.of(config.train.steps, config.optim.cooldown, config.optim.cooldown_bends).bends) == 1:  # else up to rounding
        first, second = checkpoint(run), checkpoint(again)
        shared = [key for key in first if key in second and key.startswith(("model", "optimizer"))]
        assert shared
        assert [key for key in shared if not np.array_equal(first[key], second[key])] == []
