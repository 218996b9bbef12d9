"""The CVAT reader: XML 1.1 for images, and for videos whose frames were saved as images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.formats.envelopes import BBox, around_ellipse, around_mask, around_points, around_rotated_box
from ttfnet_tf.formats.json_nodes import Mistake
from ttfnet_tf.formats.labelled_images import ImageFinder, LabelledImages, folder_of
from ttfnet_tf.formats.records import Box, DataSet, Problems, Progress, no_progress
from ttfnet_tf.formats.source_files import files_like, find_images, parse_number
from ttfnet_tf.formats.split_names import split_name
from ttfnet_tf.formats.voc_xml import Malformed, Node, parse_xml

_WITHOUT_AREA = ("polyline", "points", "tag", "skeleton")
NO_AREA = "lines, points, tags and skeletons are skipped"
_NO_SUBSET = ("", "default")


def read_cvat(
    source: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    problems: Problems,
    progress: Progress = no_progress,
) -> DataSet:
    """Reads an annotations.xml, or those below a folder. Subsets of CVAT are splits.

    Polygons, ellipses, masks, cuboids and rotated boxes become the boxes around them. A frame of a track is the image frame_000012.

    Args:
        source: the file or folder.
        images: folder of the images; default `images` beside the file, else its own folder.
        split: the one to read, or the name for images without a subset; default all, or "train".
        classes: their order; default alphabetical.
        problems: gets a line for every image with a mistake, which is skipped.
        progress: shows progress over a list.

    Raises:
        UserError: there is no XML file, or no such split.
    """
    files = files_like(source, "**/*.xml") if source.is_dir() else [source]
    if not files:
        raise UserError(f"{source}: holds no XML file of CVAT")
    home = folder_of(source)
    finder = ImageFinder([images] if images is not None else [home / "images", home])
    collected = LabelledImages(finder, classes, problems, Counter())
    for path in files:
        try:
            root = parse_xml(path)
        except Malformed as error:
            problems.add(path, error.line, str(error))
            continue
        except UserError as error:
            problems.lines.append(str(error))
            continue
        if root.tag != "annotations":
            problems.add(path, root.line, f"is not CVAT's XML: its root is <{root.tag}>, not <annotations>")
            continue
        for node in progress("images", [child for child in root.children if child.tag == "image"]):
            # Data sets have a folder for each subset.
            in_subset = collected.finder.exact(f"{node.attributes.get('subset', '')}/{node.attributes.get('name', '')}")
            try:
                where, name, size, boxes = _read_image(node, split, collected.notes)
                collected.add(where, name, size, boxes, f"{path}:{node.line}", in_subset)
            except Mistake as mistake:
                problems.add(path, getattr(mistake, "line", node.line), str(mistake))
        if any(child.tag == "track" for child in root.children):
            _read_tracks(root, path, images or home, split, collected)
    return collected.data_set(source, images, split, classes)


def _wrong(node: Node, text: str) -> Mistake:
    mistake = Mistake(f"{node.tag} {text}")
    mistake.line = node.line  # type: ignore[attr-defined]
    return mistake


def _number(node: Node, key: str, default: float | None = None) -> float:
    text = node.attributes.get(key)
    if text is None and default is not None:
        return default
    value = parse_number(text or "")
    if value is None:
        raise _wrong(node, f"has {key} '{text}', not a number" if text is not None else f"has no {key}")
    return value


def _side(node: Node, key: str) -> int:
    value = _number(node, key)
    if value < 1 or value != int(value):
        raise _wrong(node, f"has {key} '{node.attributes[key]}', not a size in pixels")
    return int(value)


def _read_image(node: Node, split: str | None, notes: Counter[str]) -> tuple[str, str, tuple[int, int] | None, list[Box]]:
    name = node.attributes.get("name", "").strip()
    if not name:
        raise _wrong(node, "has no name")
    size = (_side(node, "height"), _side(node, "width")) if "width" in node.attributes or "height" in node.attributes else None
    subset = node.attributes.get("subset", "")
    where = split_name(subset.lower()) if subset.lower() not in _NO_SUBSET else split or "train"
    boxes = [box for child in node.children if (box := _read_shape(child, child.attributes.get("label", ""), size, notes)) is not None]
    return where, name, size, boxes


def _read_shape(node: Node, label: str, size: tuple[int, int] | None, notes: Counter[str]) -> Box | None:
    if node.tag in _WITHOUT_AREA:
        notes[NO_AREA] += 1
        return None
    if node.tag not in _SHAPES and node.tag != "mask":
        raise _wrong(node, "is a shape that is not known")
    if not label.strip():
        raise _wrong(node, "has no label")
    bbox = _mask(node, size) if node.tag == "mask" else _SHAPES[node.tag](node)
    return Box(label.strip(), bbox, {"occluded": 1} if node.attributes.get("occluded") == "1" else {})


def _box(node: Node) -> BBox:
    left, top, right, bottom = (_number(node, key) for key in ("xtl", "ytl", "xbr", "ybr"))
    for low, first, high, last in (("xtl", left, "xbr", right), ("ytl", top, "ybr", bottom)):
        if last < first:
            raise _wrong(node, f"has {high} {last:g} before {low} {first:g}")
    box = left, top, right - left, bottom - top
    return around_rotated_box(box, _number(node, "rotation", 0), (left + box[2] / 2, top + box[3] / 2))


def _polygon(node: Node) -> BBox:
    points = []
    for text in node.attributes.get("points", "").split(";"):
        values = [parse_number(one) for one in text.split(",")]
        if len(values) != 2 or None in values:
            raise _wrong(node, f"has a point '{text[:40]}', which is not x,y")
        points.append((values[0], values[1]))
    if len(points) < 3:
        raise _wrong(node, f"has {len(points)} points; a polygon has at least 3")
    return around_points(points)


def _ellipse(node: Node) -> BBox:
    radii = _number(node, "rx"), _number(node, "ry")
    if min(radii) < 0:
        raise _wrong(node, f"has a radius {min(radii):g}")
    return around_ellipse((_number(node, "cx"), _number(node, "cy")), radii, _number(node, "rotation", 0))


def _cuboid(node: Node) -> BBox:
    corners = [f"{side}{number}" for side in ("tl", "bl", "tr", "br") for number in (1, 2)]
    return around_points((_number(node, f"x{corner}"), _number(node, f"y{corner}")) for corner in corners)


def _mask(node: Node, size: tuple[int, int] | None) -> BBox:
    """Around a mask: lengths of runs by rows of its window, the first of them background."""
    height, width = _side(node, "height"), _side(node, "width")
    if height * width > (size[0] * size[1] if size else MAX_PIXELS):
        raise _wrong(node, f"has {width} x {height} pixels, more than its image")
    runs = [parse_number(text) for text in node.attributes.get("rle", "").split(",")]
    if any(run is None or run < 0 or run != int(run) for run in runs):
        raise _wrong(node, "has an rle that is not a list of lengths")
    lengths = [int(run) for run in runs if run is not None]
    if sum(lengths) != height * width:
        raise _wrong(node, f"has an rle of {sum(lengths)} pixels for {width} x {height}")
    mask = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(height, width)
    bbox = around_mask(mask, _number(node, "left"), _number(node, "top"))
    if bbox is None:
        raise _wrong(node, "has no pixel")
    return bbox


_SHAPES: dict[str, Callable[[Node], BBox]] = {"box": _box, "polygon": _polygon, "ellipse": _ellipse, "cuboid": _cuboid}


def _read_tracks(root: Node, path: Path, home: Path, split: str | None, collected: LabelledImages) -> None:
    """Adds the frames of a video: a shape of a track belongs to the image whose name ends in the number of its frame."""
    size = _video_size(root)
    boxes: dict[int, list[Box]] = {}
    broken: set[int] = set()
    lines: dict[int, int] = {}
    for track in (child for child in root.children if child.tag == "track"):
        for node in track.children:
            if node.attributes.get("outside") == "1":
                continue
            frame = parse_number(node.attributes.get("frame", ""))
            if frame is None or frame < 0 or frame != int(frame):
                collected.problems.add(path, node.line, f"{node.tag} has frame '{node.attributes.get('frame', '')}', not a number")
                continue
            lines.setdefault(int(frame), node.line)
            try:
                box = _read_shape(node, track.attributes.get("label", ""), size, collected.notes)
            except Mistake as mistake:
                collected.problems.add(path, node.line, str(mistake))
                broken.add(int(frame))
                continue
            boxes.setdefault(int(frame), []).extend([box] if box is not None else [])
    names = {image.stem: image.relative_to(home).as_posix() for image in find_images(home)} if boxes and home.is_dir() else {}
    for frame in sorted(set(boxes) - broken):
        stem = f"frame_{frame:06d}"
        try:
            collected.add(split or "train", names.get(stem, f"{stem}.png"), size, boxes[frame], f"{path}:{lines[frame]}")
        except Mistake as mistake:
            collected.problems.add(path, lines[frame], str(mistake))


def _video_size(root: Node) -> tuple[int, int] | None:
    """(height, width) of the frames as the file's `original_size` says."""
    waiting = [node for node in root.children if node.tag == "meta"]
    while waiting:
        node = waiting.pop()
        if node.tag == "original_size":
            sides = [parse_number(node.value(side)) for side in ("height", "width")]
            height, width = (int(side) if side is not None and side >= 1 else 0 for side in sides)
            return (height, width) if height and width else None
        waiting += node.children
    return None


def is_cvat(path: Path) -> bool:
    """Whether the root of an XML file is CVAT's, as its first kilobytes say; a file of VOC has <annotation>."""
    try:
        with open(path, "rb") as file:
            return b"<annotations" in file.read(4096)
    except OSError:
        return False
