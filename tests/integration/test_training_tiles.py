"""A run on tiles: its steps are those of the tiles, its figures those of `ttfnet evaluate`, and it resumes bit for bit."""

import signal
import time

import numpy as np
import pytest
from integration_runs import checkpoint, metrics

from ttfnet_tf import cli
from ttfnet_tf.config import load_config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

# Images of 64 x 64 px: four tiles each, and with them 48 samples, 6 steps an epoch.
TILES = ("data.tile=40", "data.tile_overlap=0.2", "data.empty_images=keep", "data.image_size=[32,32]")
SETTINGS = (*TILES, "train.epochs=2", "optim.drop_epochs=[1]", "train.batch_size=8", "model.batch_norm=local", "train.summary_images=2")


def test_steps_figures_and_resume(runs, capsys):
    whole = runs.finish("whole", *SETTINGS)
    log = (runs.folder / "whole.log").read_text()
    assert "data.tile=40: an epoch is 48 tiles of 12 images" in log
    lines = metrics(whole)
    assert [line["step"] for line in lines if "AP" in line] == [6, 12]
    rates = {line["step"]: line["lr"] for line in lines if "loss" in line}
    assert rates[7] == pytest.approx(rates[6] / 10)  # the drop after an epoch of tiles

    process = runs.start("stopped", *SETTINGS)
    file = runs.folder / "stopped" / "metrics.jsonl"
    deadline = time.monotonic() + 180
    while process.poll() is None and time.monotonic() < deadline and not (file.exists() and '"step": 2,' in file.read_text()):
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 0
    resumed = runs.finish("stopped", *SETTINGS)
    assert metrics(resumed) == lines
    first, second = checkpoint(whole), checkpoint(resumed)
    assert [key for key in first if not np.array_equal(first[key], second[key])] == []

    assert cli.main(["evaluate", str(whole)]) == 0
    assert f"AP {max(line.get('AP', 0) for line in lines):.3f}" in capsys.readouterr().out  # of the best weights
    assert cli.main(["evaluate", str(whole), "data.tile=0"]) == 0
    assert len(list((whole / "eval").glob("*-tile0/detections.json"))) == 1
    assert not list((whole / "eval").glob("*-tile40"))
    assert cli.main(["report", str(whole)]) == 0
    assert load_config(whole / "config.yaml").data.tile == 40
