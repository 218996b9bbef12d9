"""A data set, and a machine with a clock of its own on which trials take no time."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from stub_study import Machine

from ttfnet_tf.fit import run as fit_run
from ttfnet_tf.fit.decide import DataFacts, candidate_sizes
from ttfnet_tf.tune import run


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


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    ceilings = dict.fromkeys(candidate_sizes((96, 96)), 0.9)
    facts = DataFacts(20, 4, 0, (20,), (96, 96), ceilings)
    monkeypatch.setattr(fit_run, "describe_data", lambda *_, **__: facts)  # its ceilings need TensorFlow
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=made.monotonic, sleep=lambda seconds: None))
    return made
