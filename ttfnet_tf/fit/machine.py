"""What the machine can do: how fast it convolves, and how much memory is free.

Run as a program, this module prints it as one line of JSON: for a caller that must not take the memory of a GPU itself.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable

import tensorflow as tf

from ttfnet_tf.data.image_cache import free_memory
from ttfnet_tf.fit.decide import MachineFacts
from ttfnet_tf.json_text import json_text
from ttfnet_tf.processor import bfloat16_unit
from ttfnet_tf.training.choose_precision import CONVOLUTION_FLOPS, convolution

# Floating-point operations of a convolution that take as long as a training step of TTFNet-18 for a pixel of an image, beside
# `decide.OVERHEAD`: by steps and convolutions timed on one machine with two cores. The run itself measures its steps.
_FLOPS_OF_A_PIXEL = 450e3
# Part of a step's time in float32 that bfloat16 does not shorten. Of a step of 8 images of about 256 px: on AMX, where a convolution takes
# .27 of its time, .37 measured and .37 by this; on AVX512-BF16, where it takes .50, .58 and .57.
_NOT_SHORTER = 0.14
_ROUNDS = 8  # at least
_WHILE = 1.0  # seconds, at least


def describe_machine() -> MachineFacts:
    """Times a convolution and its gradients, in bfloat16 too where the processor has units for it; some seconds."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    seconds = _seconds(convolution(tf.float32))
    if gpus or bfloat16_unit():
        seconds = min(seconds, _NOT_SHORTER * seconds + (1 - _NOT_SHORTER) * _seconds(convolution(tf.bfloat16)))
    devices = max(gpus, 1)
    return MachineFacts(_FLOPS_OF_A_PIXEL * seconds / CONVOLUTION_FLOPS / devices, gpus > 0, free_memory(), devices)


def _seconds(call: Callable[[], object]) -> float:
    """Of one call, the median over a while.

    What others take of the machine counts: with an input that is too large for the time that is left the AP is far lower, with one that
    is smaller than it could be a little.
    """
    times: list[float] = []
    while len(times) < _ROUNDS or sum(times) < _WHILE:
        start = time.monotonic()
        call()
        times.append(time.monotonic() - start)
    return statistics.median(times)


if __name__ == "__main__":
    print(json_text(dataclasses.asdict(describe_machine())))
