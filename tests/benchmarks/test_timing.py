"""Times come from separate processes; an error in one is reported."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.benchmarks.timing import Times, best_runtime, time_in_turn
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.tflite_metadata import with_files


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A .tflite file with a model card that computes almost nothing."""

    @tf.function(input_signature=[tf.TensorSpec([1, 4, 6, 3], tf.uint8, name="image")], autograph=False)
    def sums(image):
        return {"total": tf.reduce_sum(tf.cast(image, tf.float32))}

    module = tf.Module()
    module.sums = sums
    content = tf.lite.TFLiteConverter.from_concrete_functions([sums.get_concrete_function()], module).convert()
    path = tmp_path_factory.mktemp("timing") / "model.tflite"
    card = {"classes": [{"name": "a", "category_id": 1}], "image_size": [4, 6], "score_threshold": 0.1, "top_k": 5}
    path.write_bytes(with_files(content, {"model_card.json": json.dumps({**card, "config": {}, "training": {"step": 1}})}))
    return path


@pytest.mark.slow
def test_every_model_is_called_in_every_round(model):
    rounds = []
    times = time_in_turn({"a": model, "b": model}, threads=1, repeats=3, runtime=best_runtime(), on_round=rounds.append)
    assert list(times) == ["a", "b"]
    assert [len(one.milliseconds) for one in times.values()] == [3, 3]
    assert all(0 < value < 1000 for one in times.values() for value in one.milliseconds)
    assert rounds == [1, 2, 3]


def test_processes_keep_off_the_gpu(monkeypatch):
    """Several of them beside the caller would share its memory."""
    real, seen = subprocess.Popen, []

    def ends_at_once(command, *, env, **options):
        seen.append(env["CUDA_VISIBLE_DEVICES"])
        return real([sys.executable, "-c", ""], env=env, **options)

    monkeypatch.setattr(subprocess, "Popen", ends_at_once)
    with pytest.raises(UserError, match="a: cannot be timed"):
        time_in_turn({"a": "a"}, threads=1, repeats=1)
    assert seen == ["-1"]


def test_an_error_in_a_process_is_reported(tmp_path):
    with pytest.raises(UserError, match=r"gone\.tflite: cannot be timed \(.*gone\.tflite: cannot be read \(No such file"):
        time_in_turn({"gone": tmp_path / "gone.tflite"}, threads=1, repeats=1)


def test_spread_is_three_percentiles():
    assert Times(tuple(np.arange(101.0))).spread == (10.0, 50.0, 90.0)
