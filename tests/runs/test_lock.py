"""One training process in a work directory."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import warnings

import pytest

from ttfnet_tf import cli
from ttfnet_tf.errors import UserError
from ttfnet_tf.runs import lock
from ttfnet_tf.runs.lock import RunLock

HOLDER = """
import os, sys, time
from pathlib import Path
from ttfnet_tf.runs.lock import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path, root):
    """Another process that holds the lock of `tmp_path`."""
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path)]
    with subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def _record(tmp_path, **changes):
    content = {"host": "elsewhere", "process": 77, "boot": "another", "since": "2024-01-02 03:04:05", **changes}
    (tmp_path / ".lock").write_text(json.dumps(content))


def test_the_second_is_told_who_holds_it(tmp_path, holder):
    with pytest.raises(UserError, match=rf"is in use by process {holder.pid} on {socket.gethostname()}, since .*; wait for it, or choose"):
        RunLock(tmp_path).__enter__()


def test_after_a_kill_the_next_takes_over_at_once(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert json.loads((tmp_path / ".lock").read_text())["process"] == holder.pid
    with RunLock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_it_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ValueError), RunLock(tmp_path):
        raise ValueError
    with RunLock(tmp_path):
        pass


def test_two_in_one_process(tmp_path):
    with RunLock(tmp_path), pytest.raises(UserError, match=f"process {os.getpid()} on"):
        RunLock(tmp_path).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_workers_other_than_the_chief_need_none(tmp_path, holder):
    with RunLock(tmp_path, holds=False):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == holder.pid


def test_a_child_does_not_keep_it(tmp_path):
    """A process that was forked off and lives on, as helpers of other packages do."""
    with RunLock(tmp_path):
        reader, writer = os.pipe()
        with warnings.catch_warnings():  # Python 3.12 warns of threads that the child will not have
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)  # until the parent closes its end
            os._exit(0)
    try:
        with RunLock(tmp_path):
            pass
    finally:
        os.close(writer)
        os.close(reader)
        os.waitpid(child, 0)


class Clock:
    """Time that passes when someone sleeps."""

    def __init__(self):
        self.now, self.on_sleep = 0.0, lambda: None

    def sleep(self, seconds):
        self.now += seconds
        self.on_sleep()


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(lock.time, "sleep", clock.sleep)
    monkeypatch.setattr(lock.time, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def no_flock(monkeypatch):
    """A network folder without locks."""

    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", flock)


def test_another_machine_that_touches_the_file_holds_it(tmp_path, clock):
    """Where the locks of a network folder are not shared between machines."""
    _record(tmp_path)
    clock.on_sleep = lambda: os.utime(tmp_path / ".lock", (clock.now, clock.now))
    with pytest.raises(UserError, match="is in use by process 77 on elsewhere, since 2024-01-02 03:04:05"):
        RunLock(tmp_path).__enter__()


def test_another_machine_that_was_lost_is_taken_over_after_a_while(tmp_path, clock):
    _record(tmp_path)
    with RunLock(tmp_path):
        assert clock.now >= lock.WATCHED_FOR > 4 * lock.TOUCHED_EVERY


@pytest.mark.usefixtures("no_flock")
def test_without_locks_the_file_is_the_lock(tmp_path, clock):
    _record(tmp_path, host=socket.gethostname(), boot=lock._boot(), process=os.getpid())
    with pytest.raises(UserError, match=f"is in use by process {os.getpid()} on"):
        RunLock(tmp_path).__enter__()
    _record(tmp_path, host=socket.gethostname(), boot=lock._boot(), process=2**22 + 1)
    with RunLock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()


@pytest.mark.usefixtures("no_flock")
def test_without_locks_one_of_two_simultaneous_starts_is_refused(tmp_path, clock):
    clock.on_sleep = lambda: _record(tmp_path)
    with pytest.raises(UserError, match="is in use by process 77 on elsewhere"):
        RunLock(tmp_path).__enter__()
    assert (tmp_path / ".lock").exists()


def test_a_damaged_file_of_a_dead_process_is_taken_over(tmp_path):
    (tmp_path / ".lock").write_bytes(b"\xff{")
    with RunLock(tmp_path):
        assert json.loads((tmp_path / ".lock").read_text())["process"] == os.getpid()


def test_a_folder_that_cannot_be_written(tmp_path):
    with pytest.raises(UserError, match=r"nowhere: cannot be written \(No such file or directory\); choose another --work-dir"):
        RunLock(tmp_path / "nowhere").__enter__()


def test_training_in_a_work_directory_that_is_in_use(tmp_path, write_coco, holder, capsys):
    annotations, images = write_coco({7: (64, 64)}, [(7, 3, [8, 8, 30, 20])], {3: "cat"})
    paths = {"annotations": str(annotations), "images": str(images)}
    (tmp_path / "a.yaml").write_text(json.dumps({"data": {"train": paths, "image_size": [64, 64]}, "train": {"evaluate_every": 0}}))
    before = sorted(path.name for path in tmp_path.iterdir())
    assert cli.main(["train", str(tmp_path / "a.yaml"), "--work-dir", str(tmp_path)]) == 2
    assert f"ttfnet: {tmp_path}: is in use by process {holder.pid} on " in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == before
