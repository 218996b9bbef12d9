"""Workers on this machine, started as by TF_CONFIG, Slurm and an indexed Job of Kubernetes: one is killed, the others end in one line, and
the same commands end with the bits of a run that nothing stopped.

`make integration` takes two workers by Slurm; TTFNET_LAUNCHERS=all every launcher, and four workers.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from integration_runs import ROOT, checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SETTINGS = (
    *("train.strategy=multi_worker", "train.epochs=8", "optim.drop_epochs=[]", "train.evaluate_every=0"),
    *("train.batch_size=4", "train.precision=float32", "train.report=false"),
    *("model.neck_channels=[8,8,8]", "model.shortcut=[1,1,1]", "model.heatmap_head.width=8", "model.box_head.width=8"),
)
ENDS_WITHIN = 60.0  # seconds that docs/distributed.md states


def _free_ports(count):
    """The first of so many ports in a row that nobody uses."""
    for first in range(21000 + os.getpid() % 5000, 32000, count):
        sockets = [socket.socket() for _ in range(count)]
        try:
            for number, one in enumerate(sockets):
                one.bind(("", first + number))
            return first
        except OSError:
            continue
        finally:
            for one in sockets:
                one.close()
    raise AssertionError("no free ports")


def _tf_config(index, count, port):
    workers = [f"127.0.0.1:{port + number}" for number in range(count)]
    return {"TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})}


def _slurm(index, count, port):
    return {
        **{"SLURM_JOB_ID": "4711", "SLURM_PROCID": str(index), "SLURM_LOCALID": str(index), "SLURM_NODEID": "0"},
        **{"SLURM_STEP_NODELIST": "127.0.0.[1]", "SLURM_STEP_TASKS_PER_NODE": str(count), "TTFNET_PORT": str(port)},
    }


def _indexed_job(index, count, port):
    return {"TTFNET_WORKERS": f"127.0.0.1:[{port}-{port + count - 1}]", "JOB_COMPLETION_INDEX": str(index)}


LAUNCHERS = {"TF_CONFIG": _tf_config, "slurm": _slurm, "job": _indexed_job}
ALL = os.environ.get("TTFNET_LAUNCHERS") == "all"
# Launcher, workers, the one that is killed, and the signal: a stopped process is like a machine that no longer answers.
CASES = [("slurm", 2, 1, signal.SIGKILL)]
if ALL:
    CASES += [("TF_CONFIG", 2, 0, signal.SIGKILL), ("job", 2, 1, signal.SIGSTOP), ("slurm", 4, 2, signal.SIGKILL)]


class Workers:
    """The workers of one run."""

    def __init__(self, runs, name, launcher, count, folders=None):
        port = _free_ports(count)
        self.logs = [runs.folder / f"{name}-{index}.log" for index in range(count)]
        for log in self.logs:
            log.unlink(missing_ok=True)
        self.processes = [
            runs.start(
                f"{name}-{index}",
                *SETTINGS,
                *("--work-dir", str(folders[index] if folders else runs.folder / name)),
                environment=LAUNCHERS[launcher](index, count, port),
                script="tests/tiny_train.py",
            )
            for index in range(count)
        ]

    def wait(self, seconds):
        """Exit codes, None for those that still run."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(process.poll() is None for process in self.processes):
            time.sleep(0.1)
        return [process.poll() for process in self.processes]

    def text(self):
        return "\n".join(log.read_text()[-1500:] for log in self.logs)

    def lines(self, index):
        return [line for line in self.logs[index].read_text().splitlines() if line.startswith("ttfnet: ")]

    def end(self):
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def start(runs, monkeypatch):
    """Starts workers; none outlives the test."""
    for name in ("TF_CONFIG", "TTFNET_WORKERS", "SLURM_JOB_ID"):
        monkeypatch.delenv(name, raising=False)
    started = []

    def begin(*args, **kwargs):
        started.append(Workers(runs, *args, **kwargs))
        return started[-1]

    yield begin
    for workers in started:
        workers.end()


def _steps(work_dir):
    file = work_dir / "metrics.jsonl"
    return len(file.read_text().splitlines()) if file.exists() else 0


_straight = {}


def _uninterrupted(runs, start, count):
    """The numbers of a run of so many workers that nothing stopped, and of its steps."""
    if count not in _straight:
        workers = start(f"straight{count}", "TF_CONFIG", count)
        assert workers.wait(400) == [0] * count, workers.text()
        _straight[count] = checkpoint(runs.folder / f"straight{count}"), _metrics(runs.folder / f"straight{count}")
    return _straight[count]


