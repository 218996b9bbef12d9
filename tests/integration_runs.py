"""Runs of the real command on a few small synthetic images."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

TIMES = ("images_per_second", "data_wait", "training_seconds")
ROOT = Path(__file__).resolve().parent.parent


class Runs:
    """Starts `tools/train.py` on the small data set."""

    def __init__(self, shapes: Path, folder: Path):
        self.folder = folder
        self.config = folder / "config.yaml"
        self.config.write_text(
            json.dumps(
                {
                    "data": {
                        "train": {"annotations": str(shapes / "annotations/train.json"), "images": str(shapes / "train")},
                        "val": {"annotations": str(shapes / "annotations/val.json"), "images": str(shapes / "val")},
                        "image_size": [64, 64],
                    },
                    "model": {"frozen_stages": -1, "zero_init_residual": False, "batch_norm": "synchronized"},
                    "optim": {"lr": 0.002, "lr_batch_size": 4, "warmup_steps": 4, "drop_epochs": [2]},
                    "train": {"epochs": 4, "batch_size": 4, "precision": "float32", "log_every": 1, "summary_images": 0},
                }
            )
        )

    def start(
        self, name: str, *overrides: str, environment: dict[str, str] | None = None, script: str = "tools/train.py"
    ) -> subprocess.Popen:
        """A running training process; its output goes to <name>.log."""
        command = [sys.executable, str(ROOT / script), str(self.config), "--work-dir", str(self.folder / name), *overrides]
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}
            )

    def finish(self, name: str, *overrides: str) -> Path:
        """Runs to the end; returns the work directory."""
        code = self.start(name, *overrides).wait(timeout=240)
        assert code == 0, (self.folder / f"{name}.log").read_text()[-2000:]
        return self.folder / name


def metrics(work_dir: Path) -> list[dict]:
    """metrics.jsonl without what depends on the clock; everything else is a function of the settings."""
    lines = [json.loads(line) for line in (work_dir / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key not in TIMES} for line in lines]


def checkpoint(work_dir: Path) -> dict[str, np.ndarray]:
    """Every number of the latest checkpoint by its key."""
    reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(str(work_dir / "checkpoints")))
    return {
        key: reader.get_tensor(key)
        for key, dtype in reader.get_variable_to_dtype_map().items()
        if dtype != tf.string and not key.startswith("save_counter")
    }
