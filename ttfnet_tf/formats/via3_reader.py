"""Projects of VIA 3: regions of images as numbers, with their attributes in tables of the file; shapes in pixels.

`view` names the file that it shows, `metadata` a region of a view: "xy" is [shape, coordinates...], "z" times in a video, "av" attribute
id -> text, or id of an option of `attribute`. Reference: the developers' README of VIA 3.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from ttfnet_tf.formats.envelopes import BBox, around_ellipse, around_points
from ttfnet_tf.formats.json_nodes import JsonNode

_IMAGE = 2  # type of a file
_CHECKBOX = 2  # type of an attribute
_POINT, _RECTANGLE, _CIRCLE, _ELLIPSE, _LINE, _POLYLINE, _POLYGON = range(1, 8)
_WITHOUT_AREA = (_POINT, _LINE, _POLYLINE)
# Shape -> how many numbers follow it.
_NUMBERS = {_RECTANGLE: 4, _CIRCLE: 3, _ELLIPSE: 4}
NO_AREA = "lines and points have no area and are skipped"


def is_via3(node: JsonNode) -> bool:
    """Whether a JSON object is a project of VIA 3."""
    return "metadata" in node.object() and "project" in node.object()


class Via3Images:
    """The images of a project, with their regions.

    Args:
        project: the whole file.

    Raises:
        Mistake: it is about videos or sound, or its tables are wrong.
    """

    def __init__(self, project: JsonNode):
        self._files, self._attributes, self._views = (project.get(key) for key in ("file", "attribute", "view"))
        for table in (self._files, self._attributes):
            table.object()
        self._regions: dict[str, list[JsonNode]] = {key: [] for key in self._views.object()}
        for _, region in project.get("metadata").members():
            if region.get("z").value not in (None, []):
                raise region.get("z").mistake("is a time in a video or in sound; VIA 3's projects of images are read alone")
            view = _key(region.get("vid"))
            if view not in self._regions:
                raise region.get("vid").mistake(f"is '{view}', which is none of view")
            self._regions[view].append(region)

    def __iter__(self) -> Iterator[tuple[str, JsonNode]]:
        """(id of the view, its entry)."""
        return self._views.members()

    def names(self, view: JsonNode) -> list[str]:
        """The names of a view's image, the likeliest first: the one that is shown, and the place it is loaded from."""
        shown = view.get("fid_list").items()
        if len(shown) != 1:
            raise view.get("fid_list").mistake(f"names {len(shown)} files; a view of one image is read")
        number = _key(shown[0])
        if number not in self._files.object():
            raise shown[0].mistake(f"is '{number}', which is none of file")
        file = self._files.get(number)
        if file.get("type").value != _IMAGE:
            raise file.get("type").mistake("is not 2; VIA 3's projects of images are read alone")
        source = file.get("src").value
        return [file.get("fname").text(), *([source.strip()] if isinstance(source, str) and source.strip() else [])]

    def boxes(self, view: str, class_of: Callable[[JsonNode], str], notes: Counter[str]) -> Iterator[tuple[str, BBox]]:
        """(class, box) of each region of a view; what has no area, or is about the whole image, is skipped.

        Args:
            view: its id.
            class_of: from an object of attributes by name to the class.
            notes: counts what is skipped.
        """
        for region in self._regions[view]:
            numbers = region.get("xy").items()
            if not numbers:  # of the whole image
                continue
            shape = numbers[0].number()
            if shape in _WITHOUT_AREA:
                notes[NO_AREA] += 1
                continue
            values = [one.number() for one in numbers[1:]]
            yield class_of(self._named(region.get("av"))), _box(region.get("xy"), shape, values)

    def _named(self, values: JsonNode) -> JsonNode:
        """The attributes of a region by name; ids of options become their texts."""
        named = {}
        for key, value in values.members():
            if key not in self._attributes.object():
                raise value.mistake("is of an attribute that is none of attribute")
            attribute = self._attributes.get(key)
            options = attribute.get("options").value
            named[attribute.get("aname").text()] = _chosen(value, attribute, options if isinstance(options, dict) else {})
        return JsonNode(named, values.where)


def _chosen(value: JsonNode, attribute: JsonNode, options: dict) -> object:
    """The text of an attribute; of several ticked boxes an object, as in VIA 2."""
    if not options or not isinstance(value.value, str) or not value.value.strip():
        return value.value
    keys = [key.strip() for key in value.value.split(",")] if attribute.get("type").value == _CHECKBOX else [value.value]
    unknown = next((key for key in keys if key not in options), None)
    if unknown is not None:
        raise value.mistake(f"is '{unknown}', which is none of {attribute.where}.options")
    return options[keys[0]] if len(keys) == 1 else {str(options[key]): True for key in keys}


def _key(node: JsonNode) -> str:
    """A number of the file's tables, written as a number or as text."""
    return str(node.pixels()) if isinstance(node.value, int) else node.text()


def _box(xy: JsonNode, shape: float, values: list[float]) -> BBox:
    if shape in _NUMBERS and len(values) != _NUMBERS[int(shape)]:
        raise xy.mistake(f"has {len(values)} numbers after the shape {shape:g}, which has {_NUMBERS[int(shape)]}")
    if shape in _NUMBERS and min(values[2:]) < 0:
        raise xy.mistake("has a negative side or radius")
    if shape == _RECTANGLE:
        x, y, width, height = values
        return x, y, width, height
    if shape in (_CIRCLE, _ELLIPSE):
        return around_ellipse((values[0], values[1]), (values[2], values[-1]))
    if shape != _POLYGON:
        raise xy.mistake(f"is of shape {shape:g}, which is not read")
    if len(values) % 2 or len(values) < 6:
        raise xy.mistake(f"has {len(values)} numbers after the shape; a polygon has x and y of at least 3 points")
    return around_points(zip(values[::2], values[1::2]))
