"""What the commands write to a terminal, and to anything else; a real process on either end of a pseudo-terminal."""

import os
import pty
import re
import subprocess
import sys

import pytest

COLOUR = re.compile(r"\x1b\[[0-9;]*(?:3[0-8]|4[0-8]|9[0-7])[0-9;]*m")
DRAW = ["data", "shapes", "shapes", "--train", "40", "--val", "5", "--size", "48", "48"]


def _environment(root, **more):
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR", "TERM", "COLUMNS", "LINES")}
    return {**kept, "PYTHONPATH": str(root), "TERM": "xterm-256color", "COLUMNS": "80", **more}


def _in_terminal(root, folder, argv, **environment):
    """Exit code, and everything that the terminal received."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ttfnet_tf", *argv],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=folder,
        env=_environment(root, **environment),
    )
    os.close(theirs)
    received = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end was closed
            break
        if not part:
            break
        received += part
    os.close(ours)
    return process.wait(), received.decode()


def test_a_terminal_sees_a_live_line(root, tmp_path):
    code, text = _in_terminal(root, tmp_path, DRAW)
    assert code == 0
    assert COLOUR.search(text)
    assert "\x1b[?25l" in text  # the cursor hides
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")  # and comes back
    assert "45/45" in text
    assert re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text).splitlines()[-1].startswith("shapes: drew 40 training images")


def test_no_color_leaves_the_line_without_colours(root, tmp_path):
    code, text = _in_terminal(root, tmp_path, DRAW, NO_COLOR="1")
    assert code == 0
    assert "45/45" in text
    assert not COLOUR.search(text)


def test_a_dumb_terminal_gets_plain_lines(root, tmp_path):
    code, text = _in_terminal(root, tmp_path, DRAW, TERM="dumb")
    assert code == 0
    assert "\x1b" not in text
    assert [line for line in text.splitlines() if line][-1].startswith("shapes: drew")


@pytest.mark.parametrize(
    "force", [pytest.param({}, id="plain", marks=pytest.mark.slow), pytest.param({"FORCE_COLOR": "1"}, id="FORCE_COLOR")]
)
def test_files_and_pipes_get_no_control_characters(root, tmp_path, force):
    command = [sys.executable, "-m", "ttfnet_tf", *DRAW]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=_environment(root, **force), check=True)
    assert done.stdout.startswith("shapes: drew 40 training images")
    assert done.stderr == "" or not re.search(r"[\x00-\x09\x0b-\x1f]", done.stderr)  # a slow machine may say how far it is
    assert len(done.stdout.splitlines()) == 1


def test_a_mistake_is_one_line_in_a_terminal_too(root, tmp_path):
    code, text = _in_terminal(root, tmp_path, ["trian"])
    assert (code, text) == (2, "ttfnet: unknown verb 'trian'; did you mean ttfnet train?; see ttfnet --help\r\n")


@pytest.mark.parametrize("buffered", ["", pytest.param("1", marks=pytest.mark.slow)])
def test_a_reader_that_closes_the_pipe_is_no_bug(root, buffered):
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "ttfnet_tf", "reproduce", "table2", "--list"]
    environment = _environment(root, PYTHONUNBUFFERED=buffered)
    process = subprocess.Popen(command, stdout=write, stderr=subprocess.PIPE, cwd=root, env=environment)
    os.close(write)
    assert (process.communicate()[1], process.returncode) == (b"", 141)


@pytest.mark.slow
def test_a_run_in_a_terminal_and_its_evaluation_in_a_pipe(root, tmp_path):
    assert _in_terminal(root, tmp_path, [*DRAW[:-2], "64", "64"])[0] == 0
    data = [f"data.{split}.annotations=shapes/annotations/{split}.json" for split in ("train", "val")]
    data += [f"data.{split}.images=shapes/{split}" for split in ("train", "val")]
    small = ["data.image_size=[64,64]", "train.epochs=1", "optim.drop_epochs=[]", "train.summary_images=0", "model.neck_channels=[8,8,8]"]
    code, text = _in_terminal(root, tmp_path, ["train", str(root / "configs" / "demo.yaml"), "--work-dir", "run", *data, *small])
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
    assert code == 0, shown
    assert "0/5  starting" in shown  # while the first step is compiled
    assert re.search(r"[\r\n]epoch 1: AP .*\r\n", shown)  # stays above the live line
    assert re.search(r" 5/5  [\d.]+ images/s  epoch 1.0", shown.splitlines()[-2])
    assert shown.splitlines()[-1].startswith("run: done, 5 steps; next: ttfnet ")

    command = [sys.executable, "-m", "ttfnet_tf", "evaluate", "run"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=_environment(root), check=True)
    assert done.stdout.startswith("run, step 5, on shapes/annotations/val.json (5 images)")
    assert "\x1b" not in done.stdout + done.stderr
    assert len(done.stderr.splitlines()) <= 2
