"""A stand-in for training, for tests about the order of runs and the files they write."""

import json
from types import SimpleNamespace

from ttfnet_tf.errors import DivergenceError


class Trainer:
    """Writes the files that training would, with an AP by cell and seed."""

    def __init__(self, precision, stop_at=None, diverge=()):
        self.precision, self.stop_at, self.diverge, self.calls = precision, stop_at, diverge, []

    def __call__(self, config, folder):
        name = folder.parent.name
        self.calls.append(f"{name}{config.train.seed}")
        folder.mkdir(parents=True, exist_ok=True)
        if name in self.diverge:
            (folder / "metrics.jsonl").write_text('{"step": 10, "epoch": 0.1, "loss": 3.0, "images_per_second": 8.0}\n')
            raise DivergenceError(f"{folder}: the loss is nan at step 20; lower optim.lr")
        if self.calls[-1] == self.stop_at:
            (folder / "metrics.jsonl").write_text('{"step": 10, "epoch": 1.0, "AP": 0.01, "AP50": 0.02}\n')
            return SimpleNamespace(finished=False, step=10)
        ap = self.precision[name] + config.train.seed / 100
        lines = [
            {"step": 90, "epoch": 1.0, "loss": 2.0, "images_per_second": 2.0},
            {"step": 90, "epoch": 1.0, "AP": ap / 2, "AP50": ap},
            {"step": 180, "epoch": 2.0, "loss": 1.0, "images_per_second": 4.0},
            {"step": 180, "epoch": 2.0, "AP": ap, "AP50": 2 * ap},
        ]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return SimpleNamespace(finished=True, step=180)


PRECISION = {"a": 0.302, "b": 0.314, "c": 0.25}
