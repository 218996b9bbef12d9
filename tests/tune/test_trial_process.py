"""The process of a trial: its end, a request to stop, and the end of the process that started it. The programs here do not train."""

import os
import signal
import subprocess
import sys
import time

import pytest

from ttfnet_tf.tune.trial_process import OUTPUT, PROGRAM, STOPPED, Ended, reason_of, run_process

WAITS = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); print('ready', flush=True); time.sleep(60)"


def _program(code):
    return (sys.executable, "-c", code)


def test_output_is_kept_and_the_last_line_is_the_reason(tmp_path):
    code = "import sys; print('first'); print('ttfnet: out of memory', file=sys.stderr); sys.exit(2)"
    ended = run_process(tmp_path / "a.yaml", tmp_path / "run", lambda seconds: None, program=_program(code))
    assert (ended.code, ended.asked) == (2, None)
    assert reason_of(ended, tmp_path / "run") == "ttfnet: out of memory"
    assert "first" in (tmp_path / "run" / OUTPUT).read_text()


def test_arguments_are_the_settings_and_the_folder(tmp_path):
    run_process(tmp_path / "a.yaml", tmp_path / "run", lambda seconds: None, program=_program("import sys; print(*sys.argv[1:])"))
    assert (tmp_path / "run" / OUTPUT).read_text() == f"{tmp_path}/a.yaml {tmp_path}/run\n"


def _ready(folder):
    return (folder / OUTPUT).exists() and "ready" in (folder / OUTPUT).read_text()


def test_it_is_asked_once_and_may_save(tmp_path):
    run, asked = tmp_path / "run", []

    def watch(seconds):
        if _ready(run):
            asked.append(seconds)
            return "at 30 %"
        return None

    ended = run_process(tmp_path / "a.yaml", run, watch, program=_program(WAITS))
    assert (ended.code, ended.asked, len(asked)) == (STOPPED, "at 30 %", 1)


def test_an_exception_here_ends_it(tmp_path):
    run = tmp_path / "run"

    def watch(seconds):
        if _ready(run):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_process(tmp_path / "a.yaml", run, watch, program=_program(f"import os; print(os.getpid(), flush=True); {WAITS}"))
    with pytest.raises(ProcessLookupError):
        os.kill(int((run / OUTPUT).read_text().split()[0]), 0)


def test_reasons():
    assert reason_of(Ended(-signal.SIGSEGV, 1.0, None), None) == "its process was ended by signal 11"
    assert reason_of(Ended(STOPPED, 1.0, None), None) == "was stopped from outside"


def test_settings_that_are_wrong_end_it_in_one_line(tmp_path):
    (tmp_path / "a.yaml").write_text("optim: {lr: -1}")
    ended = run_process(tmp_path / "a.yaml", tmp_path / "run", lambda seconds: None, program=PROGRAM)
    assert ended.code == 2
    assert reason_of(ended, tmp_path / "run") == f"{tmp_path}/a.yaml: optim.lr=-1.0 must be above 0"


def test_a_trial_stops_when_its_study_is_killed(tmp_path):
    waits = """
import signal, sys, threading, time
from ttfnet_tf.tune import trial_process
signal.signal(signal.SIGTERM, lambda *_: (print('saved', flush=True), sys.exit(3)))
threading.Thread(target=trial_process._stop_with_parent, daemon=True).start()
print('ready', flush=True)
time.sleep(60)
"""
    parent = f"""
import sys
from pathlib import Path
from ttfnet_tf.tune.trial_process import run_process
run_process(Path('a.yaml'), Path({str(tmp_path / "run")!r}), lambda seconds: None, program=(sys.executable, '-c', {waits!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", parent])
    deadline = time.monotonic() + 120
    while not _ready(tmp_path / "run") and time.monotonic() < deadline:
        time.sleep(0.05)
    process.kill()
    process.wait()
    while "saved" not in (tmp_path / "run" / OUTPUT).read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "saved" in (tmp_path / "run" / OUTPUT).read_text()
