"""Statistics of the targets of a data set: object sizes, ambiguous cells, samples for each object, collisions.

No image is opened: boxes and image sizes come from the annotations. Boxes are resized and clipped as for training, without
augmentation. docs/targets.md explains the figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ttfnet_tf.boxes import STRIDE, fitted_size, resize_boxes
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.inspect.cell_assignment import assign_cells
from ttfnet_tf.methods.targets import box_areas, centre_cells, kernel_radii

SIZE_LIMITS = (32**2, 96**2)  # px of area: COCO's small objects lie below the first, large ones from the second on


@dataclass(frozen=True)
class TargetStatistics:
    """Statistics of one data set under one set of target settings.

    The centre cell of an object has its heatmap peak; its sub-area is the cells that regress its box.

    Attributes:
        images: in the data set.
        objects: boxes in them.
        most_objects: most objects in one image.
        small, medium, large: objects by area in the resized image (`SIZE_LIMITS`).
        below_cell: objects with a side shorter than a cell in the resized image.
        ambiguous: of the cells in any sub-area, the fraction (0..1) that lies in several; mean over images that have such cells. With
            one box for each class, each class is counted by itself.
        samples: cells that regress an object, mean over objects.
        same_class_collisions: objects that share their centre cell with another object of their class: one peak for both.
        collisions: objects that share their centre cell with another object of any class.
        radius_zero: objects whose heatmap kernel is a single cell.
        lost: objects that no cell regresses, because smaller ones cover them.
        centre_of_other: objects whose centre cell regresses another object.
        centre_untaught: objects whose centre cell regresses nothing.
    """

    images: int
    objects: int
    most_objects: int
    small: int
    medium: int
    large: int
    below_cell: int
    ambiguous: float
    samples: float
    same_class_collisions: int
    collisions: int
    radius_zero: int
    lost: int
    centre_of_other: int
    centre_untaught: int

    def table(self) -> str:
        """Text to print; percentages are of all objects."""

        def of_objects(count):
            return f"{count} ({100 * count / max(self.objects, 1):.2f} %)"

        sizes = ", ".join(f"{name} {of_objects(getattr(self, name))}" for name in ("small", "medium", "large"))
        rows = (
            ("objects", f"{self.objects} in {self.images} images, at most {self.most_objects} in one"),
            ("size after resize", sizes),
            ("below a cell", f"{of_objects(self.below_cell)} have a side shorter than a cell"),
            ("ambiguous samples", f"{100 * self.ambiguous:.2f} % of the cells of an image lie in several sub-areas"),
            ("samples", f"{self.samples:.1f} cells regress an object on average"),
            ("shared centre cells", f"{of_objects(self.same_class_collisions)} within a class, {of_objects(self.collisions)} over all"),
            ("radius 0", f"{of_objects(self.radius_zero)} have a heatmap kernel of one cell"),
            ("lost", f"{of_objects(self.lost)} keep no cell, smaller ones cover them"),
            ("centre cells", f"{of_objects(self.centre_of_other)} regress another object, {of_objects(self.centre_untaught)} none"),
        )
        return "\n".join(f"{name:20} {text}" for name, text in rows)


def measure_targets(
    split: CocoSplit,
    *,
    image_size: tuple[int, int],
    alpha: float = 0.54,
    beta: float = 0.54,
    area: str = "gaussian",
    kernel: str = "aspect",
    box_per_class: bool = False,
    stride: int = STRIDE,
    keep_ratio: bool = False,
    on_image: Callable[[int], None] | None = None,
) -> TargetStatistics:
    """Measures the targets of all images of a split; 5,000 images of COCO take a few seconds.

    Args:
        split: as `data.coco.load_coco` returns it; image files are not opened.
        image_size: (H, W) of the resized images in pixels.
        alpha, beta, area, kernel, box_per_class, stride: as in `targets.paint_targets`.
        keep_ratio: whether images keep their ratio, see `boxes.fitted_size`.
        on_image: called with the number of images done so far.
    """
    height, width = image_size[0] // stride, image_size[1] // stride
    count: Counter[str] = Counter()
    ratios, most_objects = [], 0
    settings: dict[str, Any] = {"beta": beta, "area": area, "kernel": kernel, "box_per_class": box_per_class, "stride": stride}
    for done, (boxes, labels) in enumerate(resized_objects(split, image_size, keep_ratio), start=1):
        assigned = assign_cells(boxes, labels, image_size=image_size, **settings)
        boxes, labels = boxes[assigned.order], labels[assigned.order]
        centres = centre_cells(boxes, stride)
        if assigned.covered:
            ratios.append(assigned.ambiguous / assigned.covered)
        cells = centres[:, 1] * width + centres[:, 0]
        owners, own = assigned.centre_owner, np.arange(len(boxes))
        small, medium, large = np.bincount(np.digitize(box_areas(boxes), SIZE_LIMITS), minlength=3)
        count.update(
            objects=len(boxes),
            small=small,
            medium=medium,
            large=large,
            below_cell=np.count_nonzero((boxes[:, 2:] - boxes[:, :2] + 1 < stride).any(axis=1)),
            samples=assigned.samples.sum(),
            same_class_collisions=_not_alone(labels * (height * width) + cells),
            collisions=_not_alone(cells),
            radius_zero=np.count_nonzero((kernel_radii(boxes, alpha, kernel, height, width, stride) == 0).all(axis=1)),
            lost=np.count_nonzero(assigned.samples == 0),
            centre_of_other=np.count_nonzero((owners >= 0) & (owners != own)),
            centre_untaught=np.count_nonzero(owners < 0),
        )
        most_objects = max(most_objects, len(boxes))
        if on_image is not None:
            on_image(done)
    samples = count.pop("samples", 0) / max(count["objects"], 1)
    return TargetStatistics(
        images=len(split.images),
        most_objects=most_objects,
        ambiguous=float(np.mean(ratios)) if ratios else 0.0,
        samples=float(samples),
        **{name: int(value) for name, value in count.items()},
    )


def resized_objects(split: CocoSplit, image_size: tuple[int, int], keep_ratio: bool = False) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(boxes [N, 4] xyxy in input pixels, labels [N]) of each image."""
    for image in split.images:
        yield resize_boxes(image.boxes, image.size, fitted_size(image.size, image_size, keep_ratio)), image.labels


def _not_alone(keys):
    """Number of entries that have an equal one."""
    _, counts = np.unique(keys, return_counts=True)
    return int(counts[counts > 1].sum())
