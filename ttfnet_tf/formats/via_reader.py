"""The VIA reader: a project of the VGG Image Annotator, version 1, 2 or 3, or annotations JSON of 1 or 2; shapes in pixels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ttfnet_tf.formats.envelopes import BBox, around_ellipse, around_points
from ttfnet_tf.formats.json_nodes import JsonNode, Mistake, read_node
from ttfnet_tf.formats.labelled_images import ImageFinder, LabelledImages, folder_of, name_in_url
from ttfnet_tf.formats.records import Box, DataSet, Problems, Progress, no_progress
from ttfnet_tf.formats.via3_reader import NO_AREA, Via3Images, is_via3
from ttfnet_tf.json_text import short_json

# Attributes that hold the class where a region has several, the likeliest first.
_CLASS_ATTRIBUTES = ("class", "label", "category", "type", "name", "object", "class_name")
_WITHOUT_AREA = ("point", "polyline")


def read_via(
    source: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    problems: Problems,
    progress: Progress = no_progress,
) -> DataSet:
    """Reads one JSON file. Sizes come from the images, because the file has none.

    Circles, ellipses and polygons become the boxes around them. The class is the region's attribute called class, label and the like,
    else its only one.

    Args:
        source: the file.
        images: folder of the images; default that of the file.
        split: name of the split; default "train".
        classes: their order; default alphabetical.
        problems: gets a line for every image with a mistake, which is skipped.
        progress: shows progress over a list.
    """
    home = images or folder_of(source)
    collected = LabelledImages(ImageFinder([home]), classes, problems, Counter())
    node = read_node(source, problems)
    try:
        project = Via3Images(node) if node is not None and is_via3(node) else None
        entries = list(project or _entries(node)) if node is not None else []
    except Mistake as mistake:
        problems.add(source, None, str(mistake))
        entries = []
    for key, entry in progress("images", entries):
        try:
            if project is None:
                names = [entry.get("filename").text()]
                boxes = [box for region in _regions(entry) if (box := _read_region(region, collected.notes)) is not None]
            else:
                names = project.names(entry)
                boxes = [Box(*one) for one in project.boxes(key, _class_of, collected.notes)]
            found = (collected.finder.find(name_in_url(name)) for name in names[1:])
            path = collected.finder.find(names[0]) or next(found, None)
            collected.add(split or "train", names[0], None, boxes, f"{source}: {entry.where}", path)
        except Mistake as mistake:
            text = str(mistake)
            problems.add(source, None, text if text.startswith(entry.where) else f"{entry.where}: {text}")
    return collected.data_set(source, images, split, classes)


def _entries(node: JsonNode) -> Iterator[tuple[str, JsonNode]]:
    """(key, image) of a project or of an export of annotations."""
    return (node.get("_via_img_metadata") if "_via_img_metadata" in node.object() else node).members()


def _regions(entry: JsonNode) -> list[JsonNode]:
    """A list since version 2, before an object with numbers as keys."""
    regions = entry.get("regions")
    return [one for _, one in regions.members()] if isinstance(regions.value, dict) else regions.items()


def _read_region(region: JsonNode, notes: Counter[str]) -> Box | None:
    shape = region.get("shape_attributes")
    kind = shape.get("name").text()
    if kind in _WITHOUT_AREA:
        notes[NO_AREA] += 1
        return None
    if kind not in _SHAPES:
        raise shape.get("name").mistake(f"is '{kind}', which is unknown")
    return Box(_class_of(region.get("region_attributes")), _SHAPES[kind](shape))


def _class_of(attributes: JsonNode) -> str:
    named = [(key, node) for key, node in attributes.members() if node.value not in ("", None, {})]
    by_name = {key.lower(): node for key, node in reversed(named)}
    node = next((by_name[name] for name in _CLASS_ATTRIBUTES if name in by_name), None)
    if node is None:
        if len(named) != 1:
            which = f"has {len(named)} attributes ({short_json([key for key, _ in named])}), of which none is" if named else "has no"
            raise attributes.mistake(f"{which} class; name the attribute 'class'")
        node = named[0][1]
    if isinstance(node.value, dict):  # a checkbox
        chosen = [key for key, is_set in node.value.items() if is_set]
        if len(chosen) != 1:
            raise node.mistake(f"has {len(chosen)} boxes ticked; a class is one")
        return chosen[0]
    return node.text()


def _rectangle(shape: JsonNode) -> BBox:
    x, y = shape.get("x").number(), shape.get("y").number()
    return x, y, shape.get("width").number(0), shape.get("height").number(0)


def _circle(shape: JsonNode) -> BBox:
    radius = shape.get("r").number(0)
    return around_ellipse((shape.get("cx").number(), shape.get("cy").number()), (radius, radius))


def _ellipse(shape: JsonNode) -> BBox:
    radii = shape.get("rx").number(0), shape.get("ry").number(0)
    theta = shape.get("theta")  # radians, since version 2.0.6
    degrees = 0 if theta.value is None else math.degrees(theta.number())
    return around_ellipse((shape.get("cx").number(), shape.get("cy").number()), radii, degrees)


def _polygon(shape: JsonNode) -> BBox:
    xs, ys = ([one.number() for one in shape.get(key).items()] for key in ("all_points_x", "all_points_y"))
    if len(xs) != len(ys):
        raise shape.get("all_points_y").mistake(f"has {len(ys)} numbers, all_points_x has {len(xs)}")
    if len(xs) < 3:
        raise shape.get("all_points_x").mistake(f"has {len(xs)} numbers; a polygon has at least 3 points")
    return around_points(zip(xs, ys))


_SHAPES = {"rect": _rectangle, "circle": _circle, "ellipse": _ellipse, "polygon": _polygon, "polyline": _polygon}
