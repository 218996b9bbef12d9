"""Rules of `--fix` that move boxes with their image: EXIF rotation, and files of another size than annotated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ttfnet_tf.doctor.box_geometry import OUTSIDE
from ttfnet_tf.doctor.findings import Place
from ttfnet_tf.doctor.fix_draft import Draft


def rotate_boxes(draft: Draft, place: Place) -> None:
    """Moves boxes from the stored image to the image that EXIF makes of it."""
    facts = draft.facts_of(place)
    height, width = facts.stored
    turns = {
        5: lambda x, y: (y, x),
        6: lambda x, y: (height - y, x),
        7: lambda x, y: (height - y, width - x),
        8: lambda x, y: (y, width - x),
    }
    _move(draft, place, facts.size, turns[facts.orientation])


def fit_to_file(draft: Draft, place: Place) -> None:
    """Scales the boxes of a file that was resized after annotation, or corrects a wrong size; drops the image if neither fits."""
    facts, image = draft.facts_of(place), draft.entry(place)
    (height, width), stated = facts.size, (image["height"], image["width"])
    boxes = [draft.content["annotations"][position].get("bbox") for position in draft.annotations_of("image_id", image["id"])]
    if not all(is_box(box) for box in boxes):
        draft.drop_image(place.position)
        return

    def fit(height, width):
        return all(x >= -OUTSIDE and y >= -OUTSIDE and x + w <= width + OUTSIDE and y + h <= height + OUTSIDE for x, y, w, h in boxes)

    x_scale, y_scale = width / stated[1], height / stated[0]
    if fit(*stated) and abs(x_scale / y_scale - 1) < 0.01:
        _move(draft, place, facts.size, lambda x, y: (x * x_scale, y * y_scale))
    elif fit(height, width):
        draft.change("images", place.position, width=width, height=height)
    else:
        draft.drop_image(place.position)


def is_box(box: Any) -> bool:
    """Whether a "bbox" holds four finite numbers."""
    return isinstance(box, list) and len(box) == 4 and all(type(side) in (int, float) and abs(side) < 2**53 for side in box)


def _move(draft: Draft, place: Place, size: tuple[int, int], point: Callable[[float, float], tuple[float, float]]) -> None:
    """Gives an image another (H, W) and moves its boxes and polygons by `point`; drops it if it has other shapes, such as keypoints."""
    positions = draft.annotations_of("image_id", draft.entry(place)["id"])
    moved = []
    for position in positions:
        annotation = draft.content["annotations"][position]
        polygons, box = annotation.get("segmentation"), annotation.get("bbox")
        has_polygons = isinstance(polygons, list) and all(isinstance(one, list) and len(one) % 2 == 0 for one in polygons)
        if "keypoints" in annotation or not (polygons is None or has_polygons) or not is_box(box):
            draft.drop_image(place.position)
            return
        corners = [point(box[0], box[1]), point(box[0] + box[2], box[1] + box[3])]
        (x1, x2), (y1, y2) = (sorted(values) for values in zip(*corners))
        keys: dict[str, Any] = {"bbox": [x1, y1, x2 - x1, y2 - y1]}
        if polygons:
            keys["segmentation"] = [[value for pair in zip(one[::2], one[1::2]) for value in point(*pair)] for one in polygons]
        if isinstance(annotation.get("area"), (int, float)) and box[2] * box[3]:
            keys["area"] = annotation["area"] * (keys["bbox"][2] * keys["bbox"][3]) / (box[2] * box[3])
        moved.append((position, keys))
    for position, keys in moved:
        draft.change("annotations", position, **keys)
    draft.change("images", place.position, width=size[1], height=size[0])
