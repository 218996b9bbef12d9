"""The Pascal VOC reader: one XML file for each image, corners in pixels counted from 1, the last one included."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.numbering import number_classes, number_images
from ttfnet_tf.formats.records import Box, DataSet, ImageRecord, Problems, Progress, Split, no_progress
from ttfnet_tf.formats.source_files import ImageIndex, actual, common_folder, files_like, image_size, is_file, parse_number, read_text
from ttfnet_tf.formats.split_names import USUAL, choose_splits, split_name, split_rank
from ttfnet_tf.formats.voc_xml import Malformed, Node, parse_xml

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_FLAGS = ("truncated", "occluded", "difficult")


def read_voc(
    source: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    problems: Problems,
    progress: Progress = no_progress,
) -> DataSet:
    """Reads a VOCdevkit, one of its years, folders train, valid and test of XML files, or any folder with XML files below it.

    Args:
        source: the folder.
        images: folder of the images; default JPEGImages of a year, else `source`.
        split: list of ImageSets/Main or folder to read, or the name for files without one; default all lists or folders, or "train".
        classes: their order; default alphabetical.
        problems: gets a line for every mistake; images with mistakes are skipped.
        progress: shows progress over a list.

    Raises:
        UserError: the folder is missing or holds no XML file, or has no such split.
    """
    if not source.is_dir():
        raise UserError(f"{source}: is not a folder; name the folder of VOC's XML files")
    notes: Counter[str] = Counter()
    found, years = _find_splits(source, split, problems), _years(source)
    files = list(dict.fromkeys(path for paths in found.values() for path in paths))
    if not files and not problems:
        raise UserError(f"{source}: holds no XML file")
    index = ImageIndex([images] if images is not None else [_images_of_year(year) for year in years] or [source])
    records = {}
    for path in progress("XML files", files):
        home = images or (path.parent.parent / "JPEGImages" if path.parent.parent in years else path.parent)
        record = _read_file(path, index, home, classes, problems, notes)
        if record is not None:
            records[path] = record

    splits = []
    for name, paths in found.items():
        kept = _without_repeats([(path, records[path]) for path in paths if path in records], problems)
        splits.append(Split(name, kept, images or (common_folder(kept) if kept else source)))
    if split is None and not years and not problems:
        notes["images without an XML file are skipped"] += len(index.paths() - {record.path for record in records.values()})
    number_images(splits)
    return DataSet(number_classes(splits, classes), splits, notes)


def _years(source: Path) -> list[Path]:
    """Folders such as VOC2007 that hold Annotations."""
    if (source / "Annotations").is_dir():
        return [source]
    return sorted(child for child in source.iterdir() if (child / "Annotations").is_dir())


def _images_of_year(year: Path) -> Path:
    return year / "JPEGImages" if (year / "JPEGImages").is_dir() else year


def _find_splits(source: Path, split: str | None, problems: Problems) -> dict[str, list[Path]]:
    """XML files by split."""
    years = _years(source)
    lists: dict[str, list[tuple[Path, Path]]] = {}
    for year in years:
        for path in files_like(year / "ImageSets" / "Main", "*.txt"):
            if all(len(line.split()) <= 1 for line in read_text(path).splitlines()):  # lists of one class have a second column
                lists.setdefault(split_name(path.stem), []).append((year, path))
    if lists:
        chosen = choose_splits({name: lists[name] for name in sorted(lists, key=split_rank)}, split, source)
        return {name: [xml for year, path in pairs for xml in _read_list(year, path, problems)] for name, pairs in chosen.items()}
    if years:
        return {split or "train": [path for year in years for path in files_like(year / "Annotations", "**/*.xml")]}
    folders = {split_name(child.name): child for child in sorted(source.iterdir()) if split_name(child.name.lower()) in USUAL}
    found = {name: paths for name in USUAL if name in folders and (paths := files_like(folders[name], "**/*.xml"))}
    if found and not files_like(source, "*.xml"):
        return choose_splits(found, split, source)
    return {split or "train": files_like(source, "**/*.xml")}


def _read_list(year: Path, path: Path, problems: Problems) -> list[Path]:
    found = []
    for line, name in enumerate(read_text(path).splitlines(), start=1):
        xml = actual(year / "Annotations" / f"{name.strip()}.xml")
        if not name.strip():
            continue
        if is_file(xml):
            found.append(xml)
        else:
            problems.add(path, line, f"names {name.strip()}, but there is no {xml}")
    return found


def _read_file(path, index, home, classes, problems, notes) -> ImageRecord | None:
    """One XML file; None if it has a mistake."""
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
        problems.add(path, root.line, f"is not a VOC annotation: its root is <{root.tag}>, not <annotation>")
        return None
    stated = root.value("filename").replace("\\", "/").rsplit("/", 1)[-1]
    image = index.find(path, stated)
    if image is None:
        notes["images not found; their names and sizes are those of the XML files"] += 1
    size = _read_size(root, path, image, problems)
    boxes = [_read_object(node, path, classes, problems) for node in root.children if node.tag == "object"]
    if len(problems) > before:
        return None
    notes["difficult objects are marked as crowd: training drops them, evaluation does not require them"] += sum(
        "iscrowd" in box.extra for box in boxes
    )
    notes["boxes begin at pixel 0, but VOC counts from 1: they reach 1 px beyond their image"] += sum(-1 in box.bbox[:2] for box in boxes)
    return ImageRecord(image or home / (stated or f"{path.stem}.jpg"), size, boxes)


def _read_size(root: Node, path: Path, image: Path | None, problems: Problems) -> tuple[int, int] | None:
    size = root.find("size")
    if size is not None:
        height, width = (parse_number(size.value(side)) for side in ("height", "width"))
        if height and width and min(height, width) >= 1 and height == int(height) and width == int(width):
            return int(height), int(width)
        if size.value("height") not in ("", "0") or size.value("width") not in ("", "0"):
            problems.add(path, size.line, f"size {size.value('width')} x {size.value('height')} is not in pixels")
            return None
    if image is None:
        line = size.line if size is not None else root.line
        problems.add(path, line, "has no size, and its image was not found; name its folder with --images")
        return None
    try:
        return image_size(image)
    except UserError as error:
        problems.add(path, root.line, f"has no size, and its image does not give one: {error}")
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
        corner, value = frame.find(tag), parse_number(frame.value(tag))
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
    return Box(name, (left - 1, top - 1, right - left + 1, bottom - top + 1), _flags(node))


def _flags(node: Node) -> dict:
    """Keys of the annotation: flags, pose, and iscrowd for a difficult object."""
    extra: dict = {flag: 1 for flag in _FLAGS if node.value(flag).lower() in ("1", "true", "yes")}
    if "difficult" in extra:
        extra["iscrowd"] = 1
    if node.value("pose").lower() not in ("", "unspecified"):
        extra["pose"] = node.value("pose")
    return extra


def _without_repeats(pairs: list[tuple[Path, ImageRecord]], problems: Problems) -> list[ImageRecord]:
    """Images with one XML file; a second file about the same image is a mistake."""
    first: dict[Path, Path] = {}
    kept = []
    for path, record in pairs:
        if record.path in first:
            problems.add(path, None, f"is about {record.path.name}, as {first[record.path]} is")
        else:
            first[record.path] = path
            kept.append(record)
    return kept
