"""`ttfnet demo`: the way from images to an exported model on drawn shapes, by the commands that a user would type."""

from __future__ import annotations

import argparse
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from ttfnet_tf.cli.parser import add_verb

# For --quick: the first steps of the whole demo, with a lower learning rate at the end.
_QUICK = ("train.epochs=6", "optim.drop_epochs=[5]")


def add_to(verbs) -> None:
    """Adds the verb to a parser."""
    verb = add_verb(
        verbs,
        "demo",
        run,
        "draw images, train on them, evaluate, detect, export",
        description="Draws a small data set, trains on it, evaluates, writes a report, detects and exports; prints each command. "
        "Some minutes on two CPU cores.",
        examples=("ttfnet demo", "ttfnet demo /tmp/demo --quick"),
    )
    verb.add_argument("folder", metavar="FOLDER", nargs="?", help="for all files; default demo, with --quick demo-quick")
    verb.add_argument("--quick", action="store_true", help="less than half of the training, to see that everything works")


def run(args: argparse.Namespace) -> int:
    """Runs the commands up to the first that fails, whose exit code it returns."""
    folder = Path(args.folder or ("demo-quick" if args.quick else "demo"))
    for words in commands(folder, quick=args.quick):
        print(f"$ {shlex.join(['ttfnet', *words])}", flush=True)
        code = _run(words)
        if code:
            return code
    print(f"Look at {folder}/run/report.html, the drawings in {folder}/drawings and the curves with: tensorboard --logdir {folder}/run")
    return 0


def commands(folder: Path, *, quick: bool = False) -> list[list[str]]:
    """The words after `ttfnet` of each command, in order."""
    run, shapes = f"{folder}/run", f"{folder}/shapes"
    data = [
        *(f"data.train.annotations={shapes}/annotations/train.json", f"data.train.images={shapes}/train"),
        *(f"data.val.annotations={shapes}/annotations/val.json", f"data.val.images={shapes}/val"),
    ]
    return [
        ["data", "shapes", shapes, "--train", "400", "--size", "128", "128", "--overwrite"],
        ["train", "configs/demo.yaml", "--work-dir", run, *data, *(_QUICK if quick else ())],
        ["evaluate", run],
        ["report", run],
        ["predict", run, f"{shapes}/val", "--out", f"{folder}/drawings"],
        ["export", run, "--out", f"{folder}/models", "--name", "shapes"],
    ]


def _run(words: Sequence[str]) -> int:
    """Runs one command in a process of its own, as a shell would; returns its exit code."""
    with subprocess.Popen([sys.executable, "-m", "ttfnet_tf", *words]) as process:

        def stop(*_) -> NoReturn:
            process.terminate()
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGTERM, stop)  # as a container is stopped; Ctrl-C reaches both by itself
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.wait()  # until it has saved what it has
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
