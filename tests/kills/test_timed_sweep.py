"""`ttfnet fit` and `ttfnet tune`, killed before any call that changes a file, are completed by the same command.

Both follow a clock, so their figures differ from start to start. What has to be equal after a kill: the exit code, the names of the files
but for numbers of steps, the converted data and the split, the settings; nothing half written is left, and what the user has given stays
as it is. Of `fit`, every state up to the training is prepared again; some of training and of what comes after it are completed,
with TTFNET_KILLS=all more of them.
"""

import csv
import importlib.util
import json
import os
import re

import pytest
from kills_sweep import COMPILER, rubbish, without_events
from small_coco import write_coco_file

from ttfnet_tf.data.shapes import draw_shapes
from ttfnet_tf.formats.convert import convert

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200), COMPILER]
ALL = os.environ.get("TTFNET_KILLS") == "all"
TRAINING, AFTER = (4, 12) if ALL else (1, 1)  # states of fit that are completed
STUDIES = 80 if ALL else 8


def _spread(states, count):
    """So many of them, evenly, none twice."""
    count = min(count, len(states))
    return [states[(2 * k + 1) * len(states) // (2 * count)] for k in range(count)]


def _files(folder):
    """Name -> content of every file, links as where they lead to."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[path.relative_to(folder).as_posix()] = os.readlink(path).encode()
        elif path.is_file():
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def _names(folder):
    """Names of the files, with N for numbers of steps and models."""
    names = {re.sub(r"events\.out\.tfevents.*", "events", name) for name in _files(folder)}
    return {re.sub(r"(step-|eval/|export/run/)\d+", r"\1N", name) for name in names}


def _prepared(folder, *homes):
    """What `fit` has written before training, with {folder} for the folders that may be named in it."""
    found = {name: content for name, content in _files(folder).items() if name.startswith(("data/", "fit."))}
    for home in (folder, *homes):
        found = {name: content.replace(str(home).encode(), b"{folder}") for name, content in found.items()}
    return found


@pytest.fixture(scope="module")
def yolo(server):
    """A YOLO folder without a validation split: it is converted and split."""
    draw_shapes(server.folder / "shapes", train=8, val=1, size=(64, 64), seed=3)
    convert(server.folder / "shapes/annotations/train.json", server.folder / "yolo", images=server.folder / "shapes/train")
    return server.folder / "yolo"


@pytest.fixture(scope="module")
def fit(server, yolo):
    """(command with {folder}, folder of an undisturbed run, its different states, the names of its files)."""
    folder = server.folder / "straight/run"
    command = ["fit", str(yolo), "--minutes", "0.02", "--work-dir", "{folder}", "data.image_size=[64,64]", "train.batch_size=4"]
    states, moments = server.states(_in(command, folder), folder, "fit")
    states = list({without_events(state): state for state in states}.values())
    print(f"\n{moments} moments of fit, {len(states)} different states")
    return command, folder, states, _names(folder)


def _has_begun(state):
    """Whether training has written something, if only half of its settings."""
    return any(re.match(r"\.?config\.", name) for name in state)


def _in(command, folder):
    return [word.replace("{folder}", str(folder)) for word in command]


def test_fit_leaves_what_it_promises(fit):
    _, folder, _, names = fit
    expected = {"fit.json", "fit.yaml", "repeat.yaml", "report.html", "export/run/N/saved_model.pb", "data/train.json", "data/val.json"}
    assert expected <= names
    assert [name for name in names if "draft" in name] == []
    assert rubbish(folder) == []


def test_every_moment_of_the_preparation_of_fit(server, fit, yolo):
    command, straight, states, _ = fit
    states = [state for state in states if not _has_begun(state)]
    print(f"\n{len(states)} different states of the preparation")
    assert len(states) > 20
    source = _files(yolo)
    folders = [server.folder / "prepared" / str(number) / "run" for number in range(len(states))]
    for state, folder in zip(states, folders):
        server.write_state("fit", state, folder)
    codes = server.recover(command, folders)
    assert [folder for folder, code in zip(folders, codes) if code] == [], server.log[-3000:]
    expected = _prepared(straight)
    for folder in folders:
        assert _prepared(folder, straight) == expected, folder
        assert rubbish(folder) == [], folder
    assert _files(yolo) == source


@pytest.mark.parametrize("part", ["training", "after"])
def test_fit_is_completed(server, fit, yolo, part):
    command, straight, states, names = fit
    numbers = [number for number, state in enumerate(states) if _has_begun(state) and ("repeat.yaml" in state) == (part == "after")]
    chosen = _spread(numbers, TRAINING if part == "training" else AFTER)
    print(f"\n{len(numbers)} different states {part}, {len(chosen)} completed")
    source = _files(yolo)
    for number in chosen:
        server.write_state("fit", states[number], straight)
        before = _prepared(straight)
        assert server.run(_in(command, straight), server.folder / "none")["status"] == 0, (number, server.log[-3000:])
        assert _names(straight) == names, number
        assert _prepared(straight) == before, number
        assert rubbish(straight) == [], number
    assert _files(yolo) == source


def test_every_moment_of_tune(server):
    if importlib.util.find_spec("optuna") is None:
        pytest.skip("optuna is not installed")
    home = server.folder / "tune"
    home.mkdir()
    source, folder = write_coco_file(home, 24, 96), home / "study"
    # Three trials of four minutes; what a kill costs fits into the rest.
    command = ["tune", str(source), "--minutes", "14", "--trial-minutes", "4", "--work-dir", str(folder)]
    states, moments = server.states(command, folder, "tune")
    states = list({_kind(state): state for state in states}.values())
    chosen = _spread(states, STUDIES)
    print(f"\n{moments} moments of tune, {len(states)} kinds of states, {len(chosen)} completed")
    names, rows, used = set(_files(folder)), _rows(folder), _used(folder)
    assert _results(rows) == [("000", "done", "0.500"), ("001", "done", "0.500"), ("002", "done", "0.500")]
    data, inputs = _files(folder / "fit"), _files(home / "images")
    for number, state in enumerate(chosen):
        server.write_state("tune", state, folder)
        done = [row for row in _rows(folder) if row["state"] == "done"]
        lines = {row["trial"]: (folder / f"trials/{row['trial']}/metrics.jsonl").read_bytes() for row in done}
        assert server.run(command, server.folder / "none")["status"] == 0, (number, server.log[-3000:])
        after = _rows(folder)
        assert _results(after) == _results(rows), number
        assert after[: len(done)] == done, number
        assert all((folder / f"trials/{trial}/metrics.jsonl").read_bytes() == content for trial, content in lines.items()), number
        assert abs(_used(folder) - used) < 30, number  # a lap of the stand-in takes 12 s, a note is written every 5 s
        assert set(_files(folder)) == names, number
        assert _files(folder / "fit") == data, number
        assert all(isinstance(json.loads(line), dict) for line in (folder / "study.journal").read_text().splitlines()), number
        assert rubbish(folder) == [], number
    assert _files(home / "images") == inputs


def _kind(state):
    """What decides how a study goes on: its files, but for what changes while a trial runs and for what is half written."""
    changing = re.compile(r"tune\.json|trials/.*|.*\.ttfnet-part.*")
    return repr({re.sub(r"\.\d+\.", ".", name): "" if changing.fullmatch(name) else content for name, content in state.items()})


def _rows(folder):
    """Of trials.csv; none where it is not there yet."""
    if not (folder / "trials.csv").exists():
        return []
    with open(folder / "trials.csv", newline="") as rows:
        return list(csv.DictReader(rows))


def _results(rows):
    return [(row["trial"], row["state"], row["AP"]) for row in rows]


def _used(folder):
    return json.loads((folder / "tune.json").read_text())["used_seconds"]
