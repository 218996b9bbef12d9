"""A program that stops reading a training set before its end ends as if it had read it."""

import subprocess
import sys

import pytest

from ttfnet_tf.data.shapes import draw_shapes

PROGRAM = """
import sys
from pathlib import Path
from ttfnet_tf import build
from ttfnet_tf.config import load_config
from ttfnet_tf.data import pipeline

folder, how = sys.argv[1:]
config = load_config(folder + "/a.yaml")
dataset = build.train_dataset(config, build.load_split(config, "train"))
if how == "not at all":
    kept = iter(dataset)
elif how == "a batch":
    kept = iter(dataset)
    next(kept)
elif how == "a batch, by iterate":
    kept = pipeline.iterate(dataset)
    next(kept)
else:
    kept = iter(dataset)
    next(kept)
    raise ValueError(how)
"""
SETTINGS = """
data: {{image_size: [320, 320], workers: 8, train: {{annotations: {0}/s/annotations/train.json, images: {0}/s/train}}}}
train: {{batch_size: 4}}
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["a batch", "not at all", "a batch, by iterate", "until an error"])
def test_the_end_comes_and_is_quiet(root, tmp_path, how):
    """Threads that call Python while it is taken down end the process with an abort, or wait for ever."""
    draw_shapes(tmp_path / "s", train=12, val=1, size=(480, 640), seed=1)
    (tmp_path / "a.yaml").write_text(SETTINGS.format(tmp_path))
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), how]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, timeout=200, check=False)
    assert "terminate" not in done.stderr
    if how == "until an error":
        assert (done.returncode, done.stderr.splitlines()[-1]) == (1, f"ValueError: {how}")
    else:
        assert done.returncode == 0, done.stderr
