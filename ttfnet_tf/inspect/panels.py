"""Maps drawn over images: heatmaps, sub-areas, weights, ambiguous cells, predictions beside the truth; NumPy and OpenCV only.

Maps have their own grid [h, w] and are stretched over the image, cell by cell, so that a cell stays a visible square.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ttfnet_tf.evaluation.matches import SHOWN_SCORE
from ttfnet_tf.inference.draw import class_colour, draw_boxes

_SHADE = 0.6  # of the grey image behind a map
ONCE, SEVERAL = (70, 150, 255), (255, 40, 30)  # cells of one sub-area, and of several
RIGHT, WRONG = (60, 190, 75), (255, 40, 30)


def overlay_cells(image: np.ndarray, colours: np.ndarray, opacity: np.ndarray, *, in_colour: bool = False) -> np.ndarray:
    """The image with coloured cells on it.

    Args:
        image: uint8 [H, W, 3] RGB.
        colours: [h, w, 3] RGB in 0..255.
        opacity: [h, w] in 0..1; 1 hides the image.
        in_colour: whether the image keeps its colours; else it is dark grey.

    Returns:
        uint8 [H, W, 3].
    """
    size = (image.shape[1], image.shape[0])
    colours, opacity = (cv2.resize(np.float32(m), size, interpolation=cv2.INTER_NEAREST) for m in (colours, opacity))
    ground = image if in_colour else _SHADE * image.mean(axis=-1, keepdims=True)
    return np.clip(ground * (1 - opacity[..., None]) + colours * opacity[..., None], 0, 255).astype(np.uint8)


def overlay_heatmap(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Each class' heatmap in its colour; where several meet, the strongest.

    Args:
        image: uint8 [H, W, 3] RGB.
        heatmap: [h, w, C] in 0..1.
    """
    colours = np.array([class_colour(c) for c in range(heatmap.shape[-1])], np.float32)
    return overlay_cells(image, colours[heatmap.argmax(axis=-1)], heatmap.max(axis=-1))


def overlay_sub_areas(image: np.ndarray, areas: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The cells that regress each object, in the colour of its class, with a frame around each sub-area.

    Args:
        image: uint8 [H, W, 3] RGB.
        areas: [N, 4] int top, left, bottom, right as `targets.sub_areas`, in the order they are painted.
        labels: [N] classes from 0.
        size: (h, w) of the map in cells.
    """
    colours, opacity = np.zeros((*size, 3), np.float32), np.zeros(size, np.float32)
    for (top, left, bottom, right), label in zip(areas.tolist(), labels.tolist()):
        colours[top:bottom, left:right] = class_colour(label)
        opacity[top:bottom, left:right] = 0.55
    filled = areas[(areas[:, 2] > areas[:, 0]) & (areas[:, 3] > areas[:, 1])]
    cell = np.array([image.shape[1] / size[1], image.shape[0] / size[0]] * 2)
    frames = filled[:, [1, 0, 3, 2]] * cell - np.array([0, 0, 1, 1])
    return draw_boxes(overlay_cells(image, colours, opacity), frames, [""] * len(frames), [(255, 255, 255)] * len(frames))


def overlay_weights(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights of the box loss from dark (0) to bright (the largest of the image); cells without one show the image.

    Args:
        image: uint8 [H, W, 3] RGB.
        weights: [h, w, G] as "box_weight" of `targets.paint_targets`; with several groups the largest is shown.
    """
    largest = np.nan_to_num(weights).max(axis=-1)
    shares = np.clip(largest / max(float(largest.max()), 1e-9), 0, 1)
    colours = cv2.applyColorMap(np.round(255 * (0.25 + 0.75 * shares)).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    return overlay_cells(image, colours, 0.9 * (largest > 0))


def overlay_times(image: np.ndarray, times: np.ndarray, *, in_colour: bool = False) -> np.ndarray:
    """Cells of one sub-area in blue, ambiguous ones in red.

    Args:
        image: uint8 [H, W, 3] RGB.
        times: int [h, w] as `data.stats.CellShares.times`.
        in_colour: as in `overlay_cells`.
    """
    colours = np.where((times > 1)[..., None], np.float32(SEVERAL), np.float32(ONCE))
    return overlay_cells(image, colours, np.where(times > 1, 0.9, 0.45) * (times > 0), in_colour=in_colour)


def labelled_boxes(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, class_names: Sequence[str], *, scores=None) -> np.ndarray:
    """Boxes with the names of their classes, and with their scores where given.

    Args:
        image: uint8 [H, W, 3] RGB.
        boxes: [N, 4] xyxy in its pixels.
        labels: [N] classes from 0.
        class_names: names by class.
        scores: [N], if there are any.
    """
    names = [class_names[label] for label in labels]
    texts = names if scores is None else [f"{name} {score:.2f}" for name, score in zip(names, scores)]
    return draw_boxes(image, boxes, texts, [class_colour(int(label)) for label in labels])


def detection_panel(
    image: np.ndarray,
    *,
    true_boxes: np.ndarray,
    true_labels: np.ndarray,
    target_heatmap: np.ndarray,
    boxes: np.ndarray,
    scores: np.ndarray,
    labels: np.ndarray,
    heatmap: np.ndarray,
    class_names: Sequence[str],
) -> np.ndarray:
    """Truth above, prediction below; boxes left, heatmap right.

    Args:
        image: uint8 [H, W, 3] RGB as the network sees it.
        true_boxes: [N, 4] xyxy in pixels of `image`.
        true_labels: [N] classes from 0.
        target_heatmap: [H/4, W/4, C] in 0..1.
        boxes: [K, 4] xyxy in pixels of `image`.
        scores: [K]; those up to SHOWN_SCORE are not drawn.
        labels: [K] classes from 0.
        heatmap: [H/4, W/4, C] predicted probabilities.
        class_names: names by class.

    Returns:
        uint8 [2 H, 2 W, 3].
    """
    shown = scores > SHOWN_SCORE
    truth = labelled_boxes(image, true_boxes, true_labels, class_names)
    predicted = labelled_boxes(image, boxes[shown], labels[shown], class_names, scores=scores[shown])
    upper = np.concatenate([truth, overlay_heatmap(image, target_heatmap)], axis=1)
    return np.concatenate([upper, np.concatenate([predicted, overlay_heatmap(image, heatmap)], axis=1)], axis=0)


def mistakes(image: np.ndarray, boxes: np.ndarray, texts: Sequence[str], is_mistake: Sequence[bool]) -> np.ndarray:
    """Boxes that are missed or wrong in red with their texts, the others in green without.

    Args:
        image: uint8 [H, W, 3] RGB.
        boxes: [N, 4] xyxy in its pixels.
        texts: N.
        is_mistake: N.
    """
    order = sorted(range(len(texts)), key=lambda k: not is_mistake[k])  # the first are drawn on top
    colours = [WRONG if is_mistake[k] else RIGHT for k in order]
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return draw_boxes(image, boxes[order], [texts[k] if is_mistake[k] else "" for k in order], colours)
