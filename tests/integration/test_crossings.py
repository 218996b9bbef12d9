"""Files written on one version of TensorFlow are read on another: checkpoint, half-finished run, weights, SavedModel, TFLite.

TTFNET_OTHER_PYTHON names a Python that has another version of TensorFlow and what this package needs (not the package itself):

    TTFNET_OTHER_PYTHON=/path/to/python3.13 python -m pytest -s tests/integration/test_crossings.py
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from integration_runs import metrics

from ttfnet_tf.data.shapes import draw_shapes

OTHER = os.environ.get("TTFNET_OTHER_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(not OTHER, reason="TTFNET_OTHER_PYTHON names no Python with another TensorFlow"),
]

# Commands of ours one after the other in one process; a run that detects something; and the variables of a run in a file.
COMMANDS = """
import json, pathlib, sys
import numpy as np
from ttfnet_tf.cli import main
for argv in json.loads(sys.argv[1]):
    if argv[0] == "detector":
        from small_run import write_run
        write_run(pathlib.Path(argv[1]))
    elif argv[0] == "variables":
        from ttfnet_tf.runs.checkpoint import load_run
        np.savez(argv[2], *[variable.numpy() for variable in load_run(argv[1]).model.variables])
    elif main(argv):
        sys.exit(f"failed: {argv}")
"""
TRAIN = ("train.epochs=4", "train.checkpoint_every=1", "train.summary_images=0", "train.report=false")
SETTINGS = {
    "data": {"image_size": [64, 64]},
    "model": {"frozen_stages": -1, "zero_init_residual": False},
    "optim": {"lr": 0.002, "lr_batch_size": 4, "warmup_steps": 4, "drop_epochs": [2], "ema_decay": 0.9},
    "train": {"batch_size": 4, "log_every": 1},
}
FORMS = ("run", "saved_model", "tflite")
BOX = 1e-4  # of the longer side of the image
SCORE = 1e-5


class Stack:
    """One Python with its TensorFlow, and the folder of what it writes."""

    def __init__(self, python: str, folder: Path, root: Path):
        self.python, self.folder, self.root = python, folder, root
        self.environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'tests'}", "TF_CPP_MIN_LOG_LEVEL": "3"}
        self.tensorflow = self._output("import tensorflow as tf; print(tf.__version__)").split()[-1]

    def _output(self, code: str) -> str:
        return subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True, env=self.environment).stdout

    def start(self, commands: list[list[str]]) -> subprocess.Popen:
        """A process that does the commands; its output goes to log."""
        self.folder.mkdir(exist_ok=True)
        with open(self.folder / "log", "ab") as log:
            return subprocess.Popen(
                [self.python, "-c", COMMANDS, json.dumps(commands)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.environment,
                cwd=self.folder,
            )

    def do(self, commands: list[list[str]]) -> None:
        """Does the commands to the end."""
        assert self.start(commands).wait(timeout=900) == 0, (self.folder / "log").read_text()[-3000:]

    def write(self, config: Path, images: Path) -> None:
        """A detector and everything that is made from it; a finished run; and a run that was stopped at its half."""
        here = self.folder
        train = ["train", str(config), *TRAIN, "--work-dir"]
        self.do(
            [
                ["detector", f"{here}/run"],
                ["export", f"{here}/run", "--out", f"{here}/models", "--name", "x", "--format", "saved_model", "tflite"],
                ["weights", f"{here}/run", "--to", "official", "--out", f"{here}/weights.npz"],
                *self.reading(here, images, here / "own"),
                [*train, f"{here}/whole"],
            ]
        )
        process = self.start([[*train, f"{here}/half"]])
        deadline = time.monotonic() + 300
        file = here / "half" / "metrics.jsonl"
        while process.poll() is None and time.monotonic() < deadline:
            if file.exists() and '"step": 5,' in file.read_text():
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=120) == 0
        assert "stopped and saved at step" in (here / "log").read_text()

    def reading(self, source: Path, images: Path, out: Path) -> list[list[str]]:
        """Commands that read what is in the folder `source` and write what they see into `out`."""
        paths = {"run": source / "run", "saved_model": source / "models/x/1", "tflite": source / "models/x/model_fp32.tflite"}
        predict = [["predict", str(paths[form]), str(images), "--out", f"{out}/{form}", "--score-threshold", "0.25"] for form in FORMS]
        return [*predict, ["variables", f"{source}/run", f"{out}/variables.npz"]]


@pytest.fixture(scope="module")
def world(root, tmp_path_factory):
    """Both stacks, what each wrote, and what each read of the other's: {"here": Stack, "there": Stack}."""
    folder = tmp_path_factory.mktemp("crossings")
    draw_shapes(folder / "shapes", train=12, val=4, size=(64, 64), seed=3)
    settings = json.loads(json.dumps(SETTINGS))
    for split in ("train", "val"):
        settings["data"][split] = {"annotations": f"{folder}/shapes/annotations/{split}.json", "images": f"{folder}/shapes/{split}"}
    config = folder / "config.yaml"
    config.write_text(json.dumps(settings))
    stacks = {"here": Stack(sys.executable, folder / "here", root), "there": Stack(OTHER, folder / "there", root)}
    if len({stack.tensorflow for stack in stacks.values()}) == 1:
        pytest.skip(f"both have TensorFlow {stacks['here'].tensorflow}")
    images, labels = folder / "shapes" / "val", folder / "labels.json"
    names = [{"id": id_, "name": name} for id_, name in ((3, "cat"), (8, "dog"), (90, "bird"))]  # of small_run.write_run
    image, box = {"id": 1, "file_name": "a.png", "height": 8, "width": 8}, {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 4, 4]}
    labels.write_text(json.dumps({"images": [image], "annotations": [box], "categories": names}))
    for stack in stacks.values():
        stack.write(config, images)
    for reader, writer in (("here", "there"), ("there", "here")):
        source, out = stacks[writer].folder, stacks[reader].folder / "of_other"
        out.mkdir()
        shutil.copytree(source / "half", out / "resumed")
        official = [
            "weights",
            f"{source}/weights.npz",
            "--config",
            f"{source}/run.yaml",
            "--out",
            f"{out}/from_npz",
            "--labels",
            str(labels),
        ]
        stacks[reader].do(
            [
                *stacks[reader].reading(source, images, out),
                official,
                ["variables", f"{out}/from_npz", f"{out}/variables_of_npz.npz"],
                ["train", str(config), *TRAIN, "--work-dir", f"{out}/resumed"],
            ]
        )
    return stacks


