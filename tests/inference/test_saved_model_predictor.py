"""What TensorFlow prints while a SavedModel is loaded and called for the first time stays off the terminal."""

import logging
import os

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.inference.saved_model_predictor import SavedModelPredictor


class _Model:
    """One box per image; its calls write as TensorFlow's libraries do."""

    def __init__(self):
        self.signatures = {"serving_default": self._call}

    def _call(self, input_tensor):
        os.write(2, b"a line of a library\n")
        count = len(input_tensor)
        box = tf.constant([[[0.25, 0.5, 0.75, 1.0]]] * count)
        return {"detection_boxes": box, "detection_scores": tf.ones([count, 1]), "detection_classes": tf.fill([count, 1], 8.0)}


@pytest.fixture
def load(monkeypatch):
    logger = logging.getLogger("absl")
    handler = logging.StreamHandler()
    monkeypatch.setattr(handler, "emit", lambda record: os.write(2, f"{record.getMessage()}\n".encode()))
    monkeypatch.setattr(logger, "handlers", [handler])

    def stand_in(folder):
        logger.warning("advice")
        return _Model()

    monkeypatch.setattr(tf.saved_model, "load", stand_in)
    return lambda: SavedModelPredictor("x", image_size=(64, 96), category_ids=(3, 8))


def test_loading_and_the_first_call_are_quiet(load, capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    predict = load()
    found = predict(np.zeros([2, 64, 96, 3], np.uint8))
    assert capfd.readouterr().err == ""
    np.testing.assert_allclose(found["boxes"], [[[48, 16, 96, 48]]] * 2)
    assert found["classes"].numpy().tolist() == [[1], [1]]
    predict(np.zeros([1, 64, 96, 3], np.uint8))
    assert capfd.readouterr().err == "a line of a library\n"
    assert logging.getLogger("absl").level != logging.ERROR


def test_debug_shows_everything(load, capfd, monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    load()(np.zeros([1, 64, 96, 3], np.uint8))
    assert capfd.readouterr().err == "advice\na line of a library\n"
