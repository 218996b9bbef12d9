"""The compiled call from images to boxes, with variable or constant weights."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.inference.predictor import predict_function
from ttfnet_tf.keras2 import keras
from ttfnet_tf.methods.ttfnet import decode_distances


@pytest.fixture(scope="module")
def predict():
    """predict(weights) -> (function, the variable of its network: the logit of every cell)."""
    decoded = functools.partial(decode_distances, image_size=(32, 32), top_k=3)

    def make(weights):
        image = keras.Input([32, 32, 3], name="image")
        cells = keras.layers.AveragePooling2D(4)(image)
        bias = keras.layers.Conv2D(2, 1, kernel_initializer="zeros", name="logits")
        model = keras.Model(image, {"heatmap": bias(cells), "box": tf.ones_like(cells[..., :1]) * tf.constant([1.0, 2.0, 3.0, 4.0])})
        return predict_function(model, decoded, image_size=(32, 32), batch_size=1, weights=weights), bias.bias

    return make


IMAGE = np.zeros([1, 32, 32, 3], np.uint8)


@pytest.mark.parametrize("weights", ["variables", "constants"])
def test_boxes_scores_and_classes(predict, weights):
    function, bias = predict(weights)
    found = function(IMAGE)
    assert {name: (tuple(value.shape), value.dtype) for name, value in found.items()} == {
        "boxes": ((1, 3, 4), tf.float32),
        "scores": ((1, 3), tf.float32),
        "classes": ((1, 3), tf.int32),
    }
    np.testing.assert_allclose(found["scores"], [[0.5] * 3])
    np.testing.assert_array_equal(found["boxes"][0, 0], [0, 0, 3, 4])
    bias.assign([-5.0, 2.0])
    after = function(IMAGE)
    expected = (1 / (1 + np.exp(-2.0)), 1) if weights == "variables" else (0.5, found["classes"][0, 0])
    np.testing.assert_allclose((after["scores"][0, 0], after["classes"][0, 0]), expected, rtol=1e-6)


def test_other_weights_are_refused(predict):
    with pytest.raises(ValueError, match="variables or constants, received 'both'"):
        predict("both")
