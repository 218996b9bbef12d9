"""Detection on several replicas, and the batch that fits."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.inference.on_replicas import largest_batch

ROOT = Path(__file__).resolve().parents[2]


def _make(limit, tried):
    """Functions that take `limit` images at most, as a GPU does."""

    def make(size):
        def function(images):
            tried.append(len(images))
            if len(images) > limit:
                raise tf.errors.ResourceExhaustedError(None, None, "out of memory")
            return size

        return function

    return make


@pytest.mark.parametrize(
    ("limit", "replicas", "size", "tried"), [(100, 1, 64, [64]), (40, 1, 32, [64, 32]), (40, 2, 16, [128, 64, 32]), (1, 1, 8, [64, 32, 16])]
)
def test_the_first_size_that_fits_is_taken(limit, replicas, size, tried):
    calls = []
    function, found = largest_batch(_make(limit, calls), (64, 32, 16, 8), image_size=(32, 32), replicas=replicas)
    assert found == size
    assert calls == tried
    if size > 8:
        assert function(np.zeros([1])) == size


def test_one_size_is_not_tried():
    calls = []
    assert largest_batch(_make(1, calls), [8], image_size=(32, 32), replicas=1)[1] == 8
    assert calls == []


TWO = """
import sys
sys.path.insert(0, {tests!r})
import networks, numpy as np, tensorflow as tf
from ttfnet_tf.inference.on_replicas import predict_on_replicas
from ttfnet_tf.inference.predictor import predict_function
from ttfnet_tf.methods.ttfnet import ttfnet
from ttfnet_tf.training.devices import build_strategy
strategy = build_strategy("mirrored", ["cpu:0", "cpu:1"])
settings = dict(backbone="tiny", width=8, neck_channels=(8, 8, 8), heatmap_head=(8, 1), box_head=(8, 1))
decode = ttfnet(image_size=(64, 64), num_classes=2, top_k=20).decode
images = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), np.uint8)
model = networks.build(2, **settings)
one = predict_function(model, decode, image_size=(64, 64), batch_size=8)
expected = [one(images[:8]), one(images[8:])]
with strategy.scope():
    copy = networks.build(2, **settings)
for target, source in zip(copy.variables, model.variables):
    target.assign(source)
found = predict_on_replicas(strategy, copy, decode, image_size=(64, 64), batch_size=8)(images)
for name, values in found.items():
    np.testing.assert_array_equal(values, np.concatenate([part[name] for part in expected]), err_msg=name)
print("equal", len(found))
"""


@pytest.mark.slow
def test_two_replicas_detect_what_one_does_bit_for_bit():
    """In a process of its own, which must start with two devices."""
    code = TWO.format(tests=str(ROOT / "tests"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.splitlines()[-1:] == ["equal 3"], done.stderr[-2000:]
