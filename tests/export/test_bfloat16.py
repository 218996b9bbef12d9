"""A SavedModel in bfloat16: smaller, float32 outside, the same in every batch, and close to the run."""

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.export.saved_model import export_saved_model
from ttfnet_tf.inference.detector import Detector
from ttfnet_tf.inference.exported_model import find_exported
from ttfnet_tf.runs.checkpoint import load_run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(trained):
    return load_run(trained)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    return export_saved_model(run, tmp_path_factory.mktemp("bf16"), name="shapes", precision="bf16")


def test_it_lies_beside_the_model_in_float32_and_says_what_it_is(exported):
    assert exported.parent.name == "shapes_bf16"
    card = find_exported(exported).card
    assert (card["name"], card["precision"], card["kind"]) == ("shapes_bf16", "bfloat16", "saved_model")


def test_kernels_are_bfloat16_and_all_else_float32(exported, run):
    weights = tf.saved_model.load(str(exported)).weights
    names = {tuple(variable.shape): variable.dtype for variable in weights}
    kernels = {dtype for shape, dtype in names.items() if len(shape) == 4}
    assert kernels == {tf.bfloat16}
    assert {dtype for shape, dtype in names.items() if len(shape) < 4} == {tf.float32}
    assert len(weights) == len(run.model.variables)


def test_detections_are_close_to_those_of_the_run_and_the_same_in_every_batch(exported, trained, files):
    truth, found = Detector.load(trained, score_threshold=0.3), Detector.load(exported, score_threshold=0.2)
    images = [content for name, content in files.items() if name.startswith("colour")]
    compared = 0
    for content in images:
        expected, ours = truth(content), found(content)
        for box, score, label in zip(expected.boxes, expected.scores, expected.class_ids):
            same = [one for one in range(len(ours)) if ours.class_ids[one] == label and np.abs(ours.boxes[one] - box).max() < 4]
            assert same, f"no box near {box}"
            assert abs(ours.scores[same[0]] - score) < 0.1  # bfloat16 keeps 8 bits of a number
            compared += 1
    assert compared
    serve = tf.saved_model.load(str(exported)).signatures["preprocessed"]
    random = np.random.default_rng(0).uniform(0, 255, (3, *serve.structured_input_signature[1]["images"].shape[1:])).astype(np.float32)
    together = serve(images=tf.constant(random))
    assert {one.dtype for one in together.values()} == {tf.float32}
    for row in range(3):
        alone = serve(images=tf.constant(random[row : row + 1]))
        np.testing.assert_allclose(alone["detection_scores"][0], together["detection_scores"][row], rtol=0, atol=1e-3)
