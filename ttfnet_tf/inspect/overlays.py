"""Overlays: heatmaps, sub-areas, weights, ambiguous cells and boxes drawn over images; NumPy and OpenCV only.

Maps have their own grid [h, w] and are enlarged cell by cell, so that a cell stays a visible square.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ttfnet_tf.evaluation.matches import SHOWN_SCORE
from ttfnet_tf.inference.draw import class_colour, draw_boxes

_SHADE = 0.6  # brightness of the grey image behind a map
ONE, SEVERAL = (70, 150, 255), (255, 40, 30)  # RGB of cells in one sub-area, and in several
CORRECT, MISTAKE = (60, 190, 75), (255, 40, 30)  # RGB of boxes


def overlay_cells(image: np.ndarray, colours: np.ndarray, opacity: np.ndarray, *, in_colour: bool = False) -> np.ndarray:
    """The image with coloured cells on it.

    Args:
        image: uint8 [H, W, 3] RGB.
        colours: [h, w, 3] RGB in 0..255.
        opacity: [h, w] in 0..1; 1 hides the image.
        in_colour: keeps the colours of the image; else it is dark grey.

    Returns:
        uint8 [H, W, 3].
    """
    size = (image.shape[1], image.shape[0])
    colours, opacity = (cv2.resize(np.float32(m), size, interpolation=cv2.INTER_NEAREST) for m in (colours, opacity))
    ground = image if in_colour else _SHADE * image.mean(axis=-1, keepdims=True)
    return np.clip(ground * (1 - opacity[..., None]) + colours * opacity[..., None], 0, 255).astype(np.uint8)


def overlay_heatmap(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """The heatmap of each class in its colour; where several overlap, the strongest.

    Args:
        image: uint8 [H, W, 3] RGB.
        heatmap: [h, w, C] in 0..1.
    """
    colours = np.array([class_colour(c) for c in range(heatmap.shape[-1])], np.float32)
    return overlay_cells(image, colours[heatmap.argmax(axis=-1)], heatmap.max(axis=-1))


def overlay_sub_areas(image: np.ndarray, areas: np.ndarray, labels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The cells that regress each object, in the colour of its class, with a white frame around each sub-area.

    Args:
        image: uint8 [H, W, 3] RGB.
        areas: int [N, 4] top, left, bottom, right in cells as `targets.sub_areas` gives them, in painting order.
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
    """Weights of the box loss, from dark (0) to bright (the largest of the image); cells without weight show the image.

    Args:
        image: uint8 [H, W, 3] RGB.
        weights: [h, w, G] as "box_weight" of `targets.paint_targets`; with several groups the largest is shown.
    """
    largest = np.nan_to_num(weights).max(axis=-1)
    fractions = np.clip(largest / max(float(largest.max()), 1e-9), 0, 1)
    colours = cv2.applyColorMap(np.round(255 * (0.25 + 0.75 * fractions)).astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    return overlay_cells(image, colours, 0.9 * (largest > 0))


def overlay_ambiguous(image: np.ndarray, num_areas: np.ndarray, *, in_colour: bool = False) -> np.ndarray:
    """Cells in one sub-area in blue, ambiguous ones (in several) in red.

    Args:
        image: uint8 [H, W, 3] RGB.
        num_areas: int [h, w], how many sub-areas each cell lies in, see `cell_assignment.CellAssignment`.
        in_colour: as in `overlay_cells`.
    """
    colours = np.where((num_areas > 1)[..., None], np.array(SEVERAL, np.float32), np.array(ONE, np.float32))
    return overlay_cells(image, colours, np.where(num_areas > 1, 0.9, 0.45) * (num_areas > 0), in_colour=in_colour)


def labelled_boxes(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, class_names: Sequence[str], *, scores=None) -> np.ndarray:
    """Boxes with the names of their classes, and their scores if given.

    Args:
        image: uint8 [H, W, 3] RGB.
        boxes: [N, 4] xyxy in its pixels.
        labels: [N] classes from 0.
        class_names: names by class.
        scores: [N], of detections.
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
    """Ground truth above, prediction below; boxes on the left, heatmap on the right.

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


def overlay_mistakes(image: np.ndarray, boxes: np.ndarray, texts: Sequence[str], is_mistake: Sequence[bool]) -> np.ndarray:
    """Mistakes (missed or wrong boxes) in red with their texts, the other boxes in green without.

    Args:
        image: uint8 [H, W, 3] RGB.
        boxes: [N, 4] xyxy in its pixels.
        texts: N labels.
        is_mistake: N flags.
    """
    order = sorted(range(len(texts)), key=lambda k: not is_mistake[k])  # the first are drawn on top
    colours = [MISTAKE if is_mistake[k] else CORRECT for k in order]
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    return draw_boxes(image, boxes[order], [texts[k] if is_mistake[k] else "" for k in order], colours)
