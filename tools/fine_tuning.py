"""Measures fine-tuning on drawn shapes: five classes from a run on four, in a quarter of the steps, against training from scratch.

    python tools/fine_tuning.py ttfnet18 --steps 600 --seed 0 --out rows.csv

Four runs of one network, each with a row: four classes; the same and stars, from that run, in a quarter of the steps; five classes from
scratch in as many steps; the same in a quarter of them. The sets of four and of five classes have 200 training and 100 validation images
of 128 pixels each, all different. From scratch means the recipe of configs/demo.yaml, with its warm-up and drops at the same fractions of
the steps. Files go to fine_tuning/ (--work); a command that was stopped goes on when it is repeated. Settings follow as key=value and stand
above those of fine-tuning:

    python tools/fine_tuning.py ttfnet18 --only tuned --parts 8 optim.lr=0.003
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this clone's package, whatever else is installed

from ttfnet_tf.data.shapes import CLASSES, DEFAULT_CLASSES, draw_shapes  # noqa: E402
from ttfnet_tf.errors import UserError  # noqa: E402

# Recipe of each network, and what it needs to start from random weights.
NETWORKS = {
    "ttfnet18": ("configs/demo.yaml",),
    "edge_r18_plain": ("configs/edge_r18_plain_320.yaml", "model.zero_init_residual=false"),
    "edge_mobilenet": ("configs/edge_mobilenet_v3_small_320.yaml",),
}
NEW = "star"
# Name in --work -> classes and seed of a set.
SETS = {"four": (DEFAULT_CLASSES, 1), "five": (tuple(CLASSES), 2)}
IMAGES, VAL_IMAGES, SIDE, BATCH = 200, 100, 128, 8
COMMON = [f"data.image_size=[{SIDE},{SIDE}]", f"train.batch_size={BATCH}", "train.evaluate_every=1000", "train.summary_images=0"]
COMMON += ["model.frozen_stages=-1", "model.box_gradient=recover"]
# As docs/own_data.md has it.
FINE_TUNING = ["optim.name=adamw", "optim.lr=0.0007", "optim.lr_batch_size=8", "optim.weight_decay=0.05", "optim.schedule=cosine"]
FINE_TUNING += ["optim.warmup_steps=20", "optim.ema_decay=0.95"]


@dataclass(frozen=True)
class Run:
    """One training, by its place in the comparison."""

    name: str  # of its folder and row
    data: str  # key of SETS
    steps: int
    start: str | None = None  # name of the run whose weights it starts from


@dataclass(frozen=True)
class Row:
    """One line of the CSV file. AP as a fraction of 1, on the validation images of the run's set."""

    network: str
    run: str
    classes: int
    start: str
    steps: int
    seed: int
    precision: str
    AP: float
    AP50: float
    AP_new: float | None  # of the new class
    settings: str  # more than those of the recipe


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("network", metavar="NETWORK", choices=NETWORKS, help=", ".join(NETWORKS))
    parser.add_argument("settings", metavar="key=value", nargs="*", help="above those of fine-tuning; named in the row")
    parser.add_argument("--steps", type=int, default=600, metavar="N", help="of a run from scratch; default 600")
    parser.add_argument("--parts", type=int, default=4, metavar="P", help="the other runs have N / P steps; default 4")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of weights and order; default 0")
    parser.add_argument("--precision", default="float32", metavar="P", help="train.precision of all runs; default float32")
    parser.add_argument("--only", nargs="+", choices=("tuned", "scratch", "short"), metavar="RUN", help="of tuned, scratch and short")
    parser.add_argument("--out", type=Path, default=Path("rows.csv"), metavar="CSV", help="rows are added to it; default rows.csv")
    parser.add_argument("--work", type=Path, default=Path("fine_tuning"), metavar="DIR", help="for images and runs; default fine_tuning")
    return parser.parse_intermixed_args(argv)


