"""Weights are found again although Keras numbers layers by what a process has built before."""

import os
from importlib.util import find_spec

import networks
import numpy as np
import pytest

from ttfnet_tf.errors import UserError
from ttfnet_tf.runs.checkpoint import read_weights, write_weights

SMALL = {"neck": "plain", "neck_channels": (8, 8, 8), "heatmap_head": (8, 1), "box_head": (8, 1), "image_size": (64, 64), "width": 8}
NUMBERED = ("keras_cv/mobilenet_v3_small", "keras_cv/csp_darknet_s")

pytestmark = [
    pytest.mark.skipif(find_spec("keras_cv") is None, reason="needs keras-cv"),
    pytest.mark.skipif(
        find_spec("tf_keras") is not None and os.environ.get("TF_USE_LEGACY_KERAS") != "1",
        reason="keras-cv takes Keras 2 only with TF_USE_LEGACY_KERAS=1",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("backbone", NUMBERED)
def test_a_later_network_of_the_process_takes_the_weights_of_an_earlier(backbone, tmp_path):
    first, second = (networks.build(3, backbone=backbone, seed=seed, **SMALL) for seed in (0, 1))
    assert {one.name for one in first.variables} != {one.name for one in second.variables}
    write_weights(first, tmp_path / "step-1")
    read_weights(second, tmp_path / "step-1", tmp_path)
    for ours, theirs in zip(first.variables, second.variables):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())


@pytest.mark.slow
def test_another_network_of_the_family_is_still_refused(tmp_path):
    write_weights(networks.build(3, backbone=NUMBERED[0], **SMALL), tmp_path / "step-1")
    other = networks.build(3, backbone=NUMBERED[0], **{**SMALL, "width": 16})
    with pytest.raises(UserError, match=r"step-1: does not fit config\.yaml and labels\.json of .* in the checkpoint and .* in the model"):
        read_weights(other, tmp_path / "step-1", tmp_path)
