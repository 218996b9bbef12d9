"""The 80 classes of COCO, for weights that come without annotations.

Reference: Lin et al., "Microsoft COCO", arXiv:1405.0312; `categories` of instances_val2017.json, whose ids have gaps.
"""

from __future__ import annotations

_NAMES = (
    "person, bicycle, car, motorcycle, airplane, bus, train, truck, boat, traffic light, fire hydrant, stop sign, parking meter, bench, "
    "bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe, backpack, umbrella, handbag, tie, suitcase, frisbee, skis, "
    "snowboard, sports ball, kite, baseball bat, baseball glove, skateboard, surfboard, tennis racket, bottle, wine glass, cup, fork, "
    "knife, spoon, bowl, banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake, chair, couch, potted plant, bed, "
    "dining table, toilet, tv, laptop, mouse, remote, keyboard, cell phone, microwave, oven, toaster, sink, refrigerator, book, clock, "
    "vase, scissors, teddy bear, hair drier, toothbrush"
)
_NOT_USED = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # ids of 1..90 that no category has

CLASS_NAMES = tuple(_NAMES.split(", "))
CATEGORY_IDS = tuple(number for number in range(1, 91) if number not in _NOT_USED)