def plan(steps: int, parts: int) -> list[Run]:
    """The runs in order: each after the one that it starts from."""
    if parts < 1 or steps < 10 * parts:
        raise UserError(f"--steps {steps} --parts {parts}: N / P must be 10 or more")
    return [
        Run("four", "four", steps),
        Run("tuned", "five", steps // parts, start="four"),
        Run("scratch", "five", steps),
        Run("short", "five", steps // parts),
    ]


def scratch_settings(steps: int) -> list[str]:
    """The optimizer of configs/demo.yaml, whose 700 steps have 150 of warm-up and drops after 500 and 650."""
    epochs = steps * BATCH / IMAGES
    drops = ",".join(f"{epochs * epoch / 14:.4f}" for epoch in (10, 13))
    rate = ["optim.lr=0.006", "optim.lr_batch_size=8", f"optim.drop_epochs=[{drops}]"]
    return [*rate, "optim.clip_norm=10", f"optim.warmup_steps={steps * 150 // 700}", "optim.warmup_ratio=0.02"]


def command_of(run: Run, network: str, folder: Path, seed: int, precision: str, work: Path, more: Sequence[str]) -> list[str]:
    """The words of a training after `ttfnet`."""
    data, (config, *own) = work / run.data, NETWORKS[network]
    words = ["train", config, "--work-dir", str(folder / folder_name(run, more))]
    for split in ("train", "val"):
        words += [f"data.{split}.annotations={data}/annotations/{split}.json", f"data.{split}.images={data}/{split}"]
    words += [*COMMON, *own, f"train.steps={run.steps}", f"train.seed={seed}", f"train.precision={precision}"]
    if run.start is None:
        return [*words, "model.pretrained=null", *scratch_settings(run.steps)]
    return [*words, f"model.pretrained={folder / run.start}", *FINE_TUNING, *more]


def folder_name(run: Run, more: Sequence[str]) -> str:
    """Runs that differ have different folders."""
    own = [value.replace("/", "-") for value in more] if run.start else []
    return "_".join([run.name, *([str(run.steps)] if run.name in ("tuned", "short") else []), *own])


def row_of(run: Run, network: str, seed: int, precision: str, metrics: str, more: Sequence[str]) -> Row:
    """The figures of the last evaluation in the text of a run's metrics.jsonl."""
    evaluated = [line for line in map(json.loads, metrics.splitlines()) if "AP" in line]
    if not evaluated or evaluated[-1]["step"] != run.steps:
        raise UserError(f"the run {run.name} has no evaluation at step {run.steps}; see what it printed")
    last = evaluated[-1]
    return Row(
        network=network,
        run=run.name,
        classes=len(SETS[run.data][0]),
        start=run.start or "scratch",
        steps=run.steps,
        seed=seed,
        precision=precision,
        AP=round(last["AP"], 4),
        AP50=round(last["AP50"], 4),
        AP_new=round(last["per_class"][NEW], 4) if NEW in last["per_class"] else None,
        settings=" ".join(more) if run.start else "",
    )


def add_row(file: Path, row: Row) -> None:
    """Adds a row to a CSV file, unless it is there."""
    values = {key: "" if value is None else str(value) for key, value in dataclasses.asdict(row).items()}
    rows = []
    if file.exists():
        with file.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        if rows and list(rows[0]) != list(values):
            raise UserError(f"{file}: has other columns; name another file by --out")
    if values in rows:
        return
    with file.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, list(values), lineterminator="\n")
        writer.writeheader()
        writer.writerows([*rows, values])


def main(argv: Sequence[str] | None = None) -> int:
    """All runs of a command line; stops at the first that fails."""
    args = parse(argv)
    try:
        runs = plan(args.steps, args.parts)
        folder = args.work / f"{args.network}-{args.steps}-{args.precision}-seed{args.seed}"
        for name, (classes, seed) in SETS.items():
            if not (args.work / name / "README.txt").exists():
                draw_shapes(args.work / name, train=IMAGES, val=VAL_IMAGES, size=(SIDE, SIDE), seed=seed, classes=classes)
        for run in runs:
            if args.only and run.name not in (*args.only, *(["four"] if "tuned" in args.only else [])):
                continue
            words = command_of(run, args.network, folder, args.seed, args.precision, args.work, args.settings)
            print(f"$ ttfnet {' '.join(words)}", flush=True)
            done = subprocess.run([sys.executable, "-m", "ttfnet_tf", *words], check=False)
            if done.returncode:
                return done.returncode
            metrics = folder / folder_name(run, args.settings) / "metrics.jsonl"
            row = row_of(run, args.network, args.seed, args.precision, metrics.read_text(encoding="utf-8"), args.settings)
            add_row(args.out, row)
            print(row, flush=True)
    except UserError as error:
        print(f"fine_tuning.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
