"""Trains this package's TTFNet-18 by its own commands: the official recipe, configs/fast.yaml, or `ttfnet fit`.

`official` and `fast` know their steps before they begin, so a short run times a step first; its time does not count.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from job import MOST, SCORE, read_examples, read_job, write_result

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from budget import scaled_drops, step_seconds, steps_in  # noqa: E402

TIMED_STEPS = 20
FROM_SCRATCH = {
    "official": ["configs/bccd_r18_scratch.yaml"],
    "fast": ["configs/fast.yaml", "model.pretrained=null", "model.zero_init_residual=false"],
}
FROM_WEIGHTS = {"official": ["configs/bccd_r18.yaml"], "fast": ["configs/fast.yaml"]}


def ttfnet(*words: str) -> None:
    """Runs one command of the package in this clone."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run([sys.executable, "-m", "ttfnet_tf", *words], check=False, cwd=ROOT, env=environment)
    if done.returncode:
        raise SystemExit(f"ttfnet {' '.join(words)}: ended with {done.returncode}")


def metrics_of(run: Path) -> list[dict]:
    """The lines of its metrics.jsonl."""
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def train_recipe(job: dict, folder: Path) -> Path:
    """`ttfnet train` with as many steps as the time holds, drops of the rate at the same fractions, and half for the warm-up at most."""
    from ttfnet_tf.config import load_config

    words = list((FROM_WEIGHTS if job["weights"] else FROM_SCRATCH)[job["settings"]["recipe"]])
    words += [f"data.{split}.{key}={job[split][key]}" for split in ("train", "val") for key in ("annotations", "images")]
    words += [f"train.seed={job['seed']}", "train.evaluate_every=0", "train.summary_images=0"]
    if job["weights"]:
        words.append(f"model.pretrained={job['weights']}")
    if job["size"]:
        words.append("data.image_size=[{},{}]".format(*job["size"]))
    config = load_config(ROOT / words[0], words[1:])
    batch = config.train.batch_size
    timed = folder / "timed"
    ttfnet("train", *words, "--work-dir", str(timed), f"train.steps={TIMED_STEPS}", "train.log_every=5")
    steps = steps_in(60 * job["minutes"], *step_seconds(metrics_of(timed), batch))
    warm_up = max(1, min(config.optim.warmup_steps, steps // 2))
    words = [word for word in words if not word.startswith("optim.warmup_steps=")]
    words += [f"train.steps={steps}", f"optim.warmup_steps={warm_up}"]
    if config.optim.schedule == "step":
        epochs = steps * batch / len(read_examples(job["train"], training=True)[0])
        drops = scaled_drops(config.optim.drop_epochs, config.train.epochs, epochs)
        words.append(f"optim.drop_epochs={json.dumps(drops, separators=(',', ':'))}")
    run = folder / "run"
    ttfnet("train", *words, "--work-dir", str(run))
    return run


def fit(job: dict, folder: Path) -> Path:
    """`ttfnet fit`, which decides everything."""
    run = folder / "run"
    words = [f"train.seed={job['seed']}"]
    if job["weights"]:
        words.append(f"model.pretrained={job['weights']}")
    if job["size"]:
        words.append("data.image_size=[{},{}]".format(*job["size"]))
    ttfnet("fit", job["data"], "--minutes", str(job["minutes"]), "--work-dir", str(run), *words)
    return run


def main() -> None:
    """One run."""
    job = read_job()
    folder = Path(job["folder"])
    run = fit(job, folder) if job["settings"]["recipe"] == "fit" else train_recipe(job, folder)
    lines = [line for line in metrics_of(run) if "training_seconds" in line]
    # The last weights, as of every system here; `RUN` alone would be the best by AP on the validation images.
    last = max((run / "checkpoints").glob("step-*.index"), key=lambda path: int(path.stem.partition("-")[2])).with_suffix("")
    val = [f"data.val.{key}={job['val'][key]}" for key in ("annotations", "images")]
    ttfnet("evaluate", str(last), "--out", str(folder / "evaluated"), f"decode.score_threshold={SCORE}", f"decode.top_k={MOST}", *val)

    from ttfnet_tf import __version__
    from ttfnet_tf.runs.checkpoint import load_run

    loaded = load_run(last)
    size, batch = loaded.config.data.size, loaded.config.train.batch_size
    write_result(
        job,
        json.loads((folder / "evaluated" / "detections.json").read_text(encoding="utf-8")),
        version=__version__,
        seconds=lines[-1]["training_seconds"],
        images=lines[-1]["step"] * batch,
        parameters=int(loaded.model.count_params()),
        input="{}x{}".format(*size),
        batch=batch,
    )


if __name__ == "__main__":
    main()
