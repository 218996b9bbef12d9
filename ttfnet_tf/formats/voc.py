"""Pascal VOC: one XML file for each image, corners that count pixels from 1 and include the last one."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.parsers import expat

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.records import (
    Box,
    DataSet,
    Entry,
    ImageIndex,
    Problems,
    Split,
    Watch,
    choose_splits,
    common_folder,
    image_size,
    number_classes,
    number_images,
    read_text,
    split_name,
    unwatched,
)

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = ("truncated", "occluded", "difficult")
_SPLITS = ("train", "val", "test")


class Node:
    """An element of an XML file that knows its line."""

    __slots__ = ("children", "line", "tag", "text")

    def __init__(self, tag: str, line: int):
        self.tag, self.line, self.text = tag, line, ""
        self.children: list[Node] = []

    def find(self, tag: str) -> Node | None:
        for child in self.children:
            if child.tag == tag:
                return child
        return None

    def value(self, tag: str) -> str:
        """Text of a child, "" where there is none."""
        child = self.find(tag)
        return child.text.strip() if child is not None else ""


class Malformed(Exception):
    """An XML file that is none; `line` counts from 1."""

    def __init__(self, line: int, text: str):
        super().__init__(text)
        self.line = line


def read_voc(
    source: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    problems: Problems,
    watch: Watch = unwatched,
) -> DataSet:
    """Reads a VOCdevkit, one of its years, folders train, valid and test of XML files, or any folder with XML files below it.

    Args:
        source: the folder.
        images: folder of the images; default JPEGImages of a year, else `source`.
        split: list of ImageSets/Main or folder to take, or the name for files that have none; default all lists or folders, "train".
        classes: their order; default the alphabet.
        problems: gets a line for everything that is wrong; the images concerned are not in the result.
        watch: shows progress over a list.

    Raises:
        UserError: the folder is missing or holds no XML file, or has no such split.
    """
    if not source.is_dir():
        raise UserError(f"{source}: is not a folder; name the folder of VOC's XML files")
    notes: Counter[str] = Counter()
    found = _find_splits(source, split, problems)
    years = _years(source)
    if images is not None:
        folders = [images]
    else:
        folders = [year / "JPEGImages" if (year / "JPEGImages").is_dir() else year for year in years] or [source]
    index = ImageIndex(folders)

    files = list(dict.fromkeys(path for paths in found.values() for path in paths))
    if not files and not problems:
        raise UserError(f"{source}: holds no XML file")
    entries = {}
    for path in watch("XML files", files):
        home = images or (path.parent.parent / "JPEGImages" if path.parent.parent in years else path.parent)
        entry = _read_file(path, index, home, classes, problems, notes)
        if entry is not None:
            entries[path] = entry

    splits = []
    for name, paths in found.items():
        kept = _without_twins([(path, entries[path]) for path in paths if path in entries], problems)
        splits.append(Split(name, kept, images or (common_folder(kept) if kept else source)))
    if split is None and not years and not problems:
        notes["images without an XML file are left out"] += len(index.paths() - {entry.path for entry in entries.values()})
    number_images(splits)
    return DataSet(number_classes(splits, classes), splits, notes)


def parse_xml(path: Path) -> Node:
    """The root element.

    Entities that a file declares are refused: no annotation tool writes any, and a few lines of them can fill the memory.

    Raises:
        Malformed: the file is not well-formed or declares entities.
        UserError: the file cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    parser = expat.ParserCreate()
    parser.buffer_text = True
    open_nodes = [Node("", 0)]

    def start(tag, _):
        node = Node(tag, parser.CurrentLineNumber)
        open_nodes[-1].children.append(node)
        open_nodes.append(node)

    def end(_):
        open_nodes.pop()

    def characters(text):
        open_nodes[-1].text += text

    def entity(name, *_):
        raise Malformed(parser.CurrentLineNumber, f"declares the entity '{name}', which no annotation needs")

    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, characters
    parser.EntityDeclHandler = entity
    try:
        parser.Parse(data, True)
    except expat.ExpatError as error:
        raise Malformed(error.lineno, f"is not well-formed XML ({expat.ErrorString(error.code)})") from None
    except (LookupError, ValueError) as error:  # an encoding that Python lacks
        raise Malformed(1, f"is not XML that can be read ({error})") from None
    return open_nodes[0].children[0]


def _years(source: Path) -> list[Path]:
    """Folders such as VOC2007 that hold Annotations."""
    if (source / "Annotations").is_dir():
        return [source]
    return sorted(child for child in source.iterdir() if (child / "Annotations").is_dir())


