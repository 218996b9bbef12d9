"""The checks of tools/gpu_check.sh that are more than one command; each prints its figure as the last line and exits with 1 if it is bad.

python tools/gpu_check.py DEVICE OUT environment | compare ... | train | saved_model
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this clone's package, whatever else is installed

IMAGES = 32  # of the compared trainings
SAME_AP = 0.001  # of the run and its SavedModel


def environment(device: str) -> str:
    """TensorFlow and the devices; fails where the GPU is missing."""
    import tensorflow as tf

    from ttfnet_tf.benchmarks.stages import machine

    about = machine()
    print(json.dumps(about, indent=2), json.dumps(tf.sysconfig.get_build_info(), indent=2, default=str))
    if device == "gpu" and not about["gpus"]:
        raise SystemExit("TensorFlow finds no GPU")
    names = [f"{gpu['name']} (capability {gpu['capability']})" for gpu in about["gpus"]]
    return f"TensorFlow {about['tensorflow']}; {'; '.join(names) or about['processor']}"


def compare(device: str, out: Path, steps: int, first: list[str], second: list[str], tolerance: float) -> str:
    """Trains twice on the same drawn images, and fails if a loss or a weight differs by more than `tolerance` of the largest one."""
    from ttfnet_tf.data.shapes import draw_shapes

    folder = out / f"{'+'.join(second).replace('/', '-')}"
    draw_shapes(folder / "shapes", train=IMAGES, val=1, size=(128, 128), seed=0)
    runs = [_train(device, folder, name, steps, overrides) for name, overrides in (("first", first), ("second", second))]
    losses, weights = _largest(_losses(runs)), _largest(_weights(runs))
    line = f"largest difference after {steps} steps: losses {losses:.2g}, weights {weights:.2g} of the largest (allowed {tolerance:g})"
    if max(losses, weights) > tolerance:
        raise SystemExit(line)
    return line


def train(out: Path) -> str:
    """The quick demo, from images to an exported model."""
    subprocess.run([sys.executable, "-m", "ttfnet_tf", "demo", str(out / "demo"), "--quick"], check=True)
    lines = [json.loads(line) for line in (out / "demo/run/metrics.jsonl").read_text().splitlines()]
    best = max(line["AP"] for line in lines if "AP" in line)
    if best < 0.3:
        raise SystemExit(f"AP {best:.3f}; .4 to .5 is usual")
    return f"AP {best:.3f} after {max(line['step'] for line in lines)} steps"


def saved_model(out: Path) -> str:
    """The SavedModel of the quick demo on this device, beside its run."""
    aps = []
    for source in (out / "demo/run", out / "demo/models/shapes"):
        folder = out / f"evaluated-{source.name}"
        subprocess.run([sys.executable, "-m", "ttfnet_tf", "evaluate", str(source), "--out", str(folder)], check=True)
        aps.append(json.loads((folder / "metrics.json").read_text())["metrics"]["AP"])
    line = f"AP of the run {aps[0]:.4f}, of its SavedModel {aps[1]:.4f}"
    if abs(aps[0] - aps[1]) > SAME_AP:
        raise SystemExit(line)
    return line


def _train(device: str, folder: Path, name: str, steps: int, overrides: list[str]) -> Path:
    """Trains `configs/demo.yaml` for some steps in a process of its own; returns the work directory."""
    batch = 4
    settings = [
        f"data.train.annotations={folder}/shapes/annotations/train.json",
        f"data.train.images={folder}/shapes/train",
        f"train.batch_size={batch}",
        f"train.epochs={max(steps * batch // IMAGES, 1)}",
        f"train.devices=[{device}:0]",
        *("train.evaluate_every=0", "train.summary_images=0", "train.log_every=1", "train.explode_factor=0"),
        *("optim.drop_epochs=[]", "optim.warmup_steps=4", "optim.lr=0.0005"),
    ]
    command = [sys.executable, "-m", "ttfnet_tf", "train", "configs/demo.yaml", "--work-dir", str(folder / name), *settings, *overrides]
    subprocess.run(command, check=True, cwd=ROOT)
    return folder / name


def _losses(runs: list[Path]) -> list[dict]:
    lines = [[json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in runs]
    return [{str(line["step"]): line["loss"] for line in one if "loss" in line} for one in lines]


def _weights(runs: list[Path]) -> list[dict]:
    from ttfnet_tf.models.parameters import named_buffers, named_parameters
    from ttfnet_tf.runs.checkpoint import load_run

    models = [load_run(run).model for run in runs]
    return [{name: variable.numpy() for name, variable in {**named_parameters(one), **named_buffers(one)}.items()} for one in models]


def _largest(pair: list[dict]) -> float:
    """The largest difference between two mappings of arrays, as a fraction of its array's largest value or of 0.01; inf if keys differ."""
    import numpy as np

    first, second = pair
    if set(first) != set(second) or not first:
        return float("inf")
    fractions = [np.max(np.abs(np.subtract(first[key], second[key]))) / max(np.max(np.abs(first[key])), 0.01) for key in first]
    return float(np.nan_to_num(np.max(fractions), nan=np.inf))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", choices=("cpu", "gpu"))
    parser.add_argument("out", type=Path)
    checks = parser.add_subparsers(dest="check", required=True)
    for name in ("environment", "train", "saved_model"):
        checks.add_parser(name)
    verb = checks.add_parser("compare")
    verb.add_argument("--steps", type=int, required=True)
    verb.add_argument("--tolerance", type=float, required=True)
    verb.add_argument("--first", nargs="+", default=[])
    verb.add_argument("--second", nargs="+", default=[])
    args = parser.parse_args()
    if args.check == "environment":
        print(environment(args.device))
    elif args.check == "compare":
        print(compare(args.device, args.out, args.steps, args.first, args.second, args.tolerance))
    else:
        print({"train": train, "saved_model": saved_model}[args.check](args.out))


if __name__ == "__main__":
    main()
