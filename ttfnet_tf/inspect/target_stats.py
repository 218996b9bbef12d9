"""What the targets of a data set are like: overlap, samples, collisions, and the AP that they would reach by themselves.

No image is opened: boxes and image sizes come from the annotations. Boxes are resized and clipped as for training, without
augmentation. docs/targets.md explains the figures.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ttfnet_tf.boxes import STRIDE, resize_boxes
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.methods.targets import box_areas, centre_cells, kernel_radii, paint_order, paint_targets, sub_areas

SIZE_LIMITS = (32**2, 96**2)  # px of area: COCO's small objects lie below the first, large ones from the second on


@dataclass(frozen=True)
class TargetStatistics:
    """Figures of one data set under one set of target settings.

    An object's centre cell is where its heatmap peak is drawn; its sub-area are the cells that regress its box.

    Attributes:
        images: how many were looked at.
        objects: their boxes.
        most_objects: in one image.
        small, medium, large: objects by area in the resized image (`SIZE_LIMITS`).
        below_cell: objects with a side shorter than a cell in the resized image.
        ambiguous: share, 0..1, of the cells in any sub-area that lie in several; mean over images that have such cells. With one box
            for each class, cells and sub-areas of different classes are apart.
        samples: cells that regress an object in the end, mean over objects.
        same_class_collisions: objects whose centre cell is that of another object of their class: one peak for both.
        collisions: objects whose centre cell is that of another object of any class.
        radius_zero: objects whose heatmap kernel is a single cell.
        lost: objects that no cell regresses, because smaller ones were painted over them.
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
        """For people; shares are of all objects."""

        def of_objects(count):
            return f"{count} ({100 * count / max(self.objects, 1):.2f} %)"

        sizes = ", ".join(f"{name} {of_objects(getattr(self, name))}" for name in ("small", "medium", "large"))
        rows = (
            ("objects", f"{self.objects} in {self.images} images, at most {self.most_objects} in one"),
            ("size after resize", sizes),
            ("below a cell", f"{of_objects(self.below_cell)} have a side shorter than a cell"),
            ("ambiguous samples", f"{100 * self.ambiguous:.2f} % of the cells of an image lie in several sub-areas"),
            ("samples", f"{self.samples:.1f} cells regress an object, in the mean"),
            ("shared centre cells", f"{of_objects(self.same_class_collisions)} within a class, {of_objects(self.collisions)} over all"),
            ("radius 0", f"{of_objects(self.radius_zero)} have a heatmap kernel of one cell"),
            ("lost", f"{of_objects(self.lost)} keep no cell, smaller ones were painted over them"),
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
    on_image: Callable[[int], None] | None = None,
) -> TargetStatistics:
    """Goes over the boxes of a split; 5,000 images of COCO take some seconds.

    Args:
        split: as `data.coco.load_coco` gives it; the image files are not touched.
        image_size: (H, W) in pixels that images are resized to.
        alpha, beta, area, kernel, box_per_class, stride: as in `targets.paint_targets`.
        on_image: called with the number of images done so far.
    """
    height, width = image_size[0] // stride, image_size[1] // stride
    count: Counter[str] = Counter()
    ratios, most_objects = [], 0
    settings = {"beta": beta, "area": area, "kernel": kernel, "box_per_class": box_per_class, "stride": stride}
    for done, (boxes, labels) in enumerate(_resized(split, image_size), start=1):
        overlap = share_cells(boxes, labels, image_size=image_size, **settings)
        boxes, labels = boxes[overlap.order], labels[overlap.order]
        centres = centre_cells(boxes, stride)
        if overlap.covered:
            ratios.append(overlap.shared / overlap.covered)
        cells = centres[:, 1] * width + centres[:, 0]
        owners, own = overlap.centre_owner, np.arange(len(boxes))
        small, medium, large = np.bincount(np.digitize(box_areas(boxes), SIZE_LIMITS), minlength=3)
        count.update(
            objects=len(boxes),
            small=small,
            medium=medium,
            large=large,
            below_cell=np.count_nonzero((boxes[:, 2:] - boxes[:, :2] + 1 < stride).any(axis=1)),
            samples=overlap.kept.sum(),
            same_class_collisions=_not_alone(labels * (height * width) + cells),
            collisions=_not_alone(cells),
            radius_zero=np.count_nonzero((kernel_radii(boxes, alpha, kernel, height, width, stride) == 0).all(axis=1)),
            lost=np.count_nonzero(overlap.kept == 0),
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


@dataclass(frozen=True, eq=False)
class CellShares:
    """Who gets the cells of one image; N objects in the order they are painted, the largest first.

    Attributes:
        order: [N] index of each object in what was given.
        areas: [N, 4] int sub-areas as `targets.sub_areas`.
        times: int16 [h, w] in how many sub-areas a cell lies; with a box for each class the most of any class.
        covered: cells in any sub-area, classes apart where each has its own box.
        shared: those of them that lie in several: the ambiguous ones.
        kept: [N] cells that regress each object in the end.
        centre_owner: [N] the object (a position in this order) that the centre cell of each regresses, -1 for none.
    """

    order: np.ndarray
    areas: np.ndarray
    times: np.ndarray
    covered: int
    shared: int
    kept: np.ndarray
    centre_owner: np.ndarray


def share_cells(
    boxes: np.ndarray,
    labels: np.ndarray,
    *,
    image_size: tuple[int, int],
    beta: float = 0.54,
    area: str = "gaussian",
    kernel: str = "aspect",
    box_per_class: bool = False,
    stride: int = STRIDE,
) -> CellShares:
    """Paints the sub-areas of one image over each other.

    Args:
        boxes: float32 [N, 4] inclusive corners in input pixels.
        labels: [N] classes from 0.
        image_size, beta, area, kernel, box_per_class, stride: as in `targets.paint_targets`.
    """
    height, width = image_size[0] // stride, image_size[1] // stride
    order = paint_order(box_areas(boxes), "norm")
    boxes, labels = boxes[order], labels[order]
    areas = sub_areas(boxes, beta=beta, area=area, kernel=kernel, height=height, width=width, stride=stride)
    centres = centre_cells(boxes, stride)
    groups = labels if box_per_class else np.zeros_like(labels)
    covered = shared = 0
    kept, centre_owner = np.zeros(len(groups), np.int64), np.full(len(groups), -1)
    most = np.zeros((height, width), np.int16)
    for group in np.unique(groups):
        times, owner = np.zeros((height, width), np.int16), np.full((height, width), -1)
        members = np.flatnonzero(groups == group)
        for k in members.tolist():
            top, left, bottom, right = areas[k].tolist()
            times[top:bottom, left:right] += 1
            owner[top:bottom, left:right] = k
        covered += np.count_nonzero(times)
        shared += np.count_nonzero(times > 1)
        kept += np.bincount(owner[owner >= 0], minlength=len(groups))
        centre_owner[members] = owner[centres[members, 1], centres[members, 0]]
        most = np.maximum(most, times)
    return CellShares(order, areas, most, covered, shared, kept, centre_owner)


def measure_ceiling(
    split: CocoSplit,
    *,
    image_size: tuple[int, int],
    alpha: float = 0.54,
    beta: float = 0.54,
    area: str = "gaussian",
    kernel: str = "aspect",
    box_per_class: bool = False,
    stride: int = STRIDE,
    top_k: int = 100,
    score_threshold: float = 0.01,
    on_image: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """The COCO figures of the targets themselves: what a network that reproduces them in every cell would reach on the split.

    Args:
        split: its annotation file is the ground truth.
        image_size: (H, W) in pixels that images are resized to.
        alpha, beta, area, kernel, box_per_class, stride: as in `targets.paint_targets`.
        top_k, score_threshold: of the decoding, see `ttfnet.decode_distances` and `decode.select`.
        on_image: called with the number of images done so far.

    Returns:
        The 12 figures by `evaluate.METRIC_NAMES`, 0..1; -1 where there is no such object.
    """
    from ttfnet_tf.evaluation.evaluate import coco_metrics, coco_results
    from ttfnet_tf.inference.predictor import to_original

    settings = {"alpha": alpha, "beta": beta, "area": area, "kernel": kernel, "box_per_class": box_per_class, "stride": stride}
    detections = []
    for done, (image, (boxes, labels)) in enumerate(zip(split.images, _resized(split, image_size)), start=1):
        found = decode_targets(boxes, labels, image_size=image_size, top_k=top_k, score_threshold=score_threshold, **settings)
        original = to_original(found["boxes"], image_size=image_size, original_size=image.size)
        detections += coco_results(image.id, original, found["scores"], found["classes"], split.category_ids)
        if on_image is not None:
            on_image(done)
    return coco_metrics(split, detections)[0]


def decode_targets(
    boxes: np.ndarray,
    labels: np.ndarray,
    *,
    image_size: tuple[int, int],
    alpha: float = 0.54,
    beta: float = 0.54,
    area: str = "gaussian",
    kernel: str = "aspect",
    box_per_class: bool = False,
    stride: int = STRIDE,
    top_k: int = 100,
    score_threshold: float = 0.01,
) -> dict[str, np.ndarray]:
    """Draws the targets of one image and detects on them as `ttfnet.decode_distances` does on a network's maps.

    A network gives distances of 0 or more, so that no box can end before the point of its cell. Where a peak's cell regresses nothing
    the network is free; then it is taken to give the object's own box, for this is to be an upper bound.

    Args:
        boxes: float32 [N, 4] inclusive corners in input pixels, inside the image.
        labels: [N] classes from 0.
        image_size, alpha, beta, area, kernel, box_per_class, stride, top_k, score_threshold: as in `measure_ceiling`.

    Returns:
        "boxes": float32 [K, 4] in input pixels, "scores": float32 [K] falling, "classes": int [K].
    """
    if not len(boxes):
        return {"boxes": np.zeros((0, 4), np.float32), "scores": np.zeros(0, np.float32), "classes": np.zeros(0, np.int64)}
    classes, local = np.unique(labels, return_inverse=True)  # maps of the classes that are there, not of all
    maps = paint_targets(
        boxes,
        local,
        image_size=image_size,
        num_classes=len(classes),
        alpha=alpha,
        beta=beta,
        area=area,
        kernel=kernel,
        box_per_class=box_per_class,
        stride=stride,
    )
    heatmap = maps["heatmap"]
    highest = cv2.dilate(heatmap, np.ones((3, 3), np.uint8)).reshape(heatmap.shape)  # the largest of 3 x 3 cells
    rows, columns, found = np.nonzero((heatmap == highest) & (heatmap > score_threshold))
    best = np.argsort(-heatmap[rows, columns, found], kind="stable")[:top_k]
    rows, columns, found = rows[best], columns[best], found[best]

    grouped = maps["box_target"].reshape(*heatmap.shape[:2], -1, 4)
    target = grouped[rows, columns, found if box_per_class else 0]  # [K, 4]
    own = _boxes_of_peaks(boxes, local, stride)
    for k in np.flatnonzero((target == -1).all(axis=1)):
        target[k] = own.get((rows[k], columns[k], found[k]), target[k])
    point = np.stack([columns, rows], axis=1) * np.float32(stride)
    near, far = np.minimum(target[:, :2], point), np.maximum(target[:, 2:], point)
    limit = np.array([image_size[1] - 1, image_size[0] - 1] * 2, np.float32)
    decoded = np.clip(np.concatenate([near, far], axis=1), 0, limit)
    return {"boxes": decoded, "scores": heatmap[rows, columns, found], "classes": classes[found]}


def _resized(split, image_size):
    """Boxes in input pixels and labels, image by image."""
    for image in split.images:
        yield resize_boxes(image.boxes, image.size, image_size), image.labels


def _not_alone(keys):
    """How many entries have an equal among the others."""
    _, counts = np.unique(keys, return_counts=True)
    return int(counts[counts > 1].sum())


def _boxes_of_peaks(boxes, labels, stride):
    """{(row, column, class): the smallest box of that class with its centre there}."""
    order = paint_order(box_areas(boxes), "norm")
    return {(row, column, labels[k]): boxes[k] for k, (column, row) in zip(order, centre_cells(boxes, stride)[order])}
