"""The ceiling AP: what a network would reach that reproduces the targets of a data set in every cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from ttfnet_tf.boxes import STRIDE
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.inspect.target_stats import resized_objects
from ttfnet_tf.methods.targets import box_areas, centre_cells, paint_order, paint_targets


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
    keep_ratio: bool = False,
    on_image: Callable[[int], None] | None = None,
) -> dict[str, float]:
    """The COCO metrics of the targets themselves, decoded and evaluated as the output of a network.

    Args:
        split: its annotation file is the ground truth.
        image_size: (H, W) of the resized images in pixels.
        alpha, beta, area, kernel, box_per_class, stride: as in `targets.paint_targets`.
        top_k, score_threshold: of decoding, see `ttfnet.decode_distances` and `decode.select`.
        keep_ratio: whether images keep their ratio, see `boxes.fitted_size`.
        on_image: called with the number of images done so far.

    Returns:
        The 12 metrics by `evaluate.METRIC_NAMES`, 0..1; -1 where there is no such object.
    """
    from ttfnet_tf.evaluation.coco_metrics import coco_metrics, coco_results
    from ttfnet_tf.inference.predictor import in_original

    settings: dict[str, Any] = {
        "alpha": alpha,
        "beta": beta,
        "area": area,
        "kernel": kernel,
        "box_per_class": box_per_class,
        "stride": stride,
    }
    detections = []
    for done, (image, (boxes, labels)) in enumerate(zip(split.images, resized_objects(split, image_size, keep_ratio)), start=1):
        detected = decode_targets(boxes, labels, image_size=image_size, top_k=top_k, score_threshold=score_threshold, **settings)
        detected = in_original(detected, image_size=image_size, original_size=image.size, keep_ratio=keep_ratio)
        detections += coco_results(image.id, detected["boxes"], detected["scores"], detected["classes"], split.category_ids)
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
    """Draws the targets of one image and decodes them as `ttfnet.decode_distances` decodes the maps of a network.

    A network predicts distances of 0 or more, so no box ends before the point of its cell. A peak whose cell has no target is given the
    object's own box: the network is free there, and the result must be an upper bound.

    Args:
        boxes: float32 [N, 4] inclusive corners in input pixels, inside the image.
        labels: int [N], classes from 0.
        image_size, alpha, beta, area, kernel, box_per_class, stride, top_k, score_threshold: as in `measure_ceiling`.

    Returns:
        "boxes": float32 [K, 4] in input pixels, "scores": float32 [K] descending, "classes": int [K].
    """
    if not len(boxes):
        return {"boxes": np.zeros((0, 4), np.float32), "scores": np.zeros(0, np.float32), "classes": np.zeros(0, np.int64)}
    classes, local = np.unique(labels, return_inverse=True)  # maps of the present classes only
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
    rows, columns, channels = np.nonzero((heatmap == highest) & (heatmap > score_threshold))
    best = np.argsort(-heatmap[rows, columns, channels], kind="stable")[:top_k]
    rows, columns, channels = rows[best], columns[best], channels[best]

    grouped = maps["box_target"].reshape(*heatmap.shape[:2], -1, 4)
    target = grouped[rows, columns, channels if box_per_class else 0]  # [K, 4]
    own = _boxes_of_peaks(boxes, local, stride)
    for k in np.flatnonzero((target == -1).all(axis=1)):
        target[k] = own.get((rows[k], columns[k], channels[k]), target[k])
    point = np.stack([columns, rows], axis=1) * np.float32(stride)
    near, far = np.minimum(target[:, :2], point), np.maximum(target[:, 2:], point)
    limit = np.array([image_size[1] - 1, image_size[0] - 1] * 2, np.float32)
    decoded = np.clip(np.concatenate([near, far], axis=1), 0, limit)
    return {"boxes": decoded, "scores": heatmap[rows, columns, channels], "classes": classes[channels]}


def _boxes_of_peaks(boxes, labels, stride):
    """{(row, column, class): the smallest box of that class with its centre there}."""
    order = paint_order(box_areas(boxes), "norm")
    return {(row, column, labels[k]): boxes[k] for k, (column, row) in zip(order, centre_cells(boxes, stride)[order])}
