"""The best peaks of a heatmap, and detections above a score; what all methods have in common in decoding.

A peak test on the heatmap takes the place of box suppression. Peaks are compared by their logits: the sigmoid is taken of the best ones
only, which is faster and keeps apart scores that round to the same probability.

Reference: ZJULearning/ttfnet 700ad90, `ttf_head.py` (`get_bboxes`, `simple_nms`, `_topk`).
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

_VECTOR = 16  # float32 numbers in the largest vector of a CPU
# Logit of a cell without a peak: the lowest float32, whose sigmoid is 0. With minus infinity TFLite's int8 quantiser fails.
_NO_PEAK = np.finfo(np.float32).min


def top_peaks(logits: tf.Tensor, top_k: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The best peaks of a heatmap.

    A peak is a cell that no neighbour (3 x 3, same class) exceeds; all cells of a plateau are peaks.

    Args:
        logits: [B, h, w, C]; h, w, C are static.
        top_k: peaks of an image at most; K = min(top_k, h w C).

    Returns:
        float32 [B, K] logits, descending, the lowest number for missing peaks; int32 [B, K] cells (row w + column); int32 [B, K] classes.

    Raises:
        ValueError: if h, w or C is unknown, at trace time.
    """
    height, width, num_classes = logits.shape[1:]
    if None in (height, width, num_classes):
        raise ValueError(f"heatmap {logits.shape} must have static h, w, C")
    cells = height * width
    heat = tf.reshape(_peaks(tf.cast(logits, tf.float32)), [-1, cells, num_classes])
    return _top_peaks(heat, min(top_k, cells), min(top_k, cells * num_classes))


def scores_of(logits: tf.Tensor) -> tf.Tensor:
    """The sigmoid of logits [B, K], the same bits for a row in every batch.

    A CPU computes the last numbers of a tensor, those that do not fill a vector, in another way. Rows of whole vectors leave none. Where
    the batch is always one image, as in TFLite, there is nothing to keep equal, and its quantiser would round between the operations.
    """
    batch, number = logits.shape
    if batch == 1 or not number % _VECTOR:
        return tf.sigmoid(logits)
    return tf.sigmoid(tf.pad(logits, [[0, 0], [0, -number % _VECTOR]]))[:, :number]


def select(detections: dict[str, np.ndarray], score_threshold: float | np.ndarray) -> dict[str, np.ndarray]:
    """Keeps the detections of one image whose score is above the threshold (not equal to it).

    Args:
        detections: "boxes" [K, 4], "scores" [K], "classes" [K] as arrays, one row of what `Method.decode` gives.
        score_threshold: in [0, 1), one number for all or [K] one for each.

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

    Cells are selected first: each of the k best entries lies in one of the k cells with the highest maximum over the classes, because
    fewer than k cells can have a higher one. That leaves k C entries instead of h w C for the second sort.
    """
    num_classes = heat.shape[-1]
    _, best_cells = tf.math.top_k(tf.reduce_max(heat, axis=-1), num_cells)  # [B, num_cells]
    heat = tf.gather(heat, best_cells, batch_dims=1)  # [B, num_cells, C]
    values, index = tf.math.top_k(tf.reshape(heat, [-1, num_cells * num_classes]), top_k)
    return values, tf.gather(best_cells, index // num_classes, batch_dims=1), index % num_classes
