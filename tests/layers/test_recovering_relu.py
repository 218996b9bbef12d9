"""The ReLU of the box head that gradients can bring back."""

import numpy as np
import pytest
import tensorflow as tf

from ttfnet_tf.layers.recovering_relu import RecoveringReLU
from ttfnet_tf.methods.ttfnet import ttfnet, ttfnet_heads
from ttfnet_tf.models.detector import build_model

VALUES = [-3.0, -1e-30, 0.0, 1e-30, 2.0, np.inf, -np.inf]


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("training", [True, False, None])
def test_the_output_is_that_of_a_relu(dtype, training):
    x = tf.cast(tf.constant(VALUES), dtype)
    np.testing.assert_array_equal(RecoveringReLU(dtype=dtype)(x, training=training), tf.nn.relu(x))


@pytest.mark.parametrize(
    ("x", "grad", "expected"),
    [
        (2.0, 5.0, 5.0),  # above 0 as a ReLU
        (2.0, -5.0, -5.0),
        (-2.0, 5.0, 0.0),  # a step against it would push the input further down
        (-2.0, -5.0, -5.0),  # a step against it raises the input
        (0.0, 5.0, 0.0),
        (0.0, -5.0, -5.0),
        (-2.0, 0.0, 0.0),
    ],
)
def test_the_gradient_passes_below_0_only_where_it_raises_the_input(x, grad, expected):
    value = tf.Variable([x])
    with tf.GradientTape() as tape:
        loss = grad * RecoveringReLU()(value, training=True)
    assert tape.gradient(loss, value).numpy().tolist() == [expected]


def _box_losses_of_a_dead_head(box_gradient, steps=60):
    """The box loss while a head trains whose bias one step had pushed to -0.5."""
    method = ttfnet(image_size=(32, 32), num_classes=1)
    heads = lambda x, classes, seed: ttfnet_heads(  # noqa: E731
        x, classes, heatmap_head=(4, 1), box_head=(4, 1), box_gradient=box_gradient, seed=seed
    )
    model = build_model(1, heads=heads, neck_channels=(4, 4, 4), shortcut=(0, 0, 0), neck="plain", width=8, image_size=(32, 32))
    head = model.get_layer("bbox_head.wh.1")
    head.bias.assign(tf.fill([4], -0.5))
    image = tf.random.stateless_uniform([2, 32, 32, 3], [0, 1]) * 255
    targets = method.render(tf.constant([[[4.0, 4.0, 27.0, 27.0]]] * 2), tf.constant([[0]] * 2))
    losses = []

    @tf.function(autograph=False)
    def step():
        with tf.GradientTape() as tape:
            loss = method.losses(model(image, training=True), targets)["box_loss"]
        return loss, tape.gradient(loss, head.bias)

    for _ in range(steps):
        loss, gradient = step()
        head.bias.assign_sub(0.2 * gradient)
        losses.append(float(loss))
    return losses


@pytest.mark.slow
def test_a_dead_head_stays_dead_with_a_relu_and_recovers_with_this_one():
    dead, alive = (_box_losses_of_a_dead_head(kind) for kind in ("relu", "recover"))
    assert dead[0] == alive[0]
    assert dead[-1] == dead[0]
    assert alive[-1] < 0.8 * alive[0]
