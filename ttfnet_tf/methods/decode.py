"""From the model's maps to a fixed number of detections; no box suppression is needed, a peak test on the heatmap replaces it.

Everything is decided on logits: the sigmoid is taken of the survivors only, which is faster and keeps apart scores that would round to
the same probability. Reference: ZJULearning/ttfnet 700ad90, `ttf_head.py` (`get_bboxes`, `simple_nms`, `_topk`).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

STRIDE = 4.0  # input pixels per cell
# Where there is no peak: the lowest float32, whose sigmoid is 0 too. Minus infinity has no scale, and TFLite's int8 quantiser ends at it.
_NO_PEAK = np.finfo(np.float32).min


def decode(outputs: dict[str, tf.Tensor], *, image_size: tuple[int, int], top_k: int = 100) -> dict[str, tf.Tensor]:
    """Takes the best peaks of each image's heatmap.

    A peak is a cell that no neighbour (3 x 3, same class) exceeds; all cells of a plateau are peaks.

    Args:
        outputs: "heatmap" [B, h, w, C] logits and "box" [B, h, w, 4] or [B, h, w, 4 C] distances in input pixels; h, w, C are static.
        image_size: height H and width W of the input in pixels.
        top_k: detections of an image at most; K = min(top_k, h w C) are returned.

    Returns:
        "boxes": float32 [B, K, 4] corners x1, y1, x2, y2 in input pixels, limited to [0, W - 1] x [0, H - 1].
        "scores": float32 [B, K] falling; 0 where an image has fewer than K peaks.
        "classes": int32 [B, K] from 0.

    Raises:
        ValueError: if h, w or C is unknown or the box channels fit neither 4 nor 4 C, at trace time.
    """
    logits, box = outputs["heatmap"], tf.cast(outputs["box"], tf.float32)
    scores, cell, label = top_peaks(logits, top_k)  # [B, K] each
    height, width, num_classes = logits.shape[1:]
    if box.shape[-1] not in (4, 4 * num_classes):
        raise ValueError(f"box {box.shape} must have 4 channels, or 4 for each of the {num_classes} classes")
    cells = height * width
    per_class = box.shape[-1] != 4
    place = cell * num_classes + label if per_class else cell
    distances = tf.gather(tf.reshape(box, [-1, cells * num_classes if per_class else cells, 4]), place, batch_dims=1)  # [B, K, 4]
    x, y = tf.cast(cell % width, tf.float32) * STRIDE, tf.cast(cell // width, tf.float32) * STRIDE
    left, top, right, bottom = tf.unstack(distances, axis=-1)
    boxes = tf.stack([x - left, y - top, x + right, y + bottom], axis=-1)
    limit = tf.constant([image_size[1] - 1, image_size[0] - 1] * 2, tf.float32)
    return {"boxes": tf.clip_by_value(boxes, 0.0, limit), "scores": tf.sigmoid(scores), "classes": label}


def top_peaks(logits: tf.Tensor, top_k: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The best peaks of a heatmap.

    Args:
        logits: [B, h, w, C]; h, w, C are static.
        top_k: peaks of an image at most; K = min(top_k, h w C).

    Returns:
        float32 [B, K] logits, falling, the lowest there is for missing peaks; int32 [B, K] cells (row w + column); int32 [B, K] classes.

    Raises:
        ValueError: if h, w or C is unknown, at trace time.
    """
    height, width, num_classes = logits.shape[1:]
    if None in (height, width, num_classes):
        raise ValueError(f"heatmap {logits.shape} must have static h, w, C")
    cells = height * width
    heat = tf.reshape(_peaks(tf.cast(logits, tf.float32)), [-1, cells, num_classes])
    return _top_peaks(heat, min(top_k, cells), min(top_k, cells * num_classes))


def select(detections: dict[str, np.ndarray], score_threshold: float | np.ndarray) -> dict[str, np.ndarray]:
    """Keeps the detections of one image whose score is above the threshold (not equal to it).

    Args:
        detections: "boxes" [K, 4], "scores" [K], "classes" [K] as arrays, one row of `decode`'s result.
        score_threshold: in [0, 1), one for all or [K] one for each.

    Returns:
        The same keys with n <= K rows, order kept.
    """
    kept = np.asarray(detections["scores"]) > score_threshold
    return {key: np.asarray(value)[kept] for key, value in detections.items()}


def _peaks(logits):
    """[B, h, w, C] logits, `_NO_PEAK` where a neighbour is higher."""
    highest = tf.nn.max_pool2d(logits, 3, 1, "SAME")
    return tf.where(logits == highest, logits, _NO_PEAK)


def _top_peaks(heat, num_cells, top_k):
    """[B, cells, C] -> the top_k largest entries as (value, cell, class), [B, top_k] each.

    The cells are sorted out first: of the k best entries, each lies in one of the k cells with the best class maximum, because
    fewer than k cells can hold something better. That leaves k C entries instead of h w C for the second sort.
    """
    num_classes = heat.shape[-1]
    _, best_cells = tf.math.top_k(tf.reduce_max(heat, axis=-1), num_cells)  # [B, num_cells]
    heat = tf.gather(heat, best_cells, batch_dims=1)  # [B, num_cells, C]
    values, index = tf.math.top_k(tf.reshape(heat, [-1, num_cells * num_classes]), top_k)
    return values, tf.gather(best_cells, index // num_classes, batch_dims=1), index % num_classes
