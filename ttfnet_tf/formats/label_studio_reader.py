"""The Label Studio reader: tasks as JSON or JSON-MIN, or a file for each task or annotation; shapes in percent of their image."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ttfnet_tf.data.images import IMAGE_SUFFIXES
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import MAX_PIXELS
from ttfnet_tf.formats.envelopes import BBox, around_ellipse, around_mask, around_points, around_rotated_box
from ttfnet_tf.formats.json_nodes import JsonNode, Mistake, read_node
from ttfnet_tf.formats.label_studio_brush import BrokenBrush, brush_mask
from ttfnet_tf.formats.labelled_images import ImageFinder, LabelledImages, files_by_split, folder_of, name_in_url
from ttfnet_tf.formats.records import Box, DataSet, Problems, Progress, no_progress

_WITHOUT_AREA = ("keypoint", "keypointlabels", "choices", "textarea", "rating", "number", "taxonomy", "relation", "vector", "vectorlabels")
NO_AREA = "points, choices and other results without area are skipped"
NO_ANNOTATION = "tasks without an annotation are skipped"
SEVERAL = "tasks have several annotations; the one marked as ground truth is used, else the first"

_LISTS = ("annotations", "completions")  # of a whole task
_OF_ONE = (*_LISTS, "data", "task", "result", "annotation_id", "annotator", "image")  # of a file that holds one task or annotation

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
    """Reads one JSON file, or all below a folder, where train, val and test are splits.

    A file holds a list of tasks (JSON or JSON-MIN), one task, or one annotation with its task, as Label Studio's cloud storages do.
    Polygons, ellipses, brushes and rotated boxes become the boxes around them.

    Args:
        source: the file or folder.
        images: folder of the images; default `source`, or the folder of the file. Prefixes of uploaded files are ignored if that finds an
            image.
        split: the one to read, or the name for files without one; default all, or "train".
        classes: their order; default alphabetical.
        problems: gets a line for every image with a mistake, which is skipped.
        progress: shows progress over a list.

    Raises:
        UserError: there is no JSON file, or no such split.
    """
    files = files_by_split(source, "*.json", split)
    if not any(files.values()):
        raise UserError(f"{source}: holds no JSON file of Label Studio")
    collected = LabelledImages(ImageFinder([images or folder_of(source)]), classes, problems, Counter())
    for name, paths in files.items():
        for task in progress("tasks", list(_tasks(progress("JSON files", paths), problems).values())):
            place = task.entries[0]
            try:
                chosen = _chosen_entry(task, collected.notes)
                if chosen is None:
                    continue
                place, results = chosen[0], _regions(*chosen)
                image = _image_of(task.node)
                size = next((stated for result in results if (stated := _size(result)) is not None), None)
                boxes = [box for result in _chosen(results, collected.notes) for box in _boxes(result)]
                collected.add(name, image, size, boxes, str(place))
            except Mistake as mistake:
                text, where = str(mistake), place.node.where
                problems.add(place.file, None, text if text.startswith(where) else f"{where}: {text}")
    return collected.data_set(source, images, split, classes)


class _Entry(NamedTuple):
    """An object of a file: a task, or one annotation of a task."""

    file: Path
    node: JsonNode

    def __str__(self) -> str:
        return f"{self.file}: {self.node.where}" if self.node.where else str(self.file)


class _Task(NamedTuple):
    """An image, and what people have drawn on it."""

    node: JsonNode  # that names the image
    entries: list[_Entry]  # the task; of JSON-MIN, and of files of annotations, one for each annotation


def _tasks(files: Iterable[Path], problems: Problems) -> dict[tuple, _Task]:
    """The tasks of some files; several annotations with the id and the image of one task belong together."""
    found: dict[tuple, _Task] = {}
    for file in files:
        node = read_node(file, problems)
        if node is None:
            continue
        try:
            is_one = isinstance(node.value, dict) and any(key in node.value for key in _OF_ONE)
            nodes = [node] if is_one else node.items()
        except Mistake as mistake:
            problems.add(file, None, str(mistake))
            continue
        for one in nodes:
            try:
                task = one.get("task") if isinstance(one.object().get("task"), dict) else one
                found.setdefault(_key(file, one, task), _Task(task, [])).entries.append(_Entry(file, one))
            except Mistake as mistake:
                problems.add(file, None, str(mistake))
    return found


def _key(file: Path, entry: JsonNode, task: JsonNode) -> tuple:
    number = task.get("id").value
    if not any(key in entry.object() for key in _LISTS) and isinstance(number, (int, str)):
        with contextlib.suppress(Mistake):
            return number, _image_of(task)
    return file, entry.where


def _chosen_entry(task: _Task, notes: Counter[str]) -> tuple[_Entry, JsonNode] | None:
    """The annotation that counts, after its entry; None, and a note, without one."""
    whole = task.entries[0]
    key = next((key for key in _LISTS if key in whole.node.object()), None)
    given = (
        [(whole, one) for one in whole.node.get(key).items()]
        if key
        else [(one, one.node) for one in task.entries if _is_annotated(one.node)]
    )
    given = [(entry, one) for entry, one in given if one.get("was_cancelled").value is not True]
    if not given:
        notes[NO_ANNOTATION] += 1
        return None
    notes[SEVERAL] += len(given) > 1
    return next((pair for pair in given if pair[1].get("ground_truth").value is True), given[0])


def _is_annotated(entry: JsonNode) -> bool:
    """Whether an entry is an annotation: with its result, or of JSON-MIN, whose tasks without one say nothing of people."""
    return any(word in entry.object() for word in ("result", "annotation_id", "annotator", "lead_time")) or bool(_min_lists(entry))


def _min_lists(entry: JsonNode) -> list[JsonNode]:
    """The lists of regions of JSON-MIN, one for each control of the labelling page."""
    return [node for _, node in entry.members() if isinstance(node.value, list) and any(isinstance(one, dict) for one in node.value)]


def _regions(entry: _Entry, annotation: JsonNode) -> list[JsonNode]:
    """The regions of an annotation, which in JSON-MIN is the entry itself."""
    if annotation is entry.node and "result" not in annotation.object():
        return [one for node in _min_lists(annotation) for one in node.items()]
    return annotation.get("result").items()


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
