"""Detection on every replica of a strategy at once, in batches as large as the memory of the devices takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from ttfnet_tf.inference.predictor import predict_function
from ttfnet_tf.keras2 import keras

CPU_BATCH = 8  # images of one call; larger ones are not faster on a CPU
GPU_BATCHES = (64, 32, 16, CPU_BATCH, 4, 2, 1)  # tried in this order

# The second and third come from libraries of the GPU that found no memory for themselves.
OUT_OF_MEMORY = (tf.errors.ResourceExhaustedError, tf.errors.InternalError, tf.errors.UnknownError)


def predict_on_replicas(
    strategy: tf.distribute.Strategy, model: keras.Model, decode: Callable, *, image_size: tuple[int, int], batch_size: int
) -> Callable:
    """As `predictor.predict_function`, for batches of `batch_size` images on each replica of the strategy that holds the model.

    Returns:
        Function of uint8 [N B, H, W, 3] on N replicas -> arrays [N B, ...], see `predict_function`.
    """
    if strategy.num_replicas_in_sync == 1:
        return predict_function(model, decode, image_size=image_size, batch_size=batch_size)

    @tf.function(autograph=False)
    def predict_everywhere(images):
        return strategy.run(lambda own: decode(model(own, training=False)), args=(images,))

    def call(images):
        parts = tf.split(images, strategy.num_replicas_in_sync)
        values = strategy.experimental_distribute_values_from_function(lambda context: parts[context.replica_id_in_sync_group])
        found = predict_everywhere(values)
        return {name: np.concatenate(strategy.experimental_local_results(value)) for name, value in found.items()}

    return call


def largest_batch(
    make: Callable[[int], Callable], sizes: Sequence[int], *, image_size: tuple[int, int], replicas: int
) -> tuple[Callable, int]:
    """The function for the first of `sizes` that fits into the memory of the devices, and that size.

    Args:
        make: images of a replica in one call -> function as of `predict_on_replicas`.
        sizes: in descending order; the last one is not tried, but taken.
        image_size: (H, W).
        replicas: N.
    """
    for size in sizes[:-1]:
        function = make(size)
        try:
            function(tf.zeros([replicas * size, *image_size, 3], tf.uint8))
            return function, size
        except OUT_OF_MEMORY:
            continue
    return make(sizes[-1]), sizes[-1]
