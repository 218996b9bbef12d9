"""CSV tables of boxes: one line for each box, with a header, or the six bare columns of keras-retinanet.

Corners are continuous edges counted from 0, as both kinds of readers take them: width = xmax - xmin.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.records import (
    Box,
    DataSet,
    Entry,
    Problems,
    Split,
    Watch,
    image_size,
    number_classes,
    number_images,
    read_text,
    split_name,
    unwatched,
)

# Column -> names it goes by, compared without case, spaces, _ and -.
COLUMNS = {
    "filename": ("filename", "file", "path", "filepath", "image", "imagename", "imagepath", "imagefile", "imageid", "img", "imgpath"),
    "class": ("class", "classname", "label", "labelname", "name", "category", "categoryname"),
    "xmin": ("xmin", "x1", "left", "bboxx1", "bboxxmin"),
    "ymin": ("ymin", "y1", "top", "bboxy1", "bboxymin"),
    "xmax": ("xmax", "x2", "right", "bboxx2", "bboxxmax"),
    "ymax": ("ymax", "y2", "bottom", "bboxy2", "bboxymax"),
    "width": ("width", "imagewidth", "imgwidth"),
    "height": ("height", "imageheight", "imgheight"),
}
_OPTIONAL = ("width", "height")
_RETINANET = {"filename": 0, "xmin": 1, "ymin": 2, "xmax": 3, "ymax": 4, "class": 5}
_CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_csv(
    source: Path,
    *,
    images: Path | None = None,
    split: str | None = None,
    classes: Sequence[str] | None = None,
    problems: Problems,
    watch: Watch = unwatched,
) -> DataSet:
    """Reads one table. A line without class and corners stands for an image without objects.

    Args:
        source: the file; separated by commas, semicolons or tabs.
        images: folder that file names are relative to; default that of the file.
        split: name of what is in the file; default train, val or test as the file's name begins or its folder is called, else "train".
        classes: their order; default the alphabet.
        problems: gets a line for everything that is wrong; the images concerned are not in the result.
        watch: shows progress over a list.

    Raises:
        UserError: the file cannot be read, is no CSV or has no such columns.
    """
    root = images or source.parent
    rows = _read_rows(source)
    if not rows:
        raise UserError(f"{source}: is empty")
    columns, has_header = _find_columns(rows[0][1], source)
    boxes: dict[str, list[Box]] = {}
    sizes: dict[str, tuple[int, int]] = {}
    first_lines: dict[str, int] = {}
    broken: set[str] = set()
    expected = len(rows[0][1])
    for line, row in watch("lines", rows[has_header:]):
        before = len(problems)
        name = row[columns["filename"]].strip().replace("\\", "/") if len(row) > columns["filename"] else ""
        if len(row) != expected:
            problems.add(source, line, f"has {len(row)} columns, the first line has {expected}")
        elif not name:
            problems.add(source, line, "names no image")
        else:
            value = {column: row[position].strip() for column, position in columns.items()}
            first_lines.setdefault(name, line)
            _read_size(value, name, sizes, source, line, problems)
            found = boxes.setdefault(name, [])
            if value["class"] or any(value[corner] for corner in _CORNERS):
                box = _read_box(value, source, line, classes, problems)
                if box is not None:
                    found.append(box)
        if len(problems) > before:
            broken.add(name)

    notes: Counter[str] = Counter()
    entries = []
    for name in watch("images", [name for name in boxes if name not in broken]):
        if name not in sizes:
            try:
                sizes[name] = image_size(root / name)
            except UserError as error:
                hint = "" if images else "; name the folder with --images"
                problems.add(source, first_lines[name], f"states no size, and the image cannot tell: {error}{hint}")
                continue
        elif not (root / name).is_file():
            notes["images not found; their sizes are those of the table"] += 1
        entries.append(Entry(root / name, sizes[name], boxes[name]))
    splits = [Split(split or _split_of(source), entries, root)]
    number_images(splits)
    return DataSet(number_classes(splits, classes), splits, notes)


def _read_rows(path: Path) -> list[tuple[int, list[str]]]:
    """(line, fields) of every line that is not blank."""
    text = read_text(path)
    head = text.lstrip("\r\n").split("\n", 1)[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows = []
    try:
        for row in reader:
            if any(field.strip() for field in row):
                rows.append((reader.line_num, row))
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: is not CSV ({error})") from None
    return rows


def _find_columns(first: list[str], path: Path) -> tuple[dict[str, int], bool]:
    """Position of each column, and whether the first line is a header."""
    names = [re.sub(r"[\s_-]", "", field).lower() for field in first]
    columns = {}
    for column, aliases in COLUMNS.items():
        position = next((names.index(alias) for alias in aliases if alias in names), None)
        if position is not None:
            columns[column] = position
    if not any(corner in columns for corner in _CORNERS) and len(first) == 6:
        corners = [field.strip() for field in first[1:5]]
        if not any(corners) or any(_number(corner) is not None for corner in corners):
            return _RETINANET, False
    missing = [column for column in COLUMNS if column not in columns and column not in _OPTIONAL]
    if missing:
        raise UserError(
            f"{path}:1: has no column {', '.join(missing)}; expected a header like {','.join(COLUMNS)}"
            " or lines path,x1,y1,x2,y2,class without one"
        )
    return columns, True


def _read_size(value, name, sizes, path, line, problems) -> None:
    """Notes the size that a line states, if any; every line of an image must state the same one."""
    stated = [value.get(side, "") for side in ("height", "width")]
    if not any(stated) or stated == ["0", "0"]:
        return
    numbers = [_number(side) for side in stated]
    if any(number is None or number < 1 or number != int(number) for number in numbers):
        problems.add(path, line, f"width '{stated[1]}' and height '{stated[0]}' are not a size in pixels")
        return
    size = (int(numbers[0]), int(numbers[1]))
    known = sizes.setdefault(name, size)
    if known != size:
        problems.add(path, line, f"{name} is {size[1]} x {size[0]} here and {known[1]} x {known[0]} in a line before")


def _read_box(value, path, line, classes, problems) -> Box | None:
    before = len(problems)
    if not value["class"]:
        problems.add(path, line, "box has no class")
    elif classes is not None and value["class"] not in classes:
        problems.add(path, line, f"class '{value['class']}' is not in --classes {','.join(classes)}")
    corners = [_number(value[corner]) for corner in _CORNERS]
    for corner, number in zip(_CORNERS, corners):
        if number is None:
            problems.add(path, line, f"{corner} is '{value[corner]}', not a number")
    if len(problems) == before:
        left, top, right, bottom = corners
        if right < left:
            problems.add(path, line, f"xmax {right:g} lies before xmin {left:g}")
        if bottom < top:
            problems.add(path, line, f"ymax {bottom:g} lies before ymin {top:g}")
    if len(problems) > before:
        return None
    return Box(value["class"], (left, top, right - left, bottom - top))


def _split_of(path: Path) -> str:
    """train_labels.csv -> train, valid/_annotations.csv -> val."""
    found = re.match(r"(train|val|test)(?:id|idation|ing)?(?![a-z])", path.stem.lower())
    folder = split_name(path.absolute().parent.name)
    return found[1] if found else folder if folder in ("train", "val", "test") else "train"


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
