"""The Label Studio reader: tasks as JSON or JSON-MIN, with shapes in percent of their image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.data.images import IMAGE_SUFFIXES
from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.formats.envelopes import BBox, around_ellipse, around_mask, around_points, around_rotated_box
from ttfnet_tf.formats.json_nodes import JsonNode, Mistake, read_node
from ttfnet_tf.formats.label_studio_brush import BrokenBrush, brush_mask
from ttfnet_tf.formats.labelled_images import ImageFinder, LabelledImages, folder_of, name_in_url
from ttfnet_tf.formats.records import Box, DataSet, Problems, Progress, no_progress

_WITHOUT_AREA = ("keypoint", "keypointlabels", "choices", "textarea", "rating", "number", "taxonomy", "relation", "vector", "vectorlabels")
NO_AREA = "points, choices and other results without area are skipped"
NO_ANNOTATION = "tasks without an annotation are skipped"
SEVERAL = "tasks have several annotations; the one marked as ground truth is used, else the first"

Size = tuple[int, int]  # (height, width) in pixels


def read_label_studio(
    source: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    problems: Problems,
    progress: Progress = no_progress,
) -> DataSet:
    """Reads one JSON file. Polygons, ellipses, brushes and rotated boxes become the boxes around them.

    Args:
        source: the file.
        images: folder of the images; default that of the file. Prefixes of uploaded files are ignored if that finds an image.
        split: name of the split; default "train".
        classes: their order; default alphabetical.
        problems: gets a line for every image with a mistake, which is skipped.
        progress: shows progress over a list.
    """
    collected = LabelledImages(ImageFinder([images or folder_of(source)]), classes, problems, Counter())
    node = read_node(source, problems)
    try:
        tasks = node.items() if node is not None else []
    except Mistake as mistake:
        problems.add(source, None, str(mistake))
        tasks = []
    for task in progress("tasks", tasks):
        try:
            results = _results(task, collected.notes)
            if results is None:
                continue
            name = _image_of(task)
            size = next((stated for result in results if (stated := _size(result)) is not None), None)
            boxes = [box for result in _chosen(results, collected.notes) for box in _boxes(result)]
            collected.add(split or "train", name, size, boxes, f"{source}: {task.where}")
        except Mistake as mistake:
            text = str(mistake)
            problems.add(source, None, text if text.startswith(task.where) else f"{task.where}: {text}")
    return collected.data_set(source, images, split, classes)


def _results(task: JsonNode, notes: Counter[str]) -> list[JsonNode] | None:
    """The regions of a task; None, and a note, without an annotation."""
    key = next((key for key in ("annotations", "completions") if key in task.object()), None)
    if key is None:  # JSON-MIN
        lists = [node for _, node in task.members() if isinstance(node.value, list) and any(isinstance(one, dict) for one in node.value)]
        if not lists and not any(word in task.object() for word in ("annotation_id", "annotator", "lead_time")):
            notes[NO_ANNOTATION] += 1
            return None
        return [one for node in lists for one in node.items()]
    given = [one for one in task.get(key).items() if one.get("was_cancelled").value is not True]
    if not given:
        notes[NO_ANNOTATION] += 1
        return None
    notes[SEVERAL] += len(given) > 1
    best = next((one for one in given if one.get("ground_truth").value is True), given[0])
    return best.get("result").items()


def _image_of(task: JsonNode) -> str:
    """The name of a task's image."""
    data = task.get("data") if "data" in task.object() else task
    texts = {key: node.value.strip() for key, node in data.members() if isinstance(node.value, str) and node.value.strip()}
    likely = [key for key, text in texts.items() if Path(name_in_url(text)).suffix.lower() in IMAGE_SUFFIXES]
    key = next((key for key in ("image", "img", "url", *likely) if key in texts), None)
    if key is None:
        raise data.mistake("names no image")
    return name_in_url(texts[key])


def _chosen(results: list[JsonNode], notes: Counter[str]) -> list[JsonNode]:
    """The results with a box: of one region that is given with labels and without, the one with labels."""
    with_labels = {node.get("id").value for node in results if _labels(node) and isinstance(node.get("id").value, str)}
    chosen = []
    for node in results:
        if _kind(node) in _WITHOUT_AREA:
            notes[NO_AREA] += 1
        elif _labels(node) or not isinstance(node.get("id").value, str) or node.get("id").value not in with_labels:
            chosen.append(node)
    return chosen


def _value(result: JsonNode) -> JsonNode:
    """Of JSON the key `value`, of JSON-MIN the region itself."""
    return result.get("value") if "value" in result.object() else result


def _kind(result: JsonNode) -> str:
    kind = result.get("type").value
    if isinstance(kind, str):
        return kind
    return next((key for key in _value(result).object() if key.endswith("labels")), "rectangle")


def _labels(result: JsonNode) -> list[str]:
    value = _value(result)
    key = next((key for key in (_kind(result), "labels") if isinstance(value.object().get(key), list)), None)
    return [one.text() for one in value.get(key).items()] if key else []


def _size(result: JsonNode) -> Size | None:
    if result.get("original_width").value is None:
        return None
    return result.get("original_height").pixels(), result.get("original_width").pixels()


def _boxes(result: JsonNode) -> list[Box]:
    """A box for each label of a region, nearly always one."""
    labels = _labels(result)
    if not labels:
        raise result.mistake("has no label")
    size = _size(result)
    if size is None:
        raise result.get("original_width").mistake("is missing, so that percent cannot become pixels")
    turned = result.get("image_rotation")
    if turned.value not in (None, 0):
        raise turned.mistake("is not 0; turn the image itself, and label it again")
    bbox = _shape(_value(result), size)
    return [Box(label, bbox) for label in labels]


def _shape(value: JsonNode, size: Size) -> BBox:
    across, down = size[1] / 100, size[0] / 100  # pixels of one percent
    if "rle" in value.object():
        return _brush(value.get("rle"), size)
    if "points" in value.object():
        points = [point.point() for point in value.get("points").items()]
        if len(points) < 3:
            raise value.get("points").mistake(f"has {len(points)} points; a polygon has at least 3")
        return around_points((x * across, y * down) for x, y in points)
    left, top = value.get("x").number() * across, value.get("y").number() * down
    degrees = 0 if value.get("rotation").value is None else value.get("rotation").number()
    if "radiusX" in value.object():
        return around_ellipse((left, top), (value.get("radiusX").number(0) * across, value.get("radiusY").number(0) * down), degrees)
    width, height = value.get("width").number(0) * across, value.get("height").number(0) * down
    return around_rotated_box((left, top, width, height), degrees, (left, top))


def _brush(rle: JsonNode, size: Size) -> BBox:
    values = [one.value for one in rle.items()]
    if size[0] * size[1] > MAX_PIXELS:
        raise rle.mistake(f"belongs to an image of more than {MAX_PIXELS} pixels")
    try:
        bbox = around_mask(brush_mask(bytes(values), size))
    except (BrokenBrush, TypeError, ValueError) as error:
        reason = f" ({error})" if isinstance(error, BrokenBrush) else ""
        raise rle.mistake(f"is no mask of {size[1]} x {size[0]} pixels{reason}") from None
    if bbox is None:
        raise rle.mistake("has no pixel")
    return bbox
