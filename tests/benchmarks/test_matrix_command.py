"""The whole of `ttfnet export --matrix` in processes of its own, in a file of its own: networks here are of full width."""

import json
import subprocess
import sys

import numpy as np
import pytest

from ttfnet_tf import build
from ttfnet_tf.config import load_config
from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.runs.checkpoint import CheckpointStore
from ttfnet_tf.runs.run_folder import Labels, RunFolder


@pytest.mark.slow
def test_the_whole_command_with_real_times(tmp_path, root):
    """A network of full width with initial weights."""
    shapes, settings = tmp_path / "shapes", tmp_path / "settings.yaml"
    draw_shapes(shapes, train=4, val=3, size=(64, 64), seed=0)
    parts = [
        f"{part}: {{annotations: {tmp_path}/shapes/annotations/{part}.json, images: {tmp_path}/shapes/{part}}}" for part in ("train", "val")
    ]
    settings.write_text(f"data: {{image_size: [64, 64], {', '.join(parts)}}}\nmodel: {{frozen_stages: -1, zero_init_residual: false}}")
    config = load_config(settings)
    split = build.load_split(config, "val")
    RunFolder(tmp_path / "run", config, Labels(tuple(split.class_names), tuple(split.category_ids)))
    CheckpointStore(tmp_path / "run" / "checkpoints", {"model": build.model_of(config, split.num_classes)}, keep=1).save(1)
    command = [sys.executable, "tools/export.py", str(tmp_path / "run"), "--out", str(tmp_path / "models"), "--matrix", "--repeats", "2"]
    command += ["--format", "saved_model", "tflite"]  # ONNX: tests/export/test_onnx.py
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "models/run/matrix.json").read_text())["rows"]
    assert [row["name"] for row in rows] == [
        "checkpoint",
        "saved_model",
        "saved_model bf16",
        *(f"tflite {p}" for p in ("fp32", "fp16", "dynamic", "int8")),
    ]
    assert np.all(np.array([row["milliseconds"] for row in rows]) > 0)
    assert "| tflite int8 |" in done.stdout
