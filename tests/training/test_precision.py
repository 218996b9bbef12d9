"""After mixed-precision training, the same process evaluates and detects as a fresh one, and so does the evaluation during training."""

import functools
import json
import subprocess
import sys

import numpy as np
import pytest

from ttfnet_tf import build, cli
from ttfnet_tf.config import load_config
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.inference.detector import Detector
from ttfnet_tf.keras2 import keras
from ttfnet_tf.training.run import run_training

pytestmark = pytest.mark.slow

SETTINGS = """
data: {{image_size: [64, 64], train: {{annotations: {0}/annotations/train.json, images: {0}/train}},
       val: {{annotations: {0}/annotations/val.json, images: {0}/val}}}}
model: {{neck_channels: [8, 8, 8], shortcut: [1, 1, 1], heatmap_head: {{width: 8, depth: 1}}, box_head: {{width: 8, depth: 1}},
        frozen_stages: -1, zero_init_residual: false}}
optim: {{lr: 0.002, lr_batch_size: 4, warmup_steps: 0, drop_epochs: [], ema_decay: 0.9}}
train: {{epochs: 1, batch_size: 4, summary_images: 0}}
"""
FRESH = """
import functools, sys
import numpy as np
from ttfnet_tf import build, cli
from ttfnet_tf.inference.detector import Detector
build.build_model = functools.partial(build.build_model, width=8)
run, image, out = sys.argv[1:]
cli.main(["evaluate", run, "--out", out, "--batch-size", "2"])
detections = Detector.load(run, score_threshold=0.0)(image)
np.savez(out + "/detections.npz", boxes=detections.boxes, scores=detections.scores)
"""


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_a_process_that_has_trained_computes_as_a_fresh_one(precision, tmp_path, monkeypatch):
    monkeypatch.setattr(build, "build_model", functools.partial(build.build_model, width=8))
    draw_shapes(tmp_path / "shapes", train=8, val=2, size=(64, 64), seed=3)
    (tmp_path / "settings.yaml").write_text(SETTINGS.format(tmp_path / "shapes"))
    run = tmp_path / "run"
    image = next((tmp_path / "shapes/val").iterdir())

    run_training(load_config(tmp_path / "settings.yaml", [f"train.precision={precision}"]), run)
    assert keras.mixed_precision.global_policy().name == "float32"
    assert cli.main(["evaluate", str(run), "--out", str(tmp_path / "same"), "--batch-size", "2"]) == 0
    detections = Detector.load(run, score_threshold=0.0)(image)
    command = [sys.executable, "-c", FRESH, str(run), str(image), str(tmp_path / "fresh")]
    subprocess.run(command, check=True, cwd=tmp_path)

    fresh = np.load(tmp_path / "fresh/detections.npz")
    assert len(detections.scores) > 0
    np.testing.assert_array_equal(detections.scores, fresh["scores"])
    np.testing.assert_array_equal(detections.boxes, fresh["boxes"])
    during, same, expected = (
        json.loads((folder / "detections.json").read_text()) for folder in (run / "eval/2", tmp_path / "same", tmp_path / "fresh")
    )
    assert len(expected) > 0
    assert same == expected
    assert during == expected
