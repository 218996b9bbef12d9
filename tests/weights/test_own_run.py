"""A run of one's own as pretrained weights, for other classes."""

import os
import shutil
from importlib.util import find_spec

import networks
import numpy as np
import pytest
import small_run

from ttfnet_tf import build
from ttfnet_tf.config import load_config
from ttfnet_tf.errors import UserError
from ttfnet_tf.export.saved_model import export_saved_model
from ttfnet_tf.models.parameters import named_buffers, named_parameters
from ttfnet_tf.runs.checkpoint import load_run
from ttfnet_tf.weights.load import read_source
from ttfnet_tf.weights.pretrained import load_pretrained_of

KERAS_CV_WORKS = find_spec("keras_cv") is not None and (find_spec("tf_keras") is None or os.environ.get("TF_USE_LEGACY_KERAS") == "1")
NETWORKS = {
    "deformable": (),
    "plain neck": ("model.neck=plain",),
    "centernet": ("model.method=centernet", "targets.area=gaussian"),
    **({"keras-cv": ("model.neck=plain", "model.backbone=keras_cv/mobilenet_v3_small")} if KERAS_CV_WORKS else {}),
}


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    networks.narrow(monkeypatch)


def values(model):
    return {name: variable.numpy() for name, variable in {**named_parameters(model), **named_buffers(model)}.items()}


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [pytest.param(one, id=name) for name, one in NETWORKS.items()])
def test_all_but_the_last_layers_come_from_the_run(tmp_path, overrides):
    run = small_run.write_run(tmp_path / "run", overrides=overrides)
    trained = values(load_run(run).model)
    for source in (run, run / "checkpoints/step-7", run / "checkpoints/step-7.index"):
        config = load_config(tmp_path / "run.yaml", [*overrides, f"model.pretrained={source}", "train.seed=9"])
        model = build.model_of(config, 5)  # the run has three classes
        report = load_pretrained_of(config, model)
        assert "tensors matched" in report
        found = values(model)
        new = {name for name in trained if found[name].shape != trained[name].shape}
        assert new
        assert all(".hm." in name or "heatmap" in name for name in new), new
        for name in trained.keys() - new:
            np.testing.assert_array_equal(found[name], trained[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("network", [name for name in NETWORKS if name in ("plain neck", "keras-cv")])
def test_an_edge_network_keeps_its_classes_for_a_new_one(tmp_path, network):
    """Cat, dog and bird of the run stand at other places, beside a new class; from the run and from its SavedModel."""
    overrides = NETWORKS[network]
    run = small_run.write_run(tmp_path / "run", overrides=overrides)
    trained = values(load_run(run).model)
    export_saved_model(load_run(run), tmp_path / "models", name="m", precision="fp32")
    for source in (run, tmp_path / "models/m"):
        config = load_config(tmp_path / "run.yaml", [*overrides, f"model.pretrained={source}", "train.seed=9"])
        model = build.model_of(config, 4)
        before = values(model)
        report = load_pretrained_of(config, model, ("dog", "star", "cat", "bird"))
        assert report.splitlines()[-1] == "  3 of 4 classes keep their rows of the heads; new: star"
        found = values(model)
        for name, own in found.items():
            if ".hm.1." not in name:
                np.testing.assert_array_equal(own, trained[name], err_msg=name)
                continue
            np.testing.assert_array_equal(own[..., [0, 2, 3]], trained[name][..., [1, 0, 2]], err_msg=name)
            np.testing.assert_array_equal(own[..., 1], before[name][..., 1], err_msg=name)


@pytest.mark.slow
def test_the_averages_are_taken_and_a_damaged_run_is_one_line(tmp_path):
    run = small_run.write_run(tmp_path / "run")
    tensors = read_source(run).tensors
    trained = values(load_run(run).model)
    np.testing.assert_array_equal(tensors["bbox_head.hm.1.bias"], trained["bbox_head.hm.1.bias"])
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(UserError, match="holds no checkpoint"):
        read_source(run)
