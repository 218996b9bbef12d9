"""Counts the images and boxes of a data set, by class and size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ttfnet_tf.data.coco import CocoSplit

SIZES = ("small", "medium", "large")
_LIMITS = (32**2, 96**2)  # COCO's limits of the area in original pixels: small is below the first, large from the second on


@dataclass(frozen=True)
class SplitSummary:
    """The counts of one split.

    Attributes:
        name: "train" or "val".
        annotations: path of the annotation file.
        images: number of images, without dropped ones.
        empty: number of images without a box.
        boxes: number of boxes, without dropped ones.
        by_class: class name -> numbers of small, medium and large boxes, by the area of the box in original pixels.
        sizes: "width x height" of the smallest and of the largest image.
        most_boxes, median_boxes: per image.
        dropped: reason -> number of dropped boxes or images.
    """

    name: str
    annotations: str
    images: int
    empty: int
    boxes: int
    by_class: Mapping[str, tuple[int, int, int]]
    sizes: tuple[str, str]
    most_boxes: int
    median_boxes: float
    dropped: Mapping[str, int]

    @property
    def by_size(self) -> tuple[int, int, int]:
        small, medium, large = (sum(counts[place] for counts in self.by_class.values()) for place in range(3))
        return small, medium, large


def summarise(name: str, split: CocoSplit) -> SplitSummary:
    """Counts the images and boxes of a split."""
    counts = np.zeros((split.num_classes, 3), np.int64)
    sides = split.images.boxes[:, 2:] - split.images.boxes[:, :2] + 1
    np.add.at(counts, (split.images.labels, np.digitize(sides[:, 0] * sides[:, 1], _LIMITS)), 1)
    numbers = split.images.counts.tolist()
    by_area = np.argsort(split.images.sizes.astype(np.float64).prod(axis=1), kind="stable")
    return SplitSummary(
        name=name,
        annotations=str(split.annotations),
        images=len(split.images),
        empty=numbers.count(0),
        boxes=sum(numbers),
        by_class={_label(split, k): (int(row[0]), int(row[1]), int(row[2])) for k, row in enumerate(counts)},
        sizes=(_size(split.images[by_area[0]].size), _size(split.images[by_area[-1]].size)),
        most_boxes=max(numbers),
        median_boxes=float(np.median(numbers)),
        dropped=dict(split.dropped),
    )


def unique_names(names: Sequence[str], ids: Sequence[int]) -> list[str]:
    """Class names; a name that an earlier class has gets its id added, as in `coco_metrics`: COCO files may repeat names."""
    return [f"{name} (id {number})" if name in names[:place] else name for place, (name, number) in enumerate(zip(names, ids))]


def _label(split: CocoSplit, k: int) -> str:
    return unique_names(split.class_names, split.category_ids)[k]


def _size(size: tuple[int, int]) -> str:
    return f"{size[1]} x {size[0]}"
