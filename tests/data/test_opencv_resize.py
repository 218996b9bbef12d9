"""The resize of the served graph against OpenCV's, which training uses."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.data.opencv_resize import resize, resize_image

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("function", [resize, resize_image])
@pytest.mark.parametrize("size", [(64, 96), (50, 33)])
def test_resize_equals_opencv_bit_for_bit(size, function):
    resized = tf.function(lambda image: function(image, size), input_signature=[tf.TensorSpec([None, None, 3], tf.uint8)], autograph=False)
    sizes = [(1, 1), (1, 40), (40, 1), (2, 3), size, (2 * size[0], 2 * size[1]), (size[0] - 1, size[1] + 1), (517, 389)]
    for height, width in [*sizes, *RNG.integers(1, 300, (25, 2))]:
        image = RNG.integers(0, 256, (height, width, 3), np.uint8)
        expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_array_equal(resized(image), expected, err_msg=f"{height} x {width}")


def test_a_batch_is_resized_like_its_images():
    images = RNG.integers(0, 256, (2, 20, 30, 3), np.uint8)
    expected = [cv2.resize(image, (32, 64)) for image in images]
    np.testing.assert_array_equal(resize(tf.constant(images), (64, 32)), expected)
