"""A table of wrong inputs: what a user types or has on disk, and the one line that is printed.

Every row runs a real command in this process. It must exit with code 2, print exactly that line (`{tmp}` stands for the folder of
the test, `{port}` for a port that is taken), and leave every file of the user as it was. The finer rows of one source of mistakes are
beside its module: settings in test_config.py, annotations in data/test_coco.py, images in data/test_images.py, arguments in
test_cli.py.
"""

import contextlib
import functools
import io
import json
import os
import re
import resource
import shlex
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import networks
import numpy as np
import pytest
from bad_inputs import annotations, data_files, fit, images, labels, onnx_files, prediction, runs, settings, start, tune
from bad_inputs.changes import CATEGORIES, EVALUATE, RESUME, replace_file
from PIL import Image

from ttfnet_tf import build, cli
from ttfnet_tf.models.backbones import BACKBONES
from ttfnet_tf.training import build as training_build
from ttfnet_tf.training.step import SAMPLE_NAMES

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = """
data:
  train: {{annotations: {tmp}/train.json, images: {tmp}/images}}
  val: {{annotations: {tmp}/val.json, images: {tmp}/images}}
  image_size: [64, 64]
model:
  frozen_stages: -1
  neck_channels: [8, 8, 8]
  shortcut: [1, 1, 1]
  heatmap_head: {{width: 8, depth: 1}}
  box_head: {{width: 8, depth: 1}}
optim: {{drop_epochs: [], scale_lr: false}}
train: {{epochs: 1, batch_size: 2, evaluate_every: 0, log_every: 1}}
"""

# {name: (command, what is wrong in the folder, line)}; before a command may stand TF_CONFIG=... as in a shell, FSIZE=N to let no file grow
# beyond N bytes, as on a full disk, and STEP=real for the real training step, on a tiny network. Others share networks and do not train.
KINDS = (settings, annotations, data_files, labels, images, start, runs, onnx_files, prediction, fit, tune)
TABLE = {name: row for kind in KINDS for name, row in kind.ROWS.items()}
# Others that stop a run, another disk that is full, and other files that do not fit a run, are fast.
SLOW = (
    *("loss not finite", "disk full at the best checkpoint", "no such weights", "evaluated image missing"),
    *("config of another backbone", "config of another head", "config of another neck", "labels of another model"),
    "run of another network",
)


# What the rows run on.


@functools.cache
def image_files():
    """Name -> bytes of three images; hundreds of rows have them."""
    files = {}
    for number, name in enumerate(("7.png", "8.jpg", "9.png")):
        pixels, buffer = np.random.default_rng(number).integers(0, 255, (64, 64, 3), np.uint8), io.BytesIO()
        Image.fromarray(pixels).save(buffer, Image.registered_extensions()[name[1:]])
        files[name] = buffer.getvalue()
    return files


def make_folder(tmp):
    """Settings, annotations and images that are right."""
    (tmp / "a.yaml").write_text(SETTINGS.format(tmp=tmp))
    (tmp / "images").mkdir()
    for name, content in image_files().items():
        (tmp / "images" / name).write_bytes(content)
    for file, names in (("train.json", ("7.png", "8.jpg")), ("val.json", ("8.jpg", "9.png"))):
        ids = [int(name[0]) for name in names]
        content = {
            "images": [{"id": i, "file_name": name, "width": 64, "height": 64} for i, name in zip(ids, names)],
            "annotations": [{"id": k, "image_id": i, "category_id": 3, "bbox": [8, 8, 30, 20]} for k, i in enumerate(ids, start=1)],
            "categories": CATEGORIES,
        }
        (tmp / file).write_text(json.dumps(content))


def step_that_does_nothing(*_, **__):
    """In place of `build_train_function`: compiling the real one is what would take the time of a row."""

    def run(iterator, learning_rates, first_step):
        names = ("loss", "heatmap_loss", "box_loss", "gradient_norm", *SAMPLE_NAMES, "data_seconds")
        told = {name: np.ones(len(learning_rates), np.float32) for name in names}
        return {**told, "proceed": np.ones(len(learning_rates), bool), "idle_sides": np.zeros(len(learning_rates), np.float32)}

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory, shared_networks):
    """A folder with a run/ of one step in it, by the real command but for the step."""
    tmp = tmp_path_factory.mktemp("trained")
    make_folder(tmp)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "model_of", shared_networks)
        patch.setattr(training_build, "build_train_function", step_that_does_nothing)
        assert cli.main(shlex.split(RESUME.format(tmp=tmp))) == 0
    return tmp


