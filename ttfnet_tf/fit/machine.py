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
_ROUNDS = 8  # at least
_WHILE = 1.0  # seconds, at least


def describe_machine() -> MachineFacts:
    """Times a convolution and its gradients, in bfloat16 too where the processor has units for it; some seconds."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    types = [tf.float32, tf.bfloat16] if gpus or bfloat16_unit() else [tf.float32]
    seconds = min(_seconds(convolution(one)) for one in types)
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
