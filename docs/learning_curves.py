"""Draws AP and loss against the epoch from the metrics.jsonl of runs; made the pictures in docs/reproduction.md.

python docs/learning_curves.py OUT.png RUN [RUN ...]        (matplotlib is in the extra `dev`)
"""

import json
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt


def main(out: str, *runs: str) -> None:
    figure, (precision, losses) = plt.subplots(1, 2, figsize=(9, 3.2), dpi=80)
    for run in runs:
        lines = [json.loads(line) for line in (Path(run) / "metrics.jsonl").read_text().splitlines()]
        measured = [line for line in lines if "AP" in line]
        logged = [line for line in lines if "loss" in line]
        name = Path(run).name
        precision.plot([line["epoch"] for line in measured], [line["AP"] for line in measured], marker=".", label=name)
        losses.plot([line["epoch"] for line in logged], [line["loss"] for line in logged], linewidth=0.8, label=name)
    precision.set(xlabel="epoch", ylabel="AP", ylim=(0, None))
    losses.set(xlabel="epoch", ylabel="training loss", yscale="log")
    precision.legend(fontsize=8)
    for axes in (precision, losses):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