@pytest.fixture(scope="module", autouse=True)
def narrow():
    """Networks of width 8, with all their layers: lines name some of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "build_model", functools.partial(build.build_model, width=8))
        yield


@pytest.fixture(scope="module")
def shared_networks(narrow):
    """`build.model_of` that builds each network once: rows only fill or refuse it."""
    return networks.built_once(build.model_of)


@pytest.fixture(scope="module")
def used_port():
    with socket.socket() as server:
        server.bind(("", 0))
        server.listen()
        yield str(server.getsockname()[1])


@pytest.fixture
def tmp(trained, tmp_path):
    make_folder(tmp_path)
    shutil.copytree(trained / "run", tmp_path / "run", copy_function=os.link)
    for name in ("config.yaml", "metrics.jsonl"):
        replace_file(tmp_path / "run" / name, (trained / "run" / name).read_bytes().replace(str(trained).encode(), str(tmp_path).encode()))
    return tmp_path


def contents(tmp, given):
    """Every file but the note of the latest start, and what a run that went on until the disk was full has added to.

    The one large file of a checkpoint is compared by its inode, size and time.
    """
    free = ["run/environment.json", *(["run/config.yaml", "run/metrics.jsonl"] if "FSIZE" in given else [])]
    files = {str(path.relative_to(tmp)): path for path in sorted(tmp.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() if path.stat().st_size < 1e6 else stamp(path) for name, path in files.items() if name not in free}


def stamp(path):
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def readable(printed, tmp):
    """Without what differs from machine to machine."""
    printed = re.sub(r" \(\d+ bytes not processed\)", "", printed.replace(str(tmp), "{tmp}"))
    return re.sub(r"available: .*", "available: ...", printed)


@contextlib.contextmanager
def largest_file(size):
    """Writing beyond `size` bytes fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # Python ignores SIGXFSZ
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("command", "change", "line"),
    [pytest.param(*row, id=name, marks=[pytest.mark.slow] * (name in SLOW)) for name, row in TABLE.items()],
)
def test_the_line_of(tmp, shared_networks, used_port, monkeypatch, capfd, command, change, line):
    words = shlex.split(command.replace("{tmp}", str(tmp)).replace("{port}", used_port))
    given = {}
    while "=" in words[0]:
        name, _, given[name] = words.pop(0).partition("=")
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if "TF_CONFIG" in given:
        monkeypatch.setenv("TF_CONFIG", given["TF_CONFIG"])
    if "STEP" in given:
        monkeypatch.setitem(BACKBONES, "resnet18", networks.tiny_row())
    else:
        monkeypatch.setattr(build, "model_of", shared_networks)
        monkeypatch.setattr(training_build, "build_train_function", step_that_does_nothing)
    if change is not None:
        change(tmp)
    before = contents(tmp, given)
    with largest_file(int(given["FSIZE"])) if "FSIZE" in given else contextlib.nullcontext():
        code = cli.main(words)
    found = [one for one in readable(capfd.readouterr().err, tmp).splitlines() if not one.startswith("train ")]
    assert found == [f"ttfnet: {line.replace('{port}', used_port)}"]  # and nothing of TensorFlow's around it
    assert code == 2
    after = contents(tmp, given)
    assert {name: after.get(name) for name in before} == before
    assert [name for name in after if name.startswith("run/checkpoints/") and name not in before] == []


@pytest.mark.slow
def test_a_run_goes_on_when_the_disk_has_space_again(tmp, shared_networks, monkeypatch, capfd):
    monkeypatch.setattr(build, "model_of", shared_networks)
    monkeypatch.setattr(training_build, "build_train_function", step_that_does_nothing)
    command = shlex.split(RESUME.format(tmp=tmp)) + ["train.epochs=2"]
    with largest_file(500_000):
        assert cli.main(command) == 2
    assert cli.main(command) == 0
    assert "resumes at step 1 of 2" in capfd.readouterr().out
    assert [json.loads(line)["step"] for line in (tmp / "run" / "metrics.jsonl").read_text().splitlines()] == [1, 2]


@pytest.mark.slow
def test_tensorflow_says_nothing_around_the_line(tmp):
    """In a process and an environment of its own: its notes come while it is imported and started, and at the end it lists what it did
    not restore, hundreds of lines after ours."""
    command = [sys.executable, "-m", "ttfnet_tf", *shlex.split(EVALUATE.format(tmp=tmp))]  # of full width here, unlike the checkpoint
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False)
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "does not fit config.yaml" in done.stderr
    assert done.returncode == 2
