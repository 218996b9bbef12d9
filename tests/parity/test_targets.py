"""The three target back-ends against maps recorded from the official implementation."""

import functools
import json
import re

import golden
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.methods.targets import paint_targets
from ttfnet_tf.methods.targets_tf import render_targets

pytestmark = pytest.mark.parity


def _assert_equal(maps, case, arrays):
    accepted = golden.dense_targets(case, arrays)
    # The recorded order of equal boxes is chance: where it matters, the maps must be those of one of the two orders.
    match = [a for a in accepted if np.array_equal(maps["box_target"], a["box_target"])]
    expected = match[0] if match else accepted[0]
    np.testing.assert_array_equal(maps["box_target"], expected["box_target"])
    np.testing.assert_allclose(maps["heatmap"], expected["heatmap"], rtol=0, atol=1e-5)
    np.testing.assert_array_equal(maps["heatmap"] == 1.0, expected["heatmap"] == 1.0)
    np.testing.assert_allclose(maps["box_weight"], expected["box_weight"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", golden.cases("targets"))
def test_numpy(case):
    arrays = golden.arrays_of("targets", case)
    maps = paint_targets(arrays["boxes"], arrays["labels"] - 1, **golden.target_keywords(case))
    _assert_equal(maps, case, arrays)


# `make test` traces one of the settings that differ in beta alone, and puts none into tf.data; `make parity` has all of them.
OTHER_BETAS = re.compile(r"(gauss|rect)_b(?!0\.3$)")


def _by_settings(is_slow):
    """Cases that one traced function can draw, with the name of their settings; `is_slow` of the name says which are marked so."""
    groups = {}
    for case in golden.load("targets")[0]:
        key = json.dumps(golden.target_keywords(case))
        groups.setdefault(key, []).append(case)
    return [
        pytest.param(
            cases,
            id=f"{cases[0]['setting_name']}-{cases[0]['input_h']}x{cases[0]['input_w']}-{cases[0]['num_fg']}",
            marks=[pytest.mark.slow] * bool(is_slow(cases[0]["setting_name"])),
        )
        for cases in groups.values()
    ]


def _padded(cases):
    """Boxes [n, M, 4] and labels [n, M] of all cases; the padding has boxes too, which must not be seen."""
    arrays = [golden.arrays_of("targets", case) for case in cases]
    most = max(len(a["labels"]) for a in arrays) + 1
    boxes, labels = np.full((len(cases), most, 4), [8, 8, 90, 70], np.float32), np.full((len(cases), most), -1, np.int32)
    for row, a in enumerate(arrays):
        boxes[row, : len(a["boxes"])], labels[row, : len(a["labels"])] = a["boxes"], a["labels"] - 1
    return boxes, labels, arrays


@pytest.fixture(scope="module")
def drawing():
    """drawing(cases) -> `render_targets` with their settings; in the device and in tf.data it is the same graph, traced once."""
    traced = {}

    def draw(cases):
        settings = golden.target_keywords(cases[0])
        signature = [tf.TensorSpec([None, None, 4], tf.float32), tf.TensorSpec([None, None], tf.int32)]
        return traced.setdefault(
            json.dumps(settings), tf.function(functools.partial(render_targets, **settings), signature, autograph=False)
        )

    return draw


@pytest.mark.slow
@pytest.mark.parametrize("cases", _by_settings(lambda _: True))
def test_graph(cases, drawing):
    boxes, labels, arrays = _padded(cases)
    draw = drawing(cases)
    dataset = tf.data.Dataset.from_tensor_slices((boxes, labels)).batch(4).map(draw).unbatch()
    drawn = 0
    for case, recorded, maps in zip(cases, arrays, dataset.as_numpy_iterator()):
        _assert_equal(maps, case, recorded)
        drawn += 1
    assert drawn == len(cases)


@pytest.mark.parametrize("cases", _by_settings(OTHER_BETAS.match))
def test_device(cases, drawing):
    boxes, labels, arrays = _padded(cases)
    draw = drawing(cases)
    for row, (case, recorded) in enumerate(zip(cases, arrays)):
        maps = draw(boxes[row : row + 1], labels[row : row + 1])
        _assert_equal({key: value[0].numpy() for key, value in maps.items()}, case, recorded)