def _find_splits(source: Path, split: str | None, problems: Problems) -> dict[str, list[Path]]:
    """XML files by split."""
    years = _years(source)
    lists: dict[str, list[tuple[Path, Path]]] = {}
    for year in years:
        for path in sorted((year / "ImageSets" / "Main").glob("*.txt")):
            if all(len(line.split()) <= 1 for line in read_text(path).splitlines()):  # lists of one class have a second column
                lists.setdefault(split_name(path.stem), []).append((year, path))
    if lists:
        order = sorted(lists, key=lambda name: (_SPLITS.index(name) if name in _SPLITS else len(_SPLITS), name))
        chosen = choose_splits({name: lists[name] for name in order}, split, source)
        return {name: [xml for year, path in pairs for xml in _read_list(year, path, problems)] for name, pairs in chosen.items()}
    if years:
        return {split or "train": [path for year in years for path in sorted((year / "Annotations").rglob("*.xml"))]}
    folders = {split_name(child.name): child for child in sorted(source.iterdir()) if split_name(child.name.lower()) in _SPLITS}
    found = {name: paths for name in _SPLITS if name in folders and (paths := sorted(folders[name].rglob("*.xml")))}
    if found and not any(source.glob("*.xml")):
        return choose_splits(found, split, source)
    return {split or "train": sorted(source.rglob("*.xml"))}


def _read_list(year: Path, path: Path, problems: Problems) -> list[Path]:
    found = []
    for line, name in enumerate(read_text(path).splitlines(), start=1):
        xml = year / "Annotations" / f"{name.strip()}.xml"
        if not name.strip():
            continue
        if xml.is_file():
            found.append(xml)
        else:
            problems.add(path, line, f"names {name.strip()}, but there is no {xml}")
    return found


def _read_file(path, index, home, classes, problems, notes) -> Entry | None:
    """One XML file; None where something in it is wrong."""
    before = len(problems)
    try:
        root = parse_xml(path)
    except Malformed as error:
        problems.add(path, error.line, str(error))
        return None
    except UserError as error:
        problems.lines.append(str(error))
        return None
    if root.tag != "annotation":
        problems.add(path, root.line, f"is no VOC annotation: its root is <{root.tag}>, not <annotation>")
        return None
    stated = root.value("filename").replace("\\", "/").rsplit("/", 1)[-1]
    image = index.find(path, stated)
    if image is None:
        notes["images not found; their names and sizes are those of the XML files"] += 1
    size = _read_size(root, path, image, problems)
    boxes = [_read_object(node, path, classes, problems) for node in root.children if node.tag == "object"]
    if len(problems) > before:
        return None
    notes["difficult objects are marked as crowd: training leaves them out, evaluation asks for none of them"] += sum(
        "iscrowd" in box.extra for box in boxes
    )
    notes["boxes begin at pixel 0, but VOC counts from 1: they reach 1 px out of their image"] += sum(-1 in box.bbox[:2] for box in boxes)
    return Entry(image or home / (stated or f"{path.stem}.jpg"), size, boxes)


def _read_size(root: Node, path: Path, image: Path | None, problems: Problems) -> tuple[int, int] | None:
    size = root.find("size")
    if size is not None:
        height, width = (_number(size.value(side)) for side in ("height", "width"))
        if height and width and min(height, width) >= 1 and height == int(height) and width == int(width):
            return int(height), int(width)
        if size.value("height") not in ("", "0") or size.value("width") not in ("", "0"):
            problems.add(path, size.line, f"size {size.value('width')} x {size.value('height')} is not in pixels")
            return None
    if image is None:
        line = size.line if size is not None else root.line
        problems.add(path, line, "states no size, and its image was not found; name its folder with --images")
        return None
    try:
        return image_size(image)
    except UserError as error:
        problems.add(path, root.line, f"states no size, and its image cannot tell: {error}")
        return None


def _read_object(node: Node, path: Path, classes: Sequence[str] | None, problems: Problems) -> Box | None:
    before = len(problems)
    name = node.value("name")
    if not name:
        problems.add(path, node.line, "object has no name")
    elif classes is not None and name not in classes:
        problems.add(path, node.find("name").line, f"class '{name}' is not in --classes {','.join(classes)}")
    frame = node.find("bndbox")
    if frame is None:
        problems.add(path, node.line, f"object '{name}' has no bndbox")
        return None
    corners = []
    for tag in _CORNERS:
        corner, value = frame.find(tag), _number(frame.value(tag))
        if value is None:
            text = f"is '{frame.value(tag)}', not a number" if corner is not None else "is missing"
            problems.add(path, (corner or frame).line, f"{tag} of object '{name}' {text}")
        corners.append(value)
    if None not in corners:
        for low, high in (("xmin", "xmax"), ("ymin", "ymax")):
            first, last = corners[_CORNERS.index(low)], corners[_CORNERS.index(high)]
            if last < first:
                problems.add(path, frame.find(high).line, f"{high} {last:g} of object '{name}' lies before {low} {first:g}")
    if len(problems) > before:
        return None
    left, top, right, bottom = corners
    extra: dict = {flag: 1 for flag in _FLAGS if node.value(flag).lower() in ("1", "true", "yes")}
    if "difficult" in extra:
        extra["iscrowd"] = 1
    if node.value("pose").lower() not in ("", "unspecified"):
        extra["pose"] = node.value("pose")
    return Box(name, (left - 1, top - 1, right - left + 1, bottom - top + 1), extra)


def _without_twins(pairs: list[tuple[Path, Entry]], problems: Problems) -> list[Entry]:
    """Entries whose image no other one has."""
    first: dict[Path, Path] = {}
    kept = []
    for path, entry in pairs:
        if entry.path in first:
            problems.add(path, None, f"is about {entry.path.name}, as {first[entry.path]} is")
        else:
            first[entry.path] = path
            kept.append(entry)
    return kept


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
