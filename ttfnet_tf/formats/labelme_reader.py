"""The labelme reader: one JSON file for each image, with shapes in pixels; also what AnyLabeling writes."""

from __future__ import annotations

import base64
import binascii
import io
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.formats.envelopes import BBox, around_ellipse, around_mask, around_points
from ttfnet_tf.formats.json_nodes import JsonNode, Mistake, read_node
from ttfnet_tf.formats.labelled_images import ImageFinder, LabelledImages, files_by_split, folder_of
from ttfnet_tf.formats.records import Box, DataSet, Problems, Progress, no_progress
from ttfnet_tf.formats.source_files import ImageIndex, actual, is_file

# shape_type -> least number of points.
_POLYGONS = {"polygon": 3, "rectangle": 2, "rotation": 4, "oriented_rectangle": 4, "cuboid": 4}
_WITHOUT_AREA = ("line", "linestrip", "point", "points")
NO_AREA = "lines, points and image tags have no area and are skipped"


def read_labelme(
    source: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    problems: Problems,
    progress: Progress = no_progress,
) -> DataSet:
    """Reads one JSON file or all below a folder; folders train, val and test in it are splits.

    Polygons, circles, rotated boxes and masks become the boxes around them.

    Args:
        source: the file or folder.
        images: folder of the images; default where the files say, else below `source`.
        split: the one to read, or the name for files without one; default all, or "train".
        classes: their order; default alphabetical.
        problems: gets a line for every image with a mistake, which is skipped.
        progress: shows progress over a list.

    Raises:
        UserError: there is no JSON file, or no such split.
    """
    found = files_by_split(source, "*.json", split)
    if not any(found.values()):
        raise UserError(f"{source}: holds no JSON file of labelme")
    home = images or folder_of(source)
    index = ImageIndex([home])
    collected = LabelledImages(ImageFinder([home]), classes, problems, Counter())
    for name, paths in found.items():
        for path in progress("JSON files", paths):
            node = read_node(path, problems)
            if node is None:
                continue
            try:
                _add_file(node, path, name, index, images is not None, collected)
            except Mistake as mistake:
                problems.add(path, None, str(mistake))
    return collected.data_set(source, images, split, classes)


def _add_file(node: JsonNode, path: Path, split: str, index: ImageIndex, is_elsewhere: bool, collected: LabelledImages) -> None:
    stated = node.get("imagePath").text().replace("\\", "/")
    size = None
    if node.get("imageHeight").value is not None or node.get("imageWidth").value is not None:
        size = node.get("imageHeight").pixels(), node.get("imageWidth").pixels()
    boxes = []
    for shape in node.get("shapes").items():
        bbox = shape_box(shape, collected.notes)
        if bbox is not None:
            is_difficult = shape.get("difficult").value is True  # AnyLabeling's
            boxes.append(Box(shape.get("label").text(), bbox, {"difficult": 1, "iscrowd": 1} if is_difficult else {}))
    beside = actual(path.parent / stated)
    image = beside if not is_elsewhere and is_file(beside) else index.find(path, stated)
    collected.add(split, stated, size, boxes, str(path), image)


def shape_box(shape: JsonNode, notes: Counter[str]) -> BBox | None:
    """The box around a shape; None, and a note, for one without area.

    Raises:
        Mistake: it is of an unknown type, or its points are wrong.
    """
    kind = "polygon" if shape.get("shape_type").value is None else shape.get("shape_type").text()
    if kind in _WITHOUT_AREA:
        notes[NO_AREA] += 1
        return None
    points = [point.point() for point in shape.get("points").items()]
    if kind in _POLYGONS:
        if len(points) < _POLYGONS[kind]:
            raise shape.get("points").mistake(f"has {len(points)} points; a {kind} has at least {_POLYGONS[kind]}")
        return around_points(points)
    if kind not in ("circle", "mask"):
        raise shape.get("shape_type").mistake(f"is '{kind}', which is unknown")
    if len(points) != 2:
        raise shape.get("points").mistake(f"has {len(points)} points; a {kind} has 2")
    if kind == "circle":
        radius = math.dist(*points)  # the second point lies on the circle
        return around_ellipse(points[0], (radius, radius))
    return _mask_box(shape, points)


def _mask_box(shape: JsonNode, points: list[tuple[float, float]]) -> BBox:
    """Around the pixels of a mask, a PNG that covers the pixels from the first to the second point, both included."""
    (left, top), (right, bottom) = points
    where = shape.get("mask")
    try:
        with Image.open(io.BytesIO(base64.b64decode(where.text(), validate=True)), formats=["PNG"]) as image:
            if image.size[0] * image.size[1] > MAX_PIXELS:
                raise where.mistake(f"has more than {MAX_PIXELS} pixels")
            if image.size != (right - left + 1, bottom - top + 1):
                size = f"{image.size[0]} x {image.size[1]}"
                raise where.mistake(f"has {size} pixels, but its points span {right - left + 1:g} x {bottom - top + 1:g}")
            mask = np.asarray(image.convert("L")) > 0
    except (binascii.Error, OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise where.mistake("is not a PNG image in base64") from None
    bbox = around_mask(mask, left, top)
    if bbox is None:
        raise where.mistake("has no pixel")
    return bbox
