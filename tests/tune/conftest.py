"""A data set, and a machine with a clock of its own on which trials take no time."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ttfnet_tf.config import dump_config, load_config
from ttfnet_tf.fit import run as fit_run
from ttfnet_tf.fit.decide import DataFacts, MachineFacts, candidate_sizes
from ttfnet_tf.tune import run, trial_process


@pytest.fixture
def coco(tmp_path):
    """A COCO file of 24 images of 96 px, one box each."""
    (tmp_path / "images").mkdir()
    for k in range(24):
        Image.fromarray(np.random.default_rng(k).integers(0, 255, (96, 96, 3)).astype(np.uint8)).save(tmp_path / f"images/{k}.png")
    content = {
        "images": [{"id": k, "file_name": f"{k}.png", "height": 96, "width": 96} for k in range(24)],
        "annotations": [{"id": k + 1, "image_id": k, "category_id": 1, "bbox": [4, 4, 20, 30], "area": 600} for k in range(24)],
        "categories": [{"id": 1, "name": "a"}],
    }
    (tmp_path / "all.json").write_text(json.dumps(content))
    return tmp_path / "all.json"


class Machine:
    """Stands in for processes that train: the AP rises linearly with the time, to a value that depends on the settings."""

    def __init__(self):
        self.now = 1000.0
        self.began = []  # (folder, seconds)
        self.average_precision = lambda config: 0.5
        self.at = {}  # name of a run -> what happens in the middle of it

    def monotonic(self):
        return self.now

    def facts(self):
        return MachineFacts(1e-7, False, 1 << 30)

    def run(self, file, folder, watch):
        config, start = load_config(file), self.now
        seconds = 60 * config.train.minutes
        self.began.append((folder.name, self.now))
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        done = float((folder / "checkpoints/checkpoint").read_text()) if (folder / "checkpoints/checkpoint").exists() else 0.0
        while done < seconds - 1e-6:
            self.now += seconds / 20
            done += seconds / 20
            figure = self.average_precision(config) * done / seconds
            with open(folder / "metrics.jsonl", "a") as lines:
                lines.write(json.dumps({"step": round(done), "epoch": 1.0, "AP": figure}) + "\n")
            (folder / "checkpoints/checkpoint").write_text(f"{done}")
            if (asked := watch(self.now - start)) is not None:
                return trial_process.Ended(trial_process.STOPPED, self.now - start, asked)
            if done > seconds / 2 and folder.name in self.at:
                ended = self.at.pop(folder.name)()
                if ended is not None:
                    return ended
        (folder / "repeat.yaml").write_text("# Repeats this run\n" + dump_config(_without_clock(file)))
        return trial_process.Ended(0, self.now - start, None)


def _without_clock(file):
    return load_config(file, ["train.minutes=0", "train.steps=40", "optim.cooldown_bends=[30,0.5]"])


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    ceilings = dict.fromkeys(candidate_sizes((96, 96)), 0.9)
    facts = DataFacts(20, 4, 0, (20,), (96, 96), ceilings)
    monkeypatch.setattr(fit_run, "describe_data", lambda *_, **__: facts)  # its ceilings need TensorFlow
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=made.monotonic, sleep=lambda seconds: None))
    return made
