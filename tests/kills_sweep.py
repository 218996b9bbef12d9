"""Starts the server, and writes and compares the states that kills leave."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from integration_runs import ROOT, metrics

HERE = Path(__file__).resolve().parent / "kills"
COMPILER = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="needs Linux and a C compiler, for the library that ends a process"
)
RUBBISH = re.compile(r".*\.ttfnet-part(\.\w+)?|.*_temp|\.lock|checkpoint\.tmp.*")


class Server:
    """The process of server.py, with the shim preloaded.

    Args:
        folder: for the shim, the states and the output.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        shim = folder / "shim.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, HERE / "shim.c", "-ldl"], check=True)
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
        # Threads of BLAS would be there when a command is forked off.
        environment = {**os.environ, "LD_PRELOAD": str(shim), "PYTHONPATH": paths, "OPENBLAS_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._process.stdout.readline() == "ready\n"

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()

    def run(self, argv: list[str], below: Path, *, at: int = 0) -> dict[str, Any]:
        """Runs a command to its end or to the kill; see server.py."""
        return self._ask({"argv": argv, "below": str(below), "at": at, "cwd": str(self.folder)})

    def states(self, argv: list[str], below: Path, name: str, *, status: int = 0) -> tuple[list[dict[str, str]], int]:
        """Runs a command to its end; returns the different states on the way, and the number of moments looked at."""
        store = self.folder / f"states-{name}"
        answer = self._ask({"argv": argv, "below": str(below), "at": -1, "states": str(store), "cwd": str(self.folder)})
        assert answer["status"] == status, self.log[-2000:]
        return json.loads((store / "states.json").read_text()), answer["calls"]

    def recover(self, argv: list[str], folders: list[Path]) -> list[int]:
        """Starts training in each folder up to the first step; returns the exit codes."""
        codes = self.folder / "codes"
        return [int(code) for code in self._ask({"argv": argv, "recover": [str(one) for one in folders], "codes": str(codes)})["codes"]]

    def write_state(self, name: str, state: dict[str, str], folder: Path) -> None:
        """Makes a folder what it was in a state."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for path, content in sorted(state.items()):
            target = folder / path
            if content == "folder":
                target.mkdir(exist_ok=True)
            elif content.startswith("-> "):
                target.symlink_to(content.removeprefix("-> "))
            else:
                shutil.copyfile(self.folder / f"states-{name}" / content, target)

    @property
    def log(self) -> str:
        """What the commands have printed."""
        return (self.folder / "log").read_text(errors="replace")

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._process.stdin.write(json.dumps({**request, "log": str(self.folder / "log")}) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def run_settings(shapes: Path, *, epochs: int = 3, neck: str = "plain") -> str:
    """Settings of a run of a tiny network on a few images, with evaluations, best checkpoints, averages and a report."""
    head = {"width": 8, "depth": 1}
    data = {split: {"annotations": str(shapes / f"annotations/{split}.json"), "images": str(shapes / split)} for split in ("train", "val")}
    model = {"frozen_stages": -1, "batch_norm": "local", "neck": neck, "neck_channels": [8, 8, 8], "shortcut": [1, 1, 1]}
    settings = {
        "data": {**data, "image_size": [64, 64], "workers": 1},
        "model": {**model, "heatmap_head": head, "box_head": head},
        "optim": {"lr": 0.002, "lr_batch_size": 2, "warmup_steps": 2, "drop_epochs": [2] if epochs > 2 else [], "ema_decay": 0.9},
        "train": {
            "epochs": epochs,
            "batch_size": 2,
            "precision": "float32",
            "log_every": 1,
            "summary_images": 1,
            "report": True,
            "keep_checkpoints": 2,
        },
    }
    return json.dumps(settings)


def without_events(state: dict[str, str]) -> str:
    """A state as text; event files count by their presence, since no command reads them."""
    return json.dumps({path: "" if "tfevents" in path else content for path, content in state.items()}, sort_keys=True)


def rubbish(folder: Path) -> list[str]:
    """Names that no command should leave behind."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if RUBBISH.fullmatch(path.name))


def content(work_dir: Path) -> dict[str, Any]:
    """What two equal runs have in common: everything but times, machine and events."""
    found: dict[str, Any] = {}
    for path in sorted(work_dir.rglob("*")):
        name = path.relative_to(work_dir).as_posix()
        if path.is_dir() or "tfevents" in name or name == "environment.json":
            continue
        if name == "metrics.jsonl":
            found[name] = metrics(work_dir)
        elif name == "checkpoints/checkpoint":
            found[name] = [line for line in path.read_text().splitlines() if "timestamps" not in line]
        elif name == "report.html":
            found[name] = "written"  # holds times
        else:
            found[name] = path.read_bytes()
    return found
