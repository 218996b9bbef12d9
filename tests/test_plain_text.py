"""Text of files that are not trusted reaches a terminal as text."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys

import pytest

from ttfnet_tf.plain_text import PlainStream, plain_output, printable, terminal_of
from ttfnet_tf.progress import ProgressMeter

ESCAPES = "\x1b]0;title\x07\x1b[2J\x9b31m\x08\x7f"


def test_a_line_stays_one_line():
    assert printable("a\nb\r\tc\u2028d\0" + ESCAPES) == "a b  c d  ]0;title  [2J 31m  "
    assert printable("\u202egnp.exe") == " gnp.exe"  # reads backwards
    assert printable("caf\udce9") == "caf "
    emoji = "\U0001f469\u200d\U0001f680 é 猫 نمی\u200cخواهم"
    assert printable(emoji) == emoji


def test_a_stream_keeps_line_breaks_and_nothing_else_that_is_no_text():
    below = io.StringIO()
    print(f"a\tb\n{ESCAPES}\udce9", file=PlainStream(below))
    text = below.getvalue()
    assert text.count("\n") == 2
    assert re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text) == []
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="")
    print("猫 é", file=PlainStream(ascii_only), flush=True)
    assert ascii_only.buffer.getvalue() == b"? ?\n"


def test_the_streams_come_back():
    before = sys.stdout, sys.stderr
    with plain_output():
        assert terminal_of(sys.stdout) is before[0]
        with plain_output():
            assert terminal_of(sys.stdout) is before[0]
        with contextlib.suppress(ValueError), plain_output():
            raise ValueError
    assert (sys.stdout, sys.stderr) == before


def test_messages_above_a_live_line_hold_no_escapes_of_others():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    terminal = Terminal()
    with ProgressMeter("train", 3, stream=PlainStream(terminal), live=True) as meter:
        meter.message(f"note: {ESCAPES}image")
    assert "\x1b[2J" not in terminal.getvalue()
    assert "\x07" not in terminal.getvalue()
    assert "\x1b[" in terminal.getvalue()  # its own


@pytest.mark.slow
def test_commands_print_names_without_escapes(root, tmp_path):
    content = {
        "images": [{"id": 1, "file_name": f"{ESCAPES}.png", "width": 64, "height": 64}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}],
        "categories": [{"id": 1, "name": f"cat\n{ESCAPES}"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(content))
    for words in (
        ["data", "check", "a.json", "."],
        ["data", "stats", "a.json"],
        ["data", "convert", "a.json", "out"],
        ["predict", ESCAPES, "x"],
    ):
        command = [sys.executable, "-m", "ttfnet_tf", *words]
        environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, check=False)
        printed = (done.stdout + done.stderr).decode("utf-8")
        assert printed
        assert re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f]", printed) == [], words
        assert "Traceback" not in printed
        assert done.returncode in (0, 2), printed