both_ways = pytest.mark.parametrize(("writer", "reader"), [("here", "there"), ("there", "here")])


def _arrays(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


def _differences(first, second):
    """Largest difference of boxes (fraction of the longer side) and of scores between two detections.json with the same detections."""
    boxes, scores, count = 0.0, 0.0, 0
    for one, other in zip(*(json.loads((folder / "detections.json").read_text())["images"] for folder in (first, second)), strict=True):
        assert one["file"] == other["file"]
        for found, seen in zip(one["detections"], other["detections"], strict=True):
            assert found["class_id"] == seen["class_id"]
            boxes = max(boxes, np.abs(np.subtract(seen["box"], found["box"])).max() / max(one["height"], one["width"]))
            scores = max(scores, abs(seen["score"] - found["score"]))
            count += found["box"][2] - found["box"][0] > 4  # px: not what a dead head gives
    assert count > 20
    return boxes, scores


def _report(world, writer, reader, line):
    print(f"\n{world[writer].tensorflow} -> {world[reader].tensorflow}: {line}")


@both_ways
def test_variables_of_a_checkpoint_are_the_same_bits(world, writer, reader):
    own, seen = (_arrays(path) for path in (world[writer].folder / "own/variables.npz", world[reader].folder / "of_other/variables.npz"))
    assert len(own) == len(seen) > 100
    assert all(first.tobytes() == second.tobytes() for first, second in zip(own, seen))
    _report(world, writer, reader, f"checkpoint: {len(own)} variables, same bits")


@both_ways
def test_weights_in_a_file_are_the_same_bits(world, writer, reader):
    own = _arrays(world[writer].folder / "own/variables.npz")
    seen = _arrays(world[reader].folder / "of_other/variables_of_npz.npz")
    assert all(first.tobytes() == second.tobytes() for first, second in zip(own, seen, strict=True))
    _report(world, writer, reader, f"weights.npz: {len(own)} variables, same bits")


@pytest.mark.parametrize("form", FORMS)
@both_ways
def test_boxes_are_the_same(world, writer, reader, form):
    boxes, scores = _differences(world[writer].folder / "own" / form, world[reader].folder / "of_other" / form)
    _report(world, writer, reader, f"{form}: boxes within {boxes:.1e} of a side, scores within {scores:.1e}")
    assert boxes < BOX
    assert scores < SCORE


@both_ways
def test_a_stopped_run_is_finished_as_it_would_have_been(world, writer, reader):
    expected, resumed = ({line["step"]: line for line in metrics(path) if "loss" in line} for path in _run_pair(world, writer, reader))
    assert sorted(resumed) == list(range(1, 13))
    apart = max(abs(resumed[step]["loss"] / expected[step]["loss"] - 1) for step in resumed)
    assert apart < 1e-3
    assert {step: line["lr"] for step, line in resumed.items()} == {step: line["lr"] for step, line in expected.items()}
    _report(world, writer, reader, f"run resumed: losses of 12 steps within {apart:.1e} of the writer's whole run")


def _run_pair(world, writer, reader):
    return world[writer].folder / "whole", world[reader].folder / "of_other" / "resumed"
