"""The published networks at their full width, each built once for all tests of a process, which change nothing in them."""

from __future__ import annotations

import functools

NUM_CLASSES = 80
SYSTEMS = {
    "r18": {"backbone": "resnet18", "box_head": (64, 1)},
    "r34": {"backbone": "resnet34", "box_head": (64, 2)},
    "d53": {"backbone": "darknet53", "box_head": (64, 2)},
}


@functools.cache
def system(name: str):
    """TTFNet-18, -34 or -53 for COCO's 80 classes, with initial values."""
    import networks

    return networks.build(NUM_CLASSES, **SYSTEMS[name])
