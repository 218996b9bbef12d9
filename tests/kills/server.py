"""Runs commands of ttfnet in forked processes, and keeps what a kill would leave before each call that changes a file.

TensorFlow is imported once, which takes seconds, and has started nothing when a command is forked off. A request is a line of JSON:

    {"argv": [...], "log": file, "below": folder, "at": k}    k > 0 kills before the k-th counted call; 0 runs to the end
    ... "at": -1, "states": folder                            stops before each counted call and keeps the tree below the folder
    {"argv": [...], "log": file, "recover": [folder, ...]}    in each folder: ends where the first step would come, fit before training

`fit` may take less than a minute, on a machine whose speed is given; `tune` makes its trials with a stand-in, in no time.

A word "{folder}" in argv stands for the folder. The answer is {"status": exit code, -9 for killed, "calls": counted
calls}, for "recover" {"status": 0, "codes": [...]}. `states/` gets the files by the digest of their content, and
states.json, a list of {path: digest, "folder" or "-> target"}, one for each different state in the order of time.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace


class Keeper:
    """Keeps the states of a folder; files that did not change since the last time are not read again."""

    def __init__(self, folder: Path, store: Path):
        self.folder, self.store = folder, store
        self.states: list[dict[str, str]] = []
        self._known: dict[tuple, str] = {}
        store.mkdir(parents=True, exist_ok=True)

    def keep(self) -> None:
        state: dict[str, str] = {}
        for parent, folders, names in os.walk(self.folder):
            for name in [*folders, *names]:
                path = Path(parent, name)
                state[path.relative_to(self.folder).as_posix()] = self._digest(path)
        if not self.states or state != self.states[-1]:
            self.states.append(state)

    def _digest(self, path: Path) -> str:
        if path.is_symlink():
            return f"-> {os.readlink(path)}"
        if path.is_dir():
            return "folder"
        status = path.stat()
        key = (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if key not in self._known:
            content = path.read_bytes()
            self._known[key] = hashlib.sha256(content).hexdigest()
            (self.store / self._known[key]).write_bytes(content)
        return self._known[key]

    def write(self) -> None:
        (self.store / "states.json").write_text(json.dumps(self.states))


def _serve() -> None:
    import pytest
    from networks import narrow

    import ttfnet_tf.export.saved_model
    import ttfnet_tf.report.write_report
    import ttfnet_tf.training.run  # noqa: F401 what the commands would import
    from ttfnet_tf.cli import main
    from ttfnet_tf.runs.checkpoint import CheckpointStore

    narrow(pytest.MonkeyPatch())
    CheckpointStore.save_if_best = _always_better(CheckpointStore.save_if_best)
    _prepare_timed_commands()
    shim = ctypes.CDLL(None)
    shim.kills_arm.argtypes = [ctypes.c_char_p, ctypes.c_long]
    shim.kills_arm(b"", 0)  # makes the counter
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        shim.kills_arm(b"", 0)
        child = os.fork()
        if child == 0:
            _child(request, shim, main)
        if "recover" in request:
            print(json.dumps({"status": _wait(child, None), "codes": Path(request["codes"]).read_text().split()}), flush=True)
            continue
        keeper = Keeper(Path(request["below"]), Path(request["states"])) if request["at"] < 0 else None
        print(json.dumps({"status": _wait(child, keeper), "calls": shim.kills_calls()}), flush=True)


def _prepare_timed_commands() -> None:
    """Whatever depends on a clock before training does not."""
    import ttfnet_tf.cli.fit
    import ttfnet_tf.fit.machine
    import ttfnet_tf.fit.prepare
    import ttfnet_tf.tune.run
    from ttfnet_tf.fit.decide import MachineFacts

    with contextlib.suppress(ImportError):
        importlib.import_module("ttfnet_tf.tune.optuna_study")
    ttfnet_tf.cli.fit.LEAST_MINUTES = 0.0
    ttfnet_tf.fit.prepare._FOR_COPIES = float("inf")
    ttfnet_tf.fit.machine.describe_machine = lambda: MachineFacts(1e-6, False, 1 << 30)


def _stand_in_for_trials(shim) -> None:
    """Makes the trials of `tune` in this process, on a clock of their own; what they write is not counted."""
    from stub_study import Machine

    from ttfnet_tf.cli import tune as command
    from ttfnet_tf.fit import run as fit_run
    from ttfnet_tf.fit.decide import DataFacts, candidate_sizes
    from ttfnet_tf.tune import run

    machine = Machine()

    def run_uncounted(file, folder, watch):
        def counted(seconds):
            shim.kills_pause(0)
            asked = watch(seconds)
            shim.kills_pause(1)
            return asked

        shim.kills_pause(1)
        ended = machine.run(file, folder, counted)
        shim.kills_pause(0)
        return ended

    facts = DataFacts(20, 4, 0, (20,), (96, 96), dict.fromkeys(candidate_sizes((96, 96)), 0.9))
    fit_run.describe_data = lambda *_, **__: facts
    run.time = SimpleNamespace(monotonic=machine.monotonic)
    command.time = run.time
    run.tune = functools.partial(run.tune, run=run_uncounted, measure=machine.facts)


def _always_better(save_if_best):
    """A network that small finds nothing in three epochs; so that the best one is replaced, each evaluation is better than the last."""

    def save(store, model, step, _):
        return save_if_best(store, model, step, step / 100)

    return save


def _wait(child: int, keeper: Keeper | None) -> int:
    while True:
        _, status = os.waitpid(child, os.WUNTRACED)
        if keeper is not None:
            keeper.keep()
        if not os.WIFSTOPPED(status):
            break
        os.kill(child, signal.SIGCONT)
    if keeper is not None:
        keeper.write()
    return os.waitstatus_to_exitcode(status)


def _recover_all(request, main) -> int:
    """Everything that a start does before its first step, in many folders."""
    from ttfnet_tf.fit import run as fit_run
    from ttfnet_tf.training.loop import TrainingLoop, TrainingResult

    def run(loop, step, must_stop):
        with loop.recorder:
            return TrainingResult(step, False, {}, True)

    TrainingLoop.run = run
    fit_run.train_and_export = lambda *_, **__: fit_run.Result(False, 0, {})
    with open(request["codes"], "w", encoding="utf-8") as codes:
        for folder in request["recover"]:
            codes.write(f"{main([word.replace('{folder}', folder) for word in request['argv']])}\n")
    return 0


def _child(request, shim, main) -> None:
    code = 70
    try:
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.chdir(request.get("cwd", "."))
        if "recover" in request:
            code = _recover_all(request, main)
        else:
            if request["argv"][0] == "tune":
                _stand_in_for_trials(shim)
            shim.kills_arm(request["below"].encode(), request["at"])
            code = main(request["argv"])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
