"""A data set, and a machine with a clock of its own on which trials take no time."""

from types import SimpleNamespace

import pytest
from small_coco import write_coco_file
from stub_study import Machine

from ttfnet_tf.fit import run as fit_run
from ttfnet_tf.fit.decide import DataFacts, candidate_sizes
from ttfnet_tf.tune import run


@pytest.fixture
def coco(tmp_path):
    """A COCO file of 24 images of 96 px, one box each."""
    return write_coco_file(tmp_path, 24, 96)


@pytest.fixture
def machine(monkeypatch):
    made = Machine()
    ceilings = dict.fromkeys(candidate_sizes((96, 96)), 0.9)
    facts = DataFacts(20, 4, 0, (20,), (96, 96), ceilings)
    monkeypatch.setattr(fit_run, "describe_data", lambda *_, **__: facts)  # its ceilings need TensorFlow
    monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=made.monotonic, sleep=lambda seconds: None))
    return made
