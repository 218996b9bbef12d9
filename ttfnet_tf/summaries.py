"""What a run shows in TensorBoard: scalars of training and evaluation, and a few pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from ttfnet_tf.draw import class_colour, draw_boxes

SHOWN_SCORE = 0.3  # predictions below it are left out of the pictures


class Summaries:
    """Event files under `train/` and `eval/` of a work directory.

    Args:
        folder: the work directory.
        writes: False makes every method do nothing (workers other than the chief).
    """

    def __init__(self, folder: Path, *, writes: bool = True):
        self._writers = {
            name: tf.summary.create_file_writer(str(folder / name)) if writes else tf.summary.create_noop_writer()
            for name in ("train", "eval")
        }

    def scalars(self, kind: str, step: int, values: Mapping[str, float]) -> None:
        """Writes `values` under their names; kind is "train" or "eval"."""
        with self._writers[kind].as_default(step):
            for name, value in values.items():
                tf.summary.scalar(name, value)

    def pictures(self, step: int, panels: Mapping[str, np.ndarray]) -> None:
        """Writes uint8 [H, W, 3] pictures, one for each name."""
        with self._writers["eval"].as_default(step):
            for name, panel in panels.items():
                tf.summary.image(name, panel[None])

    def text(self, name: str, content: str) -> None:
        """Writes `content` as preformatted text at step 0."""
        with self._writers["train"].as_default(0):
            tf.summary.text(name, "\n".join("    " + line for line in content.splitlines()))

    def flush(self) -> None:
        """Makes everything visible to a reader now."""
        for writer in self._writers.values():
            writer.flush()


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
    truth = draw_boxes(image, true_boxes, [class_names[c] for c in true_labels], [class_colour(int(c)) for c in true_labels])
    texts = [f"{class_names[c]} {s:.2f}" for c, s in zip(labels[shown], scores[shown])]
    predicted = draw_boxes(image, boxes[shown], texts, [class_colour(int(c)) for c in labels[shown]])
    upper = np.concatenate([truth, overlay_heatmap(image, target_heatmap)], axis=1)
    return np.concatenate([upper, np.concatenate([predicted, overlay_heatmap(image, heatmap)], axis=1)], axis=0)


def overlay_heatmap(image: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """The picture in grey with each class' heatmap in its colour.

    Args:
        image: uint8 [H, W, 3] RGB.
        heatmap: [h, w, C] in 0..1; H and W are multiples of h and w.
    """
    strongest = heatmap.argmax(axis=-1)  # [h, w]
    colours = np.array([class_colour(c) for c in range(heatmap.shape[-1])], np.float32)[strongest]  # [h, w, 3]
    opacity = heatmap.max(axis=-1)[..., None].astype(np.float32)
    rows, columns = image.shape[0] // heatmap.shape[0], image.shape[1] // heatmap.shape[1]
    colours, opacity = (np.repeat(np.repeat(m, rows, axis=0), columns, axis=1) for m in (colours, opacity))
    grey = 0.6 * image.mean(axis=-1, keepdims=True)
    return np.clip(grey * (1 - opacity) + colours * opacity, 0, 255).astype(np.uint8)
