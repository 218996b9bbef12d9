"""Images of a run for TensorBoard: training inputs with their targets, and the worst images of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ttfnet_tf.boxes import xywh_to_xyxy
from ttfnet_tf.data.coco import CocoSplit
from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.errors import UserError
from ttfnet_tf.evaluation.matches import IOU, SHOWN_SCORE, ImageMatches, Matches
from ttfnet_tf.inspect.contact_sheet import contact_sheet, fit
from ttfnet_tf.inspect.microscope import Microscope, choose_images
from ttfnet_tf.inspect.overlays import labelled_boxes, overlay_heatmap, overlay_mistakes, overlay_weights

_INPUT_SIDE, _WORST_SIDE = 240, 360  # px of the longer side of a panel: a card of TensorBoard is about 330 wide


def inputs(microscope: Microscope | None, epoch: int, count: int) -> dict[str, np.ndarray]:
    """Training images with their targets, as the network receives them in `epoch` (from 0); unreadable images are skipped.

    Returns:
        "input/<image id>" -> uint8 [height, width, 3].
    """
    pages: dict[str, np.ndarray] = {}
    if microscope is None:
        return pages
    split = microscope.split
    for index in choose_images(split, None, count):
        try:
            view = microscope.augmented(index, epoch, microscope.read(index))
        except UserError:  # training itself reports it
            continue
        image, statistics = fit(view.image, _INPUT_SIDE), view.statistics
        scale = image.shape[1] / view.image.shape[1]
        panels = [
            ("boxes", labelled_boxes(image, view.boxes * np.float32(scale), view.labels, split.class_names)),
            ("heatmap", overlay_heatmap(image, view.maps["heatmap"])),
            ("weights of the box loss", overlay_weights(image, view.maps["box_weight"])),
        ]
        mixed = f" with {', '.join(map(str, view.others))}" if view.others else ""
        name = split.images.shown_name(index)
        title = f"image id {name}{mixed}, epoch {epoch} (from 0): {statistics.objects} of {view.annotated} objects"
        note = (
            f"{view.cells.covered} cells regress, {100 * statistics.ambiguous:.1f} % of them ambiguous; {statistics.lost} objects keep none"
        )
        pages[f"input/{name}"] = contact_sheet(title, [note], [panels])
    return pages


def worst(split: CocoSplit, matches: Matches, count: int) -> dict[str, np.ndarray]:
    """The images of an evaluation with the most missed objects and wrong detections; unreadable images are skipped.

    Returns:
        "worst/1", "worst/2", ... -> uint8 [height, width, 3].
    """
    files = {image.id: image.path for image in split.images}
    names = dict(zip(split.category_ids, split.class_names))
    pages = {}
    for place, image_id in enumerate(matches.worst(count), start=1):
        try:
            pixels = read_rgb(files[image_id])
        except UserError:
            continue
        pages[f"worst/{place}"] = _mistakes_page(pixels, image_id, matches.images[image_id], names)
    return pages


def _mistakes_page(pixels: np.ndarray, image_id: int, of_image: ImageMatches, names: dict[int, str]) -> np.ndarray:
    image = fit(pixels, _WORST_SIDE)
    scale = np.array([image.shape[1] / pixels.shape[1], image.shape[0] / pixels.shape[0]] * 2, np.float32)

    def draw(mistakes: Sequence[dict], correct: Sequence[dict]):
        everything = [*mistakes, *correct]
        boxes = xywh_to_xyxy([one["bbox"] for one in everything]) * scale
        texts = [names[one["category_id"]] + (f" {one['score']:.2f}" if "score" in one else "") for one in everything]
        return overlay_mistakes(image, boxes, texts, [True] * len(mistakes) + [False] * len(correct))

    title = f"image id {image_id}: {len(of_image.missed)} missed, {len(of_image.wrong)} wrong, {len(of_image.correct)} correct"
    panels = [
        ("objects: missed ones in red", draw(of_image.missed, of_image.found)),
        ("detections: wrong ones in red", draw(of_image.wrong, of_image.correct)),
    ]
    return contact_sheet(title, [f"IoU of {IOU} or more, scores above {SHOWN_SCORE}"], [panels])
