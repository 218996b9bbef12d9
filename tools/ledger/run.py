"""Trains one system of the ledger for each of the given minutes and adds a row for each to a CSV file.

    python tools/ledger/run.py SYSTEM DATA --minutes 5 10 20 --seed 0 --out rows.csv

DATA is a COCO folder (annotations/train.json, annotations/val.json and images), or a set that is drawn: see data_sets.py. A system other
than this package gets an environment of its own from the package index, once; while it trains, nothing is downloaded. Minutes are those of
training on two cores, tracing and data loading included, evaluations excluded; `fit` alone counts everything. Each number of minutes is a
run of its own, whose schedule ends with it. All detections are measured by pycocotools. Let nothing else run on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]

import data_sets  # noqa: E402
import environments  # noqa: E402
from catalog import SYSTEMS, System  # noqa: E402
from rows import Row, RowError, append_row, read_rows  # noqa: E402

from ttfnet_tf.errors import UserError  # noqa: E402

_FACTS = {"version", "seconds", "images", "parameters", "input", "batch"}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("system", metavar="SYSTEM", choices=SYSTEMS, help=", ".join(SYSTEMS))
    parser.add_argument("data", metavar="DATA", help=f"COCO folder, or {', '.join(data_sets.DRAWN)}")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 10, 20], metavar="M", help="of training; a run each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path, metavar="FILE", help="ImageNet weights of the backbone, in the system's own format")
    parser.add_argument("--size", type=int, metavar="S", help="side of a square input, in place of the system's own; a multiple of 32")
    parser.add_argument("--cores", type=int, default=2, help="processor cores to run on; default 2")
    parser.add_argument("--out", type=Path, default=Path("rows.csv"), metavar="CSV", help="rows are added to it; default rows.csv")
    parser.add_argument("--again", action="store_true", help="run what has a row in CSV too; the later row counts")
    parser.add_argument("--work", type=Path, default=Path("ledger"), metavar="DIR", help="for data, environments and runs; default ledger")
    return parser.parse_args(argv)


def check(args: argparse.Namespace) -> System:
    """The system of a command line.

    Raises:
        UserError: an option is out of range, or the system does not take it.
    """
    system = SYSTEMS[args.system]
    if min(args.minutes) <= 0 or max(args.minutes) > 1440:
        raise UserError(f"--minutes {' '.join(f'{m:g}' for m in args.minutes)}: each must lie above 0 and below 1440")
    if args.weights is not None and "imagenet" not in system.starts:
        raise UserError(f"--weights: {args.system} starts from random weights only")
    if args.weights is not None and not args.weights.is_file():
        raise UserError(f"--weights {args.weights}: no such file")
    if args.size is not None and not system.takes_size:
        raise UserError(f"--size: {args.system} has an input size of its own")
    if args.size is not None and (args.size < 32 or args.size % 32):
        raise UserError(f"--size {args.size} must be a multiple of 32")
    if args.cores < 1:
        raise UserError(f"--cores {args.cores} must be 1 or more")
    return system


def command_of(args: argparse.Namespace, minutes: float, data: str) -> str:
    """The command of one row, without the folders of this machine."""
    words = ["python", "tools/ledger/run.py", args.system, data, "--minutes", f"{minutes:g}", "--seed", str(args.seed)]
    if args.weights is not None:
        words += ["--weights", args.weights.name]
    if args.size is not None:
        words += ["--size", str(args.size)]
    if args.cores != 2:
        words += ["--cores", str(args.cores)]
    return shlex.join(words)


def has_row(file: Path, command: str) -> bool:
    """Whether a file has a row of this command on this processor, so that an interrupted list of commands can be repeated."""
    here = machine()["processor"]
    return any(row.command == command and row.processor == here for row in read_rows(file))


def row_of(args: argparse.Namespace, minutes: float, data: str, result: dict, metrics: dict, whole: float, machine: dict) -> Row:
    """One row of the ledger.

    Args:
        args: of the command line.
        minutes: of this run.
        data: name of the data set.
        result: what the driver wrote.
        metrics: "AP" and "AP50", 0..1.
        whole: seconds of the driver.
        machine: "processor" and "commit".
    """
    if set(result) != _FACTS:
        raise ValueError(f"result.json has {', '.join(sorted(result))}, expected {', '.join(sorted(_FACTS))}")
    return Row(
        system=args.system,
        version=result["version"],
        data=data,
        start="none" if args.weights is None else "imagenet",
        minutes=minutes,
        minutes_used=result["seconds"] / 60,
        minutes_whole=whole / 60,
        images_per_second=None if result["images"] is None else result["images"] / result["seconds"],
        AP=metrics["AP"],
        AP50=metrics["AP50"],
        parameters=result["parameters"],
        input=result["input"],
        batch=result["batch"],
        seed=args.seed,
        cores=args.cores,
        command=command_of(args, minutes, data),
        **machine,
    )


def score(split: dict, detections: list[dict]) -> dict[str, float]:
    """The COCO figures of detections in COCO's result format."""
    from ttfnet_tf.data.coco import load_coco
    from ttfnet_tf.evaluation.coco_metrics import coco_metrics

    return coco_metrics(load_coco(split["annotations"], split["images"], training=False), detections)[0]