def _metrics(work_dir):
    return {line["step"]: line["loss"] for line in map(json.loads, (work_dir / "metrics.jsonl").read_text().splitlines())}


@pytest.mark.parametrize(("launcher", "count", "victim", "number"), CASES)
def test_a_worker_that_dies_ends_the_others_and_all_resume(runs, start, launcher, count, victim, number):
    expected, losses = _uninterrupted(runs, start, count)
    name = f"{launcher}{count}"
    work_dir = runs.folder / name
    workers = start(name, launcher, count)
    while not (work_dir / "checkpoints/step-3.index").exists() or _steps(work_dir) < 5:
        assert workers.wait(0.05) == [None] * count, workers.text()
    workers.processes[victim].send_signal(number)
    began = time.monotonic()
    others = [process for index, process in enumerate(workers.processes) if index != victim]
    while any(process.poll() is None for process in others):
        assert time.monotonic() - began < ENDS_WITHIN, workers.text()
        time.sleep(0.1)
    print(f"{launcher}, {count} workers, {number.name} of {victim}: the others ended after {time.monotonic() - began:.1f} s")
    workers.processes[victim].kill()
    workers.processes[victim].wait()
    for index, process in enumerate(workers.processes):
        if index != victim:
            assert process.returncode == 2, workers.text()
            assert len(workers.lines(index)) == 1, workers.text()
            assert f"so worker {index} ends, too; the same command on every worker resumes the run" in workers.lines(index)[0]
            assert "Traceback" not in workers.logs[index].read_text()

    workers = start(name, launcher, count)
    assert workers.wait(400) == [0] * count, workers.text()
    assert "resumes at step" in workers.logs[0].read_text()
    assert _metrics(work_dir) == losses
    actual = checkpoint(work_dir)
    assert set(actual) == set(expected)
    assert [key for key in expected if not np.array_equal(actual[key], expected[key])] == []


def test_workers_that_see_different_checkpoints_refuse(runs, start, tmp_path):
    """The second worker's folder is as a network folder that lags behind shows it."""
    _uninterrupted(runs, start, 2)
    newer, older = tmp_path / "newer", tmp_path / "older"
    shutil.copytree(runs.folder / "straight2", newer)
    older.mkdir()
    workers = start("lagging", "job", 2, folders=[newer, older])
    assert workers.wait(200) == [2, 2], workers.text()
    for index in range(2):
        assert len(workers.lines(index)) == 1, workers.text()
        line = workers.lines(index)[0]
        assert "workers find different checkpoints: step 24 on worker 0 (127.0.0.1:" in line
        assert ", no run on worker 1 (127.0.0.1:" in line


@pytest.mark.skipif(not ALL, reason="TTFNET_LAUNCHERS=all")
def test_ray_starts_all_workers_again(runs, start):
    """One of two workers is killed; Ray starts both again, and they end with the bits of a run that nothing stopped."""
    pytest.importorskip("ray.train", reason="needs ray; make engines", exc_type=ImportError)
    expected, losses = _uninterrupted(runs, start, 2)
    work_dir = runs.folder / "ray"
    code = f"""
import networks, os, pytest, ray
from ttfnet_tf.integrations import ray_train

def train(settings):
    networks.narrow(pytest.MonkeyPatch())
    open(os.path.join({str(runs.folder)!r}, f"ray-worker-{{os.getpid()}}"), "w").close()
    ray_train.train_worker(settings)

if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=True)
    trainer = ray_train.tensorflow_trainer({str(runs.config)!r}, {str(work_dir)!r}, workers=2, overrides={list(SETTINGS[1:])!r})
    trainer.train_loop_per_worker = train
    trainer.fit()
"""
    script, log = runs.folder / "ray_run.py", runs.folder / "ray.log"
    script.write_text(code)
    paths = [str(ROOT), str(ROOT / "tests"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with open(log, "wb") as file:
        process = subprocess.Popen([sys.executable, str(script)], stdout=file, stderr=file, env=environment, start_new_session=True)
    try:
        while not (work_dir / "checkpoints/step-3.index").exists() or _steps(work_dir) < 5:
            assert process.poll() is None, log.read_text()[-3000:]
            time.sleep(0.05)
        workers = [int(path.name.rpartition("-")[2]) for path in runs.folder.glob("ray-worker-*")]
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        assert process.wait(timeout=500) == 0, log.read_text()[-3000:]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert len(list(runs.folder.glob("ray-worker-*"))) == 4
    assert _metrics(work_dir) == losses
    actual = checkpoint(work_dir)
    assert [key for key in expected if not np.array_equal(actual[key], expected[key])] == []
