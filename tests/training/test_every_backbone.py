"""A run of every backbone can be used after training: resumed, evaluated in another process, and loaded twice in one."""

import functools
import json
import os
import subprocess
import sys
from importlib.util import find_spec

import pytest

from ttfnet_tf import build, cli
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.inference.detector import Detector
from ttfnet_tf.models.backbones import BACKBONES
from ttfnet_tf.training import build as training_build
from ttfnet_tf.training.step import build_train_function

SETTINGS = """
data: {{image_size: [64, 64], train: {{annotations: {0}/annotations/train.json, images: {0}/train}},
       val: {{annotations: {0}/annotations/val.json, images: {0}/val}}}}
model: {{neck: plain, neck_channels: [8, 8, 8], shortcut: [1, 1, 1],
        heatmap_head: {{width: 8, depth: 1}}, box_head: {{width: 8, depth: 1}}}}
optim: {{lr: 0.002, lr_batch_size: 2, warmup_steps: 0, drop_epochs: [], ema_decay: 0.9}}
train: {{epochs: 1, batch_size: 2, summary_images: 0}}
"""
# In another process the networks are built in another order, and each after others: Keras numbers their layers differently.
FRESH = """
import functools, json, sys
from ttfnet_tf import build, cli
from ttfnet_tf.inference.detector import Detector
build.build_model = functools.partial(build.build_model, width=16)
image, *runs = sys.argv[1:]
Detector.load(runs[-1])
codes = [cli.main(["evaluate", run, "--out", run + "/fresh"]) for run in runs]
scores = [[Detector.load(run, score_threshold=0.0)(image).scores.tolist() for _ in range(2)] for run in runs]
print(json.dumps({"codes": codes, "scores": scores}))
"""
KERAS_CV_WORKS = find_spec("keras_cv") is not None and (find_spec("tf_keras") is None or os.environ.get("TF_USE_LEGACY_KERAS") == "1")
NUMBERED = ("keras_cv/mobilenet_v3_small", "keras_cv/csp_darknet_s")
# With TTFNET_BACKBONES=all every backbone, else one of ours and those whose layers Keras numbers.
CHOSEN = BACKBONES if os.environ.get("TTFNET_BACKBONES") == "all" else ("resnet18", *NUMBERED)
NAMES = [name for name in CHOSEN if KERAS_CV_WORKS or not name.startswith("keras_cv/")]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_what_was_trained_can_be_used(tmp_path, monkeypatch, capfd):
    def uncompiled(*args, **keywords):
        return build_train_function(*args, **keywords).__wrapped__

    monkeypatch.setattr(build, "build_model", functools.partial(build.build_model, width=16))
    monkeypatch.setattr(training_build, "build_train_function", uncompiled)
    draw_shapes(tmp_path / "shapes", train=4, val=2, size=(64, 64), seed=3)
    (tmp_path / "settings.yaml").write_text(SETTINGS.format(tmp_path / "shapes"))
    image = str(next((tmp_path / "shapes/val").glob("*.png")))
    runs, expected = [], []
    for number, name in enumerate(NAMES):
        run = str(tmp_path / f"run{number}")
        command = ["train", str(tmp_path / "settings.yaml"), "--work-dir", run, f"model.backbone={name}"]
        assert cli.main(command) == 0
        if name in NUMBERED:
            assert cli.main([*command, "train.epochs=2"]) == 0
            assert "resumes at step 2 of 4" in capfd.readouterr().out
        runs.append(run)
        expected.append(Detector.load(run, score_threshold=0.0)(image).scores.tolist())
    done = subprocess.run([sys.executable, "-c", FRESH, image, *runs], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["codes"] == [0] * len(runs)
    assert found["scores"] == [[scores, scores] for scores in expected]
    assert all(map(len, expected))
