"""What `train.precision: auto` trains in: bfloat16 where the devices have it and it is faster, else float32."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import tensorflow as tf

from ttfnet_tf.processor import bfloat16_unit
from ttfnet_tf.training.devices import any_worker, trains_on_gpus

FIRST_CAPABILITY = (8, 0)  # of NVIDIA GPUs with bfloat16 tensor cores: Ampere
_WORTH = 0.75  # of float32's time that a convolution may take; above it the casts around it eat the gain
_ROUNDS = 5
_CONV = (4, 64, 64, 128)  # images, height, width, channels of the measured convolution: the second stage of ResNet-18 at 512 px
CONVOLUTION_FLOPS = 3 * 2 * _CONV[0] * _CONV[1] * _CONV[2] * 9 * _CONV[3] ** 2  # forward, and two gradients


def choose_precision(strategy: tf.distribute.Strategy, *, agree: bool) -> tuple[str, str]:
    """The precision for the devices of `strategy`.

    On a processor with bfloat16 units one convolution is measured in both precisions, forward and backward, which takes about a second.

    Args:
        strategy: of the run.
        agree: whether several workers must come to the same answer; bfloat16 then needs to be the choice of each.

    Returns:
        "float32" or "mixed_bfloat16", and the line that says so.
    """
    precision, reason = _of_gpus() if trains_on_gpus(strategy) else _of_processor()
    if agree and any_worker(strategy)(tf.constant(float(precision == "float32"))) and precision != "float32":
        precision, reason = "float32", "another worker is no faster in bfloat16"
    return precision, f"train.precision=auto: {precision} ({reason})"


def hint(strategy: tf.distribute.Strategy) -> str | None:
    """A line for a run in float32 whose devices have bfloat16 units, else None."""
    if trains_on_gpus(strategy):
        return None if _of_gpus()[0] == "float32" else "these GPUs have bfloat16 units; train.precision=auto uses them"
    if (unit := bfloat16_unit()) is None:
        return None
    return f"this processor has bfloat16 units ({unit}); train.precision=auto uses them if they are faster"


def measure_bfloat16() -> float:
    """Processor time of a 3x3 convolution and its gradients in bfloat16, as a fraction of that in float32: the least of some rounds."""
    calls = {dtype: convolution(dtype) for dtype in (tf.float32, tf.bfloat16)}
    times: dict[tf.DType, list[float]] = {dtype: [] for dtype in calls}
    for _ in range(_ROUNDS):
        for dtype, call in calls.items():
            start = time.process_time()
            call()
            times[dtype].append(time.process_time() - start)
    return min(times[tf.bfloat16]) / max(min(times[tf.float32]), 1e-9)


@contextlib.contextmanager
def tensor_float_32(enabled: bool) -> Iterator[None]:
    """Inside the block GPUs since Ampere may round the factors of float32 products to TF32 or may not; before and after it as it was."""
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(enabled)
    try:
        yield
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)


def _of_gpus() -> tuple[str, str]:
    """By the compute capability of all GPUs of this process, so that replicas of one run compute alike."""
    details = [tf.config.experimental.get_device_details(gpu) for gpu in tf.config.list_physical_devices("GPU")]
    oldest = min((one.get("compute_capability") or (0, 0) for one in details), default=(0, 0))
    name = f"compute capability {oldest[0]}.{oldest[1]}"
    if oldest >= FIRST_CAPABILITY:
        return "mixed_bfloat16", name
    return "float32", f"{name}; bfloat16 needs {FIRST_CAPABILITY[0]}.{FIRST_CAPABILITY[1]}"


def _of_processor() -> tuple[str, str]:
    unit = bfloat16_unit()
    if unit is None:
        return "float32", "this processor has no bfloat16 units"
    fraction = measure_bfloat16()
    precision = "mixed_bfloat16" if fraction <= _WORTH else "float32"
    return precision, f"{unit}: a convolution in bfloat16 takes {fraction:.2f} of its time in float32"


def convolution(dtype: tf.DType) -> Callable[[], object]:
    """A function that computes a 3x3 convolution and its gradients, traced and warm; `CONVOLUTION_FLOPS` operations."""
    random = tf.random.Generator.from_seed(0)  # not the global one: training has its own draws
    image = random.normal(_CONV)
    kernel = random.normal([3, 3, _CONV[-1], _CONV[-1]], stddev=0.03)

    @tf.function(autograph=False)
    def gradients():
        with tf.GradientTape() as tape:
            tape.watch([image, kernel])
            product = tf.nn.conv2d(tf.cast(image, dtype), tf.cast(kernel, dtype), strides=1, padding="SAME")
            total = tf.reduce_sum(tf.square(tf.cast(product, tf.float32)))
        return tape.gradient(total, [image, kernel])

    def call():
        return gradients()[1].numpy()

    call()  # traced and warm
    return call
