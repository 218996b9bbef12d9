"""The target microscope: one image with the targets that training draws for it, resized and augmented, and their statistics.

The maps are those that a network is trained on; the statistics are those of `target_stats`, for this image alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ttfnet_tf.data.augment import Augmentation, augment_sample
from ttfnet_tf.data.balance import ClassBalance
from ttfnet_tf.data.coco import AnnotatedImage, CocoSplit
from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.data.mosaic import Labelled
from ttfnet_tf.data.transforms import image_rng, resize
from ttfnet_tf.errors import UserError
from ttfnet_tf.inspect.cell_assignment import CellAssignment, assign_cells
from ttfnet_tf.inspect.contact_sheet import contact_sheet, fit
from ttfnet_tf.inspect.overlays import labelled_boxes, overlay_ambiguous, overlay_heatmap, overlay_sub_areas, overlay_weights
from ttfnet_tf.inspect.target_stats import TargetStatistics, measure_targets
from ttfnet_tf.methods.targets import Paint

_PER_ROW = 5  # panels


@dataclass(frozen=True, eq=False)
class View:
    """An image as the network receives it, with its targets.

    Attributes:
        name: "resized" or "epoch 3".
        image: uint8 [H, W, 3] RGB.
        boxes: float32 [N, 4] xyxy in its pixels.
        labels: int [N].
        maps: the targets, as `targets.paint_targets` draws them.
        cells: which object each cell is assigned to.
        statistics: of this image.
        annotated: objects of the image file, and of the images mixed with it.
        others: ids of the images that are mixed with it.
    """

    name: str
    image: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    maps: dict[str, np.ndarray]
    cells: CellAssignment
    statistics: TargetStatistics
    annotated: int
    others: tuple[int, ...] = ()


class Microscope:
    """Shows images of a split as training sees them.

    Args:
        split: read with `training=True`.
        image_size: (H, W) of the input in pixels.
        keep_ratio: whether images keep their ratio, see `boxes.fitted_size`.
        paint: boxes and labels -> maps, `Method.paint` of the detector.
        targets: keywords alpha, beta, area, kernel and box_per_class of `target_stats.measure_targets`.
        augmentation: the random changes.
        seed: `train.seed`.
        balance: how often training sees images, which mosaics follow.
    """

    def __init__(
        self,
        split: CocoSplit,
        *,
        image_size: tuple[int, int],
        keep_ratio: bool = False,
        paint: Paint,
        targets: Mapping[str, Any],
        augmentation: Augmentation,
        seed: int,
        balance: ClassBalance | None = None,
    ):
        self.split, self.image_size, self._keep_ratio, self._paint = split, image_size, keep_ratio, paint
        self._targets, self._augmentation, self._seed, self._balance = dict(targets), augmentation, seed, balance

    def read(self, index: int) -> np.ndarray:
        """The decoded image `index`, uint8 [h, w, 3] RGB.

        Raises:
            UserError: it cannot be read; names the file.
        """
        image = self.split.images[index]
        return self.split.images.part(index, read_rgb(image.path, name=f"{image.path} (image id {image.id})"))

    def resized(self, index: int, pixels: np.ndarray) -> View:
        """Image `index` as evaluation sees it; `pixels` from `read`."""
        image = self.split.images[index]
        return self._view(
            "resized", (*resize(pixels, image.boxes, self.image_size, keep_ratio=self._keep_ratio), image.labels), len(image.boxes)
        )

    def augmented(self, index: int, epoch: int, pixels: np.ndarray) -> View:
        """Image `index` as training sees it in `epoch`, counted from 0; `pixels` from `read`. Mosaics and mixups read further images."""
        images, rng, others = self.split.images, image_rng(self._seed, epoch, index), []
        image = images[index]

        def other(number: int) -> Labelled | None:
            number = number if self._balance is None else self._balance.image(epoch, number)
            try:
                found = resize(self.read(number), images[number].boxes, self.image_size, keep_ratio=self._keep_ratio)
            except UserError:  # training skips it, or reports it
                return None
            others.append(images[number])
            return *found, images[number].labels

        sample, count = (pixels, image.boxes, image.labels), len(images)
        settings: dict[str, Any] = {"epoch": epoch, "count": count, "other": other, "keep_ratio": self._keep_ratio}
        view = augment_sample(sample, self.image_size, self._augmentation, rng, **settings)
        annotated = sum(len(one.boxes) for one in (image, *others))
        return self._view(f"epoch {epoch}", view, annotated, tuple(one.id for one in others))

    def page(self, index: int, epochs: Sequence[int], note: str = "") -> np.ndarray:
        """Image `index` on one page: boxes, targets, augmented views, statistics; uint8 [height, width, 3].

        Args:
            index: position in `split.images`.
            epochs: to show the augmentation of.
            note: a line about the settings.

        Raises:
            UserError: the image cannot be read.
        """
        image, pixels = self.split.images[index], self.read(index)
        view = self.resized(index, pixels)
        augmented = [self.augmented(index, epoch, pixels) for epoch in epochs]
        (height, width), (rows, columns) = self.image_size, pixels.shape[:2]
        title = f"{image.path.name} (image id {self.split.images.shown_name(index)})"
        notes = [f"{columns} x {rows} px -> {width} x {height} px", note] if note else [f"{columns} x {rows} px -> {width} x {height} px"]
        first = fit(pixels)
        scale = np.array([first.shape[1] / columns, first.shape[0] / rows] * 2, np.float32)
        names = self.split.class_names
        panels = [("boxes", labelled_boxes(first, image.boxes * scale, image.labels, names)), *map_panels(view)]
        later = [(f"{v.name}: {_summary(v)}", self.overview(v)) for v in augmented]
        rows_of_panels = [panels, *(later[k : k + _PER_ROW] for k in range(0, len(later), _PER_ROW))]
        return contact_sheet(title, notes, rows_of_panels, statistics_table([view, *augmented]))

    def overview(self, view: View) -> np.ndarray:
        """One panel: the image, its cells (blue, ambiguous ones red) and its boxes."""
        image = fit(view.image)
        cells = overlay_ambiguous(image, view.cells.num_areas, in_colour=True)
        return labelled_boxes(cells, _scaled(view, image), view.labels, self.split.class_names)

    def _view(self, name, sample, annotated, others=()):
        image, boxes, labels = sample
        alone = AnnotatedImage(id=0, path=self.split.annotations, size=self.image_size, boxes=boxes, labels=labels)
        split = CocoSplit([alone], self.split.category_ids, self.split.class_names, self.split.annotations, {})
        statistics = measure_targets(split, image_size=self.image_size, **self._targets)
        settings = {key: value for key, value in self._targets.items() if key != "alpha"}  # the size of the kernel alone
        cells = assign_cells(boxes, labels, image_size=self.image_size, **settings)
        return View(name, image, boxes, labels, self._paint(boxes, labels), cells, statistics, annotated, others)


def map_panels(view: View) -> list[tuple[str, np.ndarray]]:
    """(caption, image) of the heatmap, the sub-areas, the weights and the ambiguous cells."""
    image, cells = fit(view.image), view.cells
    weights = np.nan_to_num(view.maps["box_weight"])
    return [
        ("heatmap", overlay_heatmap(image, view.maps["heatmap"])),
        ("sub-areas", overlay_sub_areas(image, cells.areas, view.labels[cells.order], cells.num_areas.shape)),
        (f"weights, up to {weights.max(initial=0):.3g}, sum {weights.sum():.3g}", overlay_weights(image, weights)),
        (f"cells in one sub-area (blue), in several (red): {cells.ambiguous}", overlay_ambiguous(image, cells.num_areas)),
    ]


def statistics_table(views: Sequence[View]) -> list[list[str]]:
    """Rows of text: a heading for each view, then the statistics."""
    rows = {
        "objects": lambda v: f"{v.statistics.objects} of {v.annotated}",
        "cells that regress": lambda v: str(v.cells.covered),
        "ambiguous cells": lambda v: f"{v.cells.ambiguous} ({100 * v.statistics.ambiguous:.1f} %)",
        "share a peak within a class": lambda v: str(v.statistics.same_class_collisions),
        "no cell regresses them": lambda v: str(v.statistics.lost),
        "centre regresses another": lambda v: str(v.statistics.centre_of_other),
        "centre regresses nothing": lambda v: str(v.statistics.centre_untaught),
        "heatmap kernel of one cell": lambda v: str(v.statistics.radius_zero),
        "smaller than a cell": lambda v: str(v.statistics.below_cell),
    }
    return [["", *(view.name for view in views)], *([name, *(text(view) for view in views)] for name, text in rows.items())]


def choose_images(split: CocoSplit, ids: Sequence[int] | None, count: int) -> list[int]:
    """Positions in `split.images`: those of the image ids, with all tiles of each, or `count` spread evenly over the split.

    Raises:
        UserError: an id that training does not use.
    """
    if ids is None:
        number = len(split.images)
        return [k * number // min(count, number) for k in range(min(count, number))]
    position = {image_id: index for index, image_id in enumerate(split.images.ids.tolist())}
    for image_id in ids:
        if image_id not in position:
            raise UserError(f"{split.annotations}: image id {image_id} is not among the {len(position)} images that training uses")
    return [index for image_id in ids for index in split.images.of_same_file(position[image_id])]


def _summary(view):
    mixed = f" with {', '.join(map(str, view.others))}" if view.others else ""
    return f"{view.statistics.objects} of {view.annotated} objects{mixed}, {100 * view.statistics.ambiguous:.1f} % ambiguous"


def _scaled(view, image):
    """Boxes of a view, in pixels of its panel."""
    factor = np.array([image.shape[1] / view.image.shape[1], image.shape[0] / view.image.shape[0]] * 2, np.float32)
    return view.boxes * factor