def drive(system: System, job: dict, python: Path) -> tuple[dict, list[dict], float]:
    """Runs a driver; returns its result, its detections and the seconds it took."""
    folder = Path(job["folder"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "job.json").write_text(json.dumps(job, indent=1), encoding="utf-8")
    command = [str(python), str(Path(__file__).parent / "peers" / system.driver), str(folder / "job.json")]
    began = time.monotonic()
    with (folder / "log.txt").open("w", encoding="utf-8") as log:
        done = subprocess.run(
            command, env=environments.variables(folder, job["cores"]), cwd=folder, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    whole = time.monotonic() - began
    if done.returncode:
        raise UserError(f"{folder / 'log.txt'}: the run ended with code {done.returncode}; its last lines say why")
    result, detections = (json.loads((folder / name).read_text(encoding="utf-8")) for name in ("result.json", "detections.json"))
    return result, detections, whole


def main(argv: list[str] | None = None) -> int:
    """All runs of a command line. One that fails does not stop the others."""
    args, failed = parse(argv), False
    try:
        system = check(args)
        read_rows(args.out)  # refuses another file before the minutes are spent
        work = args.work.resolve()
        data = data_sets.find(args.data, work / "data")
        python = environments.python_of(system.layers, work / "environments")
        if hasattr(os, "sched_setaffinity"):
            cores = sorted(os.sched_getaffinity(0))
            if len(cores) < args.cores:
                raise UserError(f"--cores {args.cores}: this process may use {len(cores)}")
            os.sched_setaffinity(0, cores[: args.cores])
        for minutes in args.minutes:
            if not args.again and has_row(args.out, command_of(args, minutes, data.name)):
                print(f"{command_of(args, minutes, data.name)}: has a row in {args.out}", flush=True)
                continue
            try:
                add_row(args, system, data, minutes, python, work)
            except UserError as error:
                failed = True
                print(f"run.py: {error}", file=sys.stderr, flush=True)
    except (UserError, RowError) as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    return 2 if failed else 0


def add_row(args: argparse.Namespace, system: System, data: data_sets.DataSet, minutes: float, python: Path, work: Path) -> None:
    """One run, measured and added to the file.

    Raises:
        UserError: the run failed.
    """
    parts = [args.system, data.name, "none" if args.weights is None else "imagenet", f"{minutes:g}", f"seed{args.seed}"]
    parts += [str(args.size)] if args.size else []
    job = {
        "settings": system.settings,
        "data": str(data.folder),
        "train": data.train,
        "val": data.val,
        "minutes": minutes,
        "seed": args.seed,
        "weights": None if args.weights is None else str(args.weights.resolve()),
        "size": [args.size, args.size] if args.size else None,
        "cores": args.cores,
        "folder": str(work / "runs" / "-".join(parts)),
    }
    print(f"{command_of(args, minutes, data.name)}: log in {job['folder']}/log.txt", flush=True)
    result, detections, whole = drive(system, job, python)
    row = row_of(args, minutes, data.name, result, score(data.val, detections), whole, machine())
    append_row(args.out, row)
    took = f"{row.minutes_used:.1f} min ({row.minutes_whole:.1f} in all)"
    print(f"AP {row.AP:.3f}, AP50 {row.AP50:.3f} after {took}; added to {args.out}", flush=True)


def machine() -> dict[str, str]:
    """Processor of this machine and commit of this repository."""
    from ttfnet_tf.benchmarks.stages import processor

    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False)
    return {"processor": processor(), "commit": done.stdout.strip() or "unknown"}


if __name__ == "__main__":
    sys.exit(main())
