"""A command that was killed before any call that changes a file is completed by the same command, with the same files.

One call of each command stops before each such call, and in the middle of each write, and the folder of its results is copied: what a kill
in that moment leaves. In such copies the command is started again; with TTFNET_KILLS=all in every different one, else in a few.
"""

import os
import re
import shutil

import pytest
from kills_sweep import COMPILER, rubbish, run_settings, without_events

from ttfnet_tf.data.shapes import draw_shapes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200), COMPILER]
ALL = os.environ.get("TTFNET_KILLS") == "all"
SAMPLE = 2  # states of a command in the short form

# Name -> the command, in a folder with the data, the run and weights; its results are below out/. TensorFlow starts in those marked True.
COMMANDS = {
    "evaluate": ("evaluate run --out out/evaluation", True),
    "report": ("report run --out out/report.html", True),
    "export": ("export run --out out/models --name m --format saved_model tflite", True),
    "predict": (
        "predict run shapes/train --out out/drawings --batch-size 1 --score-threshold 0.0 --save coco,yolo,csv,jsonl",
        True,
    ),
    "weights of a run": ("weights run --to official --out out/w.npz", True),
    "weights as a run": (
        "weights w.npz --config config.yaml --labels shapes/annotations/train.json --out out/run --report out/r.txt",
        True,
    ),
    "data check": ("data check faulty.json shapes/train --json out/findings.json --fix out/fixed.json", False),
    "data convert": ("data convert shapes/annotations/train.json out/yolo --to yolo --images shapes/train --copy", False),
    "data convert again": ("data convert out/yolo out/coco --from yolo", False),
    "data split": ("data split shapes/annotations/train.json shapes/train --out out/parts --val 0.3 --test 0.3", False),
    "data merge": (
        "data merge shapes/annotations/train.json shapes/train shapes/annotations/val.json shapes/val --out out/all.json",
        False,
    ),
    "data pack": ("data pack shapes/annotations/train.json shapes/train --out out/packed --shards 2", True),
    "data show": ("data show shapes/annotations/train.json shapes/train --count 2 --epochs 0 --out out/pages --config config.yaml", True),
    "data stats": ("data stats shapes/annotations/train.json --json out/stats.json --config config.yaml", False),
    "data shapes": ("data shapes out/shapes --train 2 --val 1 --size 64 64", False),
    "data shapes again": ("data shapes out/shapes --train 1 --val 1 --size 64 64 --overwrite", False),
}
BEFORE = {"data convert again": "data convert", "data shapes again": "data shapes"}  # what lies in out/ when it starts
NOT_COMPARED = re.compile(r".*report\.html|.*\.(pb|tflite)|.*/variables/.*|.*model_card.*|.*environment\.json|.*/checkpoint")  # times


@pytest.fixture(scope="module")
def folder(server):
    """The folder with what the commands read."""
    draw_shapes(server.folder / "shapes", train=4, val=1, size=(64, 64), seed=3)
    (server.folder / "config.yaml").write_text(run_settings(server.folder / "shapes", epochs=1, neck="deformable"))
    annotations = (server.folder / "shapes/annotations/train.json").read_text()
    (server.folder / "faulty.json").write_text(re.sub(r'"image_id": \d+', '"image_id": 999', annotations, count=1))
    for command in ("train config.yaml --work-dir run", "weights run --to official --out w.npz"):
        assert server.run(command.split(), server.folder / "none")["status"] == 0, server.log[-3000:]
    return server.folder


def _content(out):
    """Name -> content of every file; versions of models as V, and without what holds times."""
    found = {}
    for path in out.rglob("*"):
        name = re.sub(r"models/m/\d+", "models/m/V", path.relative_to(out).as_posix())
        is_compared = path.is_file() and not path.is_symlink() and not NOT_COMPARED.fullmatch(name)
        found[name] = path.read_bytes() if is_compared else "there"
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_every_moment_of_a_command(server, folder, name):
    command, is_slow = COMMANDS[name]
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    if name in BEFORE:
        assert server.run(COMMANDS[BEFORE[name]][0].split(), folder / "none")["status"] == 0
    usual = 2 if name == "data check" else 0  # there are errors
    states, moments = server.states(command.split(), out, name.replace(" ", "-"), status=usual)
    states = list({without_events(state): state for state in states}.values())
    expected = _content(out)
    assert rubbish(out) == []
    chosen = states if ALL or not is_slow else states[1 :: max(1, len(states) // SAMPLE)][:SAMPLE]
    print(f"\n{name}: {moments} moments, {len(states)} different states, {len(chosen)} completed")
    for number, state in enumerate(chosen):
        server.write_state(name.replace(" ", "-"), state, out)
        status = server.run(command.split(), folder / "none")["status"]
        is_done = _content(out) == expected
        # A new file, or a new work directory, that is complete is not written twice.
        refuses = name.startswith(("data convert", "data shapes", "weights as a run")) and is_done and status == 2
        assert status == usual or refuses, (number, server.log[-3000:])
        assert is_done, number
        assert rubbish(out) == [], number
