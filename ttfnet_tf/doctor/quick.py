"""The part of the check that training can afford before its first step: arrays only, no file is opened."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.doctor.annotations import IMBALANCE, OUTSIDE

_NAMES = 5  # classes that a line lists
_SHARE = 0.01  # of the boxes; below it a line about boxes would only be noise
_LEFT_OUT = 0.1  # of the boxes


def quick_check(train: CocoSplit, val: CocoSplit | None = None, *, image_size: tuple[int, int] = (512, 512)) -> list[str]:
    """Lines about what is likely to spoil a run; none for a sound data set. Under a second for COCO.

    Args:
        train: as `load_coco` gives it.
        val: of the same categories, if there is one.
        image_size: (H, W) of the input in pixels.
    """
    lines = []
    counts = _boxes_of_classes(train)
    never = np.flatnonzero(counts == 0)
    if len(never):
        lines.append(f"{len(never)} of {train.num_classes} classes have no training box: {_names(train, never)}")
    if counts.any():
        rare = np.flatnonzero((counts > 0) & (counts * IMBALANCE < counts.max()))
        if len(rare):
            rare, most = rare[np.argsort(counts[rare], kind="stable")], int(counts.argmax())
            lines.append(
                f"{len(rare)} classes have less than a hundredth of the {counts[most]} boxes of '{train.class_names[most]}': "
                f"{_names(train, rare, counts)}"
            )
    if val is not None and val.num_classes == train.num_classes:
        missing = np.flatnonzero((counts > 0) & (_boxes_of_classes(val) == 0))
        if len(missing):
            lines.append(f"{len(missing)} classes have no validation box, so no AP: {_names(train, missing)}")
        lines += _shared_files(train, val)
    return [f"{train.annotations}: {line}" for line in [*lines, *_about_boxes(train, image_size)]]


def _about_boxes(split: CocoSplit, image_size: tuple[int, int]) -> list[str]:
    images = [image for image in split.images if len(image.boxes)]
    left_out = sum(count for reason, count in split.dropped.items() if not reason.startswith("images"))
    total = sum(len(image.boxes) for image in images)
    lines = []
    if left_out > _LEFT_OUT * (total + left_out):
        lines.append(f"{left_out} of {total + left_out} boxes are left out, which teaches their objects as background")
    if not total:
        return lines
    numbers = [len(image.boxes) for image in images]
    index = np.repeat(np.arange(len(images)), numbers)
    boxes = np.concatenate([image.boxes for image in images])
    labels = np.concatenate([image.labels for image in images])
    limit = np.array([image.size[::-1] for image in images], np.float32)[index]  # [N, 2] width, height
    scale = np.array(image_size[::-1], np.float32) / limit
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    outside = ((boxes[:, :2] < -OUTSIDE) | (boxes[:, 2:] + 1 > limit + OUTSIDE)).any(axis=1)
    tiny = (sides * scale < 1).any(axis=1)
    again = _again(index * split.num_classes + labels, boxes)
    for mask, what in (
        (outside, "leave their image"),
        (tiny, "have a side below one pixel after resizing, where they are hardly to be found"),
        (again, "are given again with the same class"),
    ):
        if mask.mean() > _SHARE:
            example = images[index[mask.argmax()]]
            lines.append(f"{mask.sum()} of {total} boxes {what}, such as one in {example.path.name} (image id {example.id})")
    return lines


def _again(groups: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """bool [N]: whether a box equals another of its group that counts as the first; groups int [N], boxes float32 [N, 4]."""
    keys = groups.astype(np.uint64)
    for column in np.ascontiguousarray(boxes).view(np.uint64).T:  # two corners a column; a hash, so that one sort finds equals
        keys = (keys ^ column ^ (column >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(32)
    ordered = np.sort(keys)
    candidates = np.flatnonzero(np.isin(keys, ordered[1:][ordered[1:] == ordered[:-1]]))
    seen, again = set(), np.zeros(len(keys), bool)
    for k in candidates.tolist():
        row = (int(groups[k]), *boxes[k].tolist())
        again[k] = row in seen
        seen.add(row)
    return again


def _boxes_of_classes(split: CocoSplit) -> np.ndarray:
    labels = [image.labels for image in split.images] or [np.zeros(0, np.int32)]
    return np.bincount(np.concatenate(labels), minlength=split.num_classes)


def _shared_files(train: CocoSplit, val: CocoSplit) -> list[str]:
    theirs = {str(image.path) for image in val.images}
    shared = [image for image in train.images if str(image.path) in theirs]
    if not shared:
        return []
    example = f"{shared[0].path.name} (image id {shared[0].id})"
    return [f"{len(shared)} training images are validation images too, such as {example}: the AP measures memory"]


def _names(split: CocoSplit, classes: Sequence[int], counts: np.ndarray | None = None) -> str:
    shown = [split.class_names[k] + (f" {counts[k]}" if counts is not None else "") for k in classes[:_NAMES]]
    return ", ".join(shown) + (", ..." if len(classes) > _NAMES else "")
