"""The published networks at their full width, each built once for all tests of a process (tests/conftest.py keeps those in one)."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator

NUM_CLASSES = 80
SYSTEMS = {
    "r18": {"backbone": "resnet18", "box_head": (64, 1)},
    "r34": {"backbone": "resnet34", "box_head": (64, 2)},
    "d53": {"backbone": "darknet53", "box_head": (64, 2)},
}


@functools.cache
def system(name: str):
    """TTFNet-18, -34 or -53 for COCO's 80 classes, with initial values, for tests that change nothing in it."""
    import networks

    return networks.build(NUM_CLASSES, **SYSTEMS[name])


@contextlib.contextmanager
def borrowed(name: str) -> Iterator:
    """The same network for tests that change its values; afterwards it has its initial ones again."""
    model = system(name)
    initial = [variable.numpy() for variable in model.variables]
    try:
        yield model
    finally:
        for variable, value in zip(model.variables, initial):
            variable.assign(value)
