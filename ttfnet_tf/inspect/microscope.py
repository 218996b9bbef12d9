"""The target microscope: everything that is drawn for one image, over it, with figures; what resize and augmentation leave of it.

The figures are those of `data.stats`, the maps those that a network is trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ttfnet_tf.data.augment import Augmentation, augment_image
from ttfnet_tf.data.coco import AnnotatedImage, CocoSplit
from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.data.transforms import image_rng, resize
from ttfnet_tf.errors import UserError
from ttfnet_tf.inspect.page import compose, fit
from ttfnet_tf.inspect.panels import labelled_boxes, overlay_heatmap, overlay_sub_areas, overlay_times, overlay_weights
from ttfnet_tf.inspect.target_stats import CellShares, TargetStatistics, measure_targets, share_cells

Paint = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]
_PER_ROW = 5  # panels


@dataclass(frozen=True, eq=False)
class View:
    """An image as the network gets it, with its targets.

    Attributes:
        name: "resized" or "epoch 3".
        image: uint8 [H, W, 3] RGB.
        boxes: float32 [N, 4] xyxy in its pixels.
        labels: int [N].
        maps: of `targets.paint_targets`.
        shares: who gets its cells.
        figures: of this one image.
    """

    name: str
    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    maps: dict[str, np.ndarray]
    shares: CellShares
    figures: TargetStatistics


class Microscope:
    """Looks at images of a split as training does.

    Args:
        split: read with `training=True`.
        image_size: (H, W) of the input in pixels.
        paint: boxes and labels -> maps, `Method.paint` of the detector.
        targets: what decides who gets a cell: keywords alpha, beta, area, kernel and box_per_class of `data.stats.measure_targets`.
        augmentation: what is changed at random.
        seed: `train.seed`.
    """

    def __init__(
        self,
        split: CocoSplit,
        *,
        image_size: tuple[int, int],
        paint: Paint,
        targets: Mapping[str, Any],
        augmentation: Augmentation,
        seed: int,
    ):
        self.split, self.image_size, self._paint = split, image_size, paint
        self._targets, self._augmentation, self._seed = dict(targets), augmentation, seed

    def read(self, index: int) -> np.ndarray:
        """The decoded file of image `index`, uint8 [h, w, 3] RGB.

        Raises:
            UserError: it cannot be read; names the file.
        """
        image = self.split.images[index]
        return read_rgb(image.path, name=f"{image.path} (image id {image.id})")

    def resized(self, index: int, pixels: np.ndarray) -> View:
        """As evaluation sees it; `pixels` from `read`."""
        image = self.split.images[index]
        return self._view("resized", *resize(pixels, image.boxes, self.image_size), image.labels)

    def augmented(self, index: int, epoch: int, pixels: np.ndarray) -> View:
        """As training sees it in `epoch`, counted from 0; `pixels` from `read`."""
        image, rng = self.split.images[index], image_rng(self._seed, epoch, index)
        view = augment_image(pixels, image.boxes, image.labels, self.image_size, self._augmentation, rng)
        return self._view(f"epoch {epoch}", *view)

    def page(self, index: int, epochs: Sequence[int], note: str = "") -> np.ndarray:
        """Everything about image `index` on one page, uint8 [height, width, 3].

        Args:
            index: position in `split.images`.
            epochs: whose augmentation to show.
            note: a line about the settings.

        Raises:
            UserError: the image cannot be read.
        """
        image, pixels = self.split.images[index], self.read(index)
        view = self.resized(index, pixels)
        drawn = [self.augmented(index, epoch, pixels) for epoch in epochs]
        (height, width), (rows, columns) = self.image_size, pixels.shape[:2]
        title = f"{image.path.name} (image id {image.id})"
        notes = [f"{columns} x {rows} px -> {width} x {height} px", note] if note else [f"{columns} x {rows} px -> {width} x {height} px"]
        first = fit(pixels)
        scale = np.array([first.shape[1] / columns, first.shape[0] / rows] * 2, np.float32)
        names = self.split.class_names
        panels = [("boxes", labelled_boxes(first, image.boxes * scale, image.labels, names)), *map_panels(view)]
        later = [(f"{v.name}: {_summary(v, len(image.boxes))}", self.overview(v)) for v in drawn]
        rows_of_panels = [panels, *(later[k : k + _PER_ROW] for k in range(0, len(later), _PER_ROW))]
        return compose(title, notes, rows_of_panels, figures_table([view, *drawn], len(image.boxes)))

    def overview(self, view: View) -> np.ndarray:
        """One panel: the image, its cells (blue, ambiguous ones red) and its boxes."""
        image = fit(view.image)
        return labelled_boxes(
            overlay_times(image, view.shares.times, in_colour=True), _scaled(view, image), view.labels, self.split.class_names
        )

    def _view(self, name, image, boxes, labels):
        alone = AnnotatedImage(id=0, path=self.split.annotations, size=self.image_size, boxes=boxes, labels=labels)
        split = CocoSplit([alone], self.split.category_ids, self.split.class_names, self.split.annotations, {})
        figures = measure_targets(split, image_size=self.image_size, **self._targets)
        settings = {key: value for key, value in self._targets.items() if key != "alpha"}
        shares = share_cells(boxes, labels, image_size=self.image_size, **settings)
        return View(name, image, boxes, labels, self._paint(boxes, labels), shares, figures)


def map_panels(view: View) -> list[tuple[str, np.ndarray]]:
    """(caption, image) of the heatmap, the sub-areas, the weights and the ambiguous cells."""
    image, shares = fit(view.image), view.shares
    weights = np.nan_to_num(view.maps["box_weight"])
    return [
        ("heatmap", overlay_heatmap(image, view.maps["heatmap"])),
        ("sub-areas", overlay_sub_areas(image, shares.areas, view.labels[shares.order], shares.times.shape)),
        (f"weights, up to {weights.max(initial=0):.3g}, sum {weights.sum():.3g}", overlay_weights(image, weights)),
        (f"cells of one sub-area, and of several (red): {shares.shared}", overlay_times(image, shares.times)),
    ]


def figures_table(views: Sequence[View], num_objects: int) -> list[list[str]]:
    """Rows of text: a heading for each view, then the figures; `num_objects` is what the annotations have."""
    rows = {
        "objects": lambda v: f"{v.figures.objects} of {num_objects}",
        "cells that regress": lambda v: str(v.shares.covered),
        "ambiguous cells": lambda v: f"{v.shares.shared} ({100 * v.figures.ambiguous:.1f} %)",
        "share a peak within a class": lambda v: str(v.figures.same_class_collisions),
        "no cell regresses them": lambda v: str(v.figures.lost),
        "centre regresses another": lambda v: str(v.figures.centre_of_other),
        "centre regresses nothing": lambda v: str(v.figures.centre_untaught),
        "heatmap kernel of one cell": lambda v: str(v.figures.radius_zero),
        "smaller than a cell": lambda v: str(v.figures.below_cell),
    }
    return [["", *(view.name for view in views)], *([name, *(text(view) for view in views)] for name, text in rows.items())]


def choose(split: CocoSplit, ids: Sequence[int] | None, count: int) -> list[int]:
    """Positions in `split.images`: those of the image ids, or `count` spread evenly over the split.

    Raises:
        UserError: an id that training does not use.
    """
    if ids is None:
        number = len(split.images)
        return [k * number // min(count, number) for k in range(min(count, number))]
    position = {image.id: index for index, image in enumerate(split.images)}
    for image_id in ids:
        if image_id not in position:
            raise UserError(f"{split.annotations}: image id {image_id} is not among the {len(position)} images that training uses")
    return [position[image_id] for image_id in ids]


def _summary(view, num_objects):
    figures = view.figures
    return f"{figures.objects} of {num_objects} objects, {100 * figures.ambiguous:.1f} % ambiguous"


def _scaled(view, image):
    """Boxes of a view in pixels of its panel."""
    factor = np.array([image.shape[1] / view.image.shape[1], image.shape[0] / view.image.shape[0]] * 2, np.float32)
    return view.boxes * factor
