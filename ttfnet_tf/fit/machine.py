"""What the machine can do: how fast it convolves, and how much memory is free.

Run as a program, this module prints it as one line of JSON: for a caller that must not take the memory of a GPU itself.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable

import tensorflow as tf

from ttfnet_tf.data.image_cache import free_memory
from ttfnet_tf.fit.decide import MachineFacts
from ttfnet_tf.json_text import json_text
from ttfnet_tf.training.choose_precision import CONVOLUTION_FLOPS, bfloat16_unit, convolution

# Floating-point operations of a convolution that take as long as a training step of TTFNet-18 for a pixel of an image, beside
# `decide.OVERHEAD`: by steps and convolutions timed on one machine with two cores. The run itself measures its steps.
_FLOPS_OF_A_PIXEL = 265e3
_ROUNDS = 8


def describe_machine() -> MachineFacts:
    """Times a convolution and its gradients, in bfloat16 too where the processor has units for it; a second or two."""
    gpus = len(tf.config.list_physical_devices("GPU"))
    types = [tf.float32, tf.bfloat16] if gpus or bfloat16_unit() else [tf.float32]
    seconds = min(_seconds(convolution(one), on_gpu=gpus > 0) for one in types)
    devices = max(gpus, 1)
    return MachineFacts(_FLOPS_OF_A_PIXEL * seconds / CONVOLUTION_FLOPS / devices, gpus > 0, free_memory(), devices)


def _seconds(call: Callable[[], object], *, on_gpu: bool) -> float:
    """Of one call: the least of some rounds. On a CPU without what others take of it at this moment, down to half of the time."""
    walls, processors = [], []
    for _ in range(_ROUNDS):
        start, start_of_process = time.monotonic(), time.process_time()
        call()
        walls.append(time.monotonic() - start)
        processors.append(time.process_time() - start_of_process)
    wall = min(walls)
    return wall if on_gpu else min(wall, max(min(processors) / (os.cpu_count() or 1), wall / 2))


if __name__ == "__main__":
    print(json_text(dataclasses.asdict(describe_machine())))
