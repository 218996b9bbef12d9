"""Checks the geometry of sound boxes: the rules by which `data.coco` drops them, borders, sizes after resizing, and repeated boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ttfnet_tf.boxes import STRIDE, fitted_size
from ttfnet_tf.data.box_rules import geometry_fault
from ttfnet_tf.doctor.findings import Findings, Settings
from ttfnet_tf.doctor.inventory import Inventory, SoundBox
from ttfnet_tf.json_text import short_json

OUTSIDE = 0.5  # px beyond the border that are accepted: annotators round
ASPECT = 50  # longer over shorter side
_WHOLE = 0.995  # fraction of both sides of the image
_CODES = {  # of the faults that `data.box_rules` names
    "negative": "box-negative",
    "zero": "box-zero",
    "area": "area-zero",
    "small": "box-below-minimum",
    "outside": "box-outside",
}


def check_geometry(sound: Sequence[SoundBox], inventory: Inventory, findings: Findings, settings: Settings) -> None:
    """Checks the shape of every box; counts those that training uses into `inventory` and their images."""
    repeats = RepeatedBoxes(inventory.categories)
    for box in sound:
        bbox, area, size = box.annotation["bbox"], box.annotation.get("area"), box.image.size

        def add(code, detail="", *, box=box, **more):
            detail = f"bbox {short_json(box.annotation['bbox'])}{detail}"
            findings.add(code, "annotations", box.position, **box.about, detail=detail, **more)

        fault = geometry_fault(bbox, area, size, settings.min_box_size)
        if fault:
            add(_CODES[fault], {"area": f", area {area}", "outside": f" in an image of {box.image.size_text}"}.get(fault, ""))
            continue
        box.image.usable += 1
        inventory.boxes[box.annotation["category_id"]] += 1
        _check_shape(bbox, area, box, settings, add)
        repeats.check(box, add)


def _check_shape(bbox: Sequence[float], area: float | None, box: SoundBox, settings: Settings, add) -> None:
    x, y, width, height = bbox
    bottom, right = box.image.size
    beyond = max(-x, -y, x + width - right, y + height - bottom)
    if beyond > OUTSIDE:
        add("box-partly-outside", f" leaves its image of {box.image.size_text} by {beyond:.4g} px")
    fitted = fitted_size(box.image.size, settings.image_size, settings.keep_ratio)
    resized = width * fitted[1] / right, height * fitted[0] / bottom
    if min(resized) < STRIDE:
        code = "box-below-pixel" if min(resized) < 1 else "box-below-cell"
        add(code, f" is {resized[0]:.3g} x {resized[1]:.3g} px after resizing")
    if max(width, height) > ASPECT * min(width, height):
        add("box-aspect")
    if width >= _WHOLE * right and height >= _WHOLE * bottom:
        add("box-whole-image")
    if area is not None and area > 1.01 * width * height + 1:
        add("area-too-large", f" has {width * height:.6g} px, its area is {area:.6g}")


class RepeatedBoxes:
    """The rule for duplicate boxes: the same four numbers in one image, with the same class or with another.

    Args:
        categories: names by id, for the details of findings.
    """

    def __init__(self, categories: Mapping[int, str]):
        self._names = categories
        self._seen: dict[tuple, dict[int, int]] = {}  # (image id, x, y, width, height) -> {category id: position of the first}

    def check(self, box: SoundBox, add) -> None:
        """Compares a box with all before it."""
        category = box.annotation["category_id"]
        classes = self._seen.setdefault((box.image.id, *box.annotation["bbox"]), {})
        if category in classes:
            add("box-twice", other=classes[category])
        elif classes:
            names = " and ".join(f"'{self._names[one]}'" for one in [*classes, category])
            add("box-two-classes", f" is {names}")
        classes.setdefault(category, box.position)
