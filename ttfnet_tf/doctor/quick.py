"""The quick check before training: arrays only, no file is opened, under a second for COCO."""

from __future__ import annotations

import os

import numpy as np

from ttfnet_tf.data.classes import OTHER_CLASSES
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.doctor.box_geometry import OUTSIDE
from ttfnet_tf.doctor.usage import IMBALANCE

_NAMES = 5  # classes named in a line
_FEW = 0.01  # fraction of the boxes below which a line would only be noise
_MANY_DROPPED = 0.1  # fraction of the boxes


def quick_check(
    train: CocoSplit, val: CocoSplit | None = None, *, image_size: tuple[int, int] = (512, 512), keep_ratio: bool = False
) -> list[str]:
    """Lines about what is likely to spoil a run; none for a sound data set.

    Args:
        train: as `load_coco` returns it.
        val: of the same categories, if there is one.
        image_size: (H, W) of the input in pixels.
        keep_ratio: whether images keep their ratio, see `boxes.fitted_size`.
    """
    lines = list(train.remarks)
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
    return [f"{train.annotations}: {line}" for line in [*lines, *_about_boxes(train, image_size, keep_ratio)]]


def _about_boxes(split: CocoSplit, image_size: tuple[int, int], keep_ratio: bool) -> list[str]:
    images = split.images
    meant = ("images", "tiles", OTHER_CLASSES)  # no boxes, and boxes of classes that data.classes does not name
    dropped = sum(count for reason, count in split.dropped.items() if not reason.startswith(meant))
    total = len(images.boxes)
    lines = []
    if dropped > _MANY_DROPPED * (total + dropped):
        lines.append(f"{dropped} of {total + dropped} boxes are dropped, so their objects become background")
    if not total:
        return lines
    index = np.repeat(np.arange(len(images)), images.counts)
    boxes, labels = images.boxes, images.labels
    limit = images.sizes[:, ::-1].astype(np.float32)[index]  # [N, 2] width, height
    scale = np.array(image_size[::-1], np.float32) / limit
    scale = scale.min(axis=1, keepdims=True) if keep_ratio else scale
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    outside = ((boxes[:, :2] < -OUTSIDE) | (boxes[:, 2:] + 1 > limit + OUTSIDE)).any(axis=1)
    tiny = (sides * scale < 1).any(axis=1)
    repeated = _repeated(index * split.num_classes + labels, boxes)
    for mask, what in (
        (outside, "reach beyond their image"),
        (tiny, "have a side below one pixel after resizing and are hardly detectable"),
        (repeated, "are repeated with the same class"),
    ):
        if mask.mean() > _FEW:
            example = images[index[mask.argmax()]]
            lines.append(f"{mask.sum()} of {total} boxes {what}, such as one in {example.path.name} (image id {example.id})")
    return lines


def _repeated(groups: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """bool [N]: the box equals an earlier one of its group. Groups int [N], boxes float32 [N, 4]."""
    keys = groups.astype(np.uint64)
    for column in np.ascontiguousarray(boxes).view(np.uint64).T:  # two numbers in each column; a hash, so that one sort finds equal boxes
        keys = (keys ^ column ^ (column >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
        keys ^= keys >> np.uint64(32)
    ordered = np.sort(keys)
    candidates = np.flatnonzero(np.isin(keys, ordered[1:][ordered[1:] == ordered[:-1]]))
    seen, repeated = set(), np.zeros(len(keys), bool)
    for k in candidates.tolist():
        row = (int(groups[k]), *boxes[k].tolist())
        repeated[k] = row in seen
        seen.add(row)
    return repeated


def _boxes_of_classes(split: CocoSplit) -> np.ndarray:
    return np.bincount(split.images.labels, minlength=split.num_classes)


def _shared_files(train: CocoSplit, val: CocoSplit) -> list[str]:
    theirs = {os.path.normpath(val.images.file(index)) for index in range(len(val.images))}
    shared = [index for index in train.images.firsts() if os.path.normpath(train.images.file(index)) in theirs]
    if not shared:
        return []
    first = train.images[shared[0]]
    example = f"{first.path.name} (image id {first.id})"
    return [f"{len(shared)} training images are also validation images, such as {example}: the AP measures memory"]


def _names(split: CocoSplit, classes: np.ndarray, counts: np.ndarray | None = None) -> str:
    shown = [split.class_names[k] + (f" {counts[k]}" if counts is not None else "") for k in classes[:_NAMES]]
    return ", ".join(shown) + (", ..." if len(classes) > _NAMES else "")
