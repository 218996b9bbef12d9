"""A training run that was killed before any call that changes a file resumes and ends with the same bits.

One run stops before each such call, and in the middle of each write, and its folder is copied: what a kill in that moment leaves. In every
copy the same command is started up to its first step. Copies that are equal then go the same way from there on: one of each kind is
trained to the end and compared. A few moments are met by real kills. TTFNET_KILLS=all takes every copy and every kind, else a sample.
"""

import os
import shutil

import pytest
from kills_sweep import COMPILER, content, rubbish, run_settings, without_events

from ttfnet_tf.data.shapes import draw_shapes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200), COMPILER]
ALL = os.environ.get("TTFNET_KILLS") == "all"
EVERY = 6  # of how many states one is started in the short form
KINDS = 2  # trained to the end in the short form
KILLS = 1  # real ones in the short form
STEPS_PER_EPOCH = 2


@pytest.fixture(scope="module")
def command(server):
    """Trains a tiny network for three epochs, with evaluations, best checkpoints, averages and a report."""
    shapes = server.folder / "shapes"
    draw_shapes(shapes, train=2 * STEPS_PER_EPOCH, val=1, size=(64, 64), seed=3)
    config = server.folder / "config.yaml"
    config.write_text(run_settings(shapes))
    return ["train", str(config), "--work-dir", "{folder}"]


def _in(command, folder):
    return [word.replace("{folder}", str(folder)) for word in command]


@pytest.fixture(scope="module")
def straight(server, command):
    """(The folder of the run, the different states on its way, the number of moments)."""
    folder = server.folder / "straight"
    states, moments = server.states(_in(command, folder), folder, "straight")
    different = list({without_events(state): state for state in states}.values())
    print(f"\n{moments} moments of the run, {len(different)} different states")
    assert moments > 300
    return folder, different, moments


def test_the_run_leaves_no_rubbish(straight):
    assert rubbish(straight[0]) == []
    expected = {f"checkpoints/{name}" for step in (4, 6) for name in (f"step-{step}.index", f"step-{step}.data-00000-of-00001")}
    names = set(content(straight[0]))
    assert {name for name in names if name.startswith("checkpoints/step")} == expected
    assert {"checkpoints/best/step-6.index", "report.html", "eval/6/detections.json"} <= names


def test_every_moment_of_a_run_resumes_bit_equal(server, command, straight):
    straight_run, states, _ = straight
    states = states if ALL else states[::EVERY]
    folders = [server.folder / "recovered" / str(number) for number in range(len(states))]
    for state, folder in zip(states, folders):
        server.write_state("straight", state, folder)
    codes = server.recover(command, folders)
    assert [folder.name for folder, code in zip(folders, codes) if code] == [], server.log[-3000:]
    assert {folder.name: found for folder in folders if (found := rubbish(folder))} == {}
    kinds = {}
    for folder in folders:
        kinds.setdefault(_kind(folder), folder)
    chosen = list(kinds.values())
    if not ALL:
        chosen = chosen[1 :: max(1, len(chosen) // KINDS)][:KINDS]
    print(f"\n{len(folders)} states resume, in {len(kinds)} ways, {len(chosen)} of them to the end")
    expected = content(straight_run)
    for folder in chosen:
        answer = server.run(_in(command, folder), folder)
        assert answer["status"] == 0, (folder, server.log[-3000:])
        assert content(folder) == expected, folder
        assert rubbish(folder) == []


def _kind(folder):
    """What decides how a run goes on that is about to take its first step."""
    found = content(folder)
    current = found.get("checkpoints/checkpoint", ['"step-0"'])[0]
    step = int(current.rpartition("-")[2].strip('"'))
    later = [name for name in found if name.startswith("eval/") and int(name.split("/")[1]) > step]  # written again
    return repr({name: value for name, value in found.items() if name not in later})


def test_real_kills(server, command, straight):
    straight_run, _, moments = straight
    count = 12 if ALL else KILLS
    for number in range(count):
        folder = server.folder / "killed" / str(number)
        at = (2 * number + 1) * moments * 7 // (20 * count)  # the first 70 %: a run that does not stop has fewer calls
        assert server.run(_in(command, folder), folder, at=at)["status"] == -9
        assert server.run(_in(command, folder), folder)["status"] == 0, (at, server.log[-3000:])
        assert content(folder) == content(straight_run), at
        assert rubbish(folder) == []


def test_data_that_moved(server, command, straight):
    straight_run, _, moments = straight
    folder, moved = server.folder / "run", server.folder / "moved"
    shutil.copytree(server.folder / "shapes", moved)
    assert server.run(_in(command, folder), folder, at=moments // 2)["status"] == -9
    keys = [f"data.train.annotations={moved}/annotations/train.json", f"data.train.images={moved}/train"]
    assert server.run([*_in(command, folder), *keys], folder)["status"] == 0, server.log[-3000:]
    assert f"note: the training data have moved, with the same annotations: {', '.join(keys)}" in server.log
    found, expected = content(folder), content(straight_run)
    assert {name for name in expected if found[name] != expected[name]} == {"config.yaml"}
