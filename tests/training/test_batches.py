"""The batches of a training: one replica on a CPU reads them without the iterator whose deletion may wait for a minute."""

import numpy as np
import pytest
import tensorflow as tf
from small_coco import write_coco_file

from ttfnet_tf.config import load_config
from ttfnet_tf.data.coco import load_coco
from ttfnet_tf.data.pipeline import ImageNotes
from ttfnet_tf.training.build import batches_of
from ttfnet_tf.training.devices import build_strategy
from ttfnet_tf.training.mixing import Mixing


@pytest.fixture
def batches(tmp_path):
    (tmp_path / "settings.yaml").write_text("{data: {image_size: [64, 64]}, train: {batch_size: 2}}")
    file = write_coco_file(tmp_path, 4, 64)
    config = load_config(tmp_path / "settings.yaml", [f"data.train.annotations={file}", f"data.train.images={tmp_path / 'images'}"])
    split = load_coco(file, tmp_path / "images", training=True)
    return lambda strategy: batches_of(config, strategy, split, ImageNotes(), Mixing())


def test_one_cpu_reads_a_dataset_without_a_tuning_thread(batches):
    dataset = batches(build_strategy("mirrored", ["cpu:0"]))(0)
    assert isinstance(dataset, tf.data.Dataset)
    assert dataset.options().autotune.enabled is False


def test_they_are_those_of_a_distributed_dataset(batches, monkeypatch):
    strategy = build_strategy("mirrored", ["cpu:0"])
    own = iter(batches(strategy)(1))
    monkeypatch.setattr("ttfnet_tf.training.build.trains_on_gpus", lambda strategy: True)
    distributed = batches(strategy)(1)
    assert not isinstance(distributed, tf.data.Dataset)
    for _, batch, other in zip(range(3), own, distributed):
        assert batch.keys() == other.keys()
        for name, values in batch.items():
            np.testing.assert_array_equal(values, strategy.experimental_local_results(other[name])[0])
