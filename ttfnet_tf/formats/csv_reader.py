"""The CSV reader: one line for each box, with a header, or the six bare columns of keras-retinanet.

Corners are continuous edges counted from 0, as readers of both kinds take them: width = xmax - xmin.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.numbering import number_classes, number_images
from ttfnet_tf.formats.records import Box, DataSet, ImageRecord, Problems, Progress, Split, no_progress
from ttfnet_tf.formats.source_files import image_size, parse_number, read_text
from ttfnet_tf.formats.split_names import USUAL, split_name

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
    progress: Progress = no_progress,
) -> DataSet:
    """Reads one table. A line without class and corners is an image without objects.

    Args:
        source: the file; separated by commas, semicolons or tabs.
        images: folder that file names are relative to; default that of the file.
        split: name of the split; default train, val or test if the file name begins so or the folder is called so, else "train".
        classes: their order; default alphabetical.
        problems: gets a line for every mistake; images with mistakes are skipped.
        progress: shows progress over a list.

    Raises:
        UserError: the file cannot be read, is not CSV or lacks a column.
    """
    root = images or source.parent
    rows = _read_rows(source)
    if not rows:
        raise UserError(f"{source}: is empty")
    columns, has_header = _find_columns(rows[0][1], source)
    table = _Table(source, columns, len(rows[0][1]), classes, problems)
    for line, row in progress("lines", rows[has_header:]):
        table.add(line, row)

    notes: Counter[str] = Counter()
    records = []
    for name in progress("images", [name for name in table.boxes if name not in table.broken]):
        if name not in table.sizes:
            try:
                table.sizes[name] = image_size(root / name)
            except UserError as error:
                hint = "" if images else "; name the folder with --images"
                problems.add(source, table.first_lines[name], f"has no size, and the image does not give one: {error}{hint}")
                continue
        elif not (root / name).is_file():
            notes["images not found; their sizes are those of the table"] += 1
        records.append(ImageRecord(root / name, table.sizes[name], table.boxes[name]))
    splits = [Split(split or _split_of(source), records, root)]
    number_images(splits)
    return DataSet(number_classes(splits, classes), splits, notes)


class _Table:
    """Boxes and sizes by image, collected line by line."""

    def __init__(self, path: Path, columns: dict[str, int], num_columns: int, classes: Sequence[str] | None, problems: Problems):
        self._path, self._columns, self._num_columns, self._classes, self._problems = path, columns, num_columns, classes, problems
        self.boxes: dict[str, list[Box]] = {}
        self.sizes: dict[str, tuple[int, int]] = {}  # (height, width)
        self.first_lines: dict[str, int] = {}
        self.broken: set[str] = set()  # images with mistakes

    def add(self, line: int, row: list[str]) -> None:
        before = len(self._problems)
        position = self._columns["filename"]
        name = row[position].strip().replace("\\", "/") if len(row) > position else ""
        if len(row) != self._num_columns:
            self._problems.add(self._path, line, f"has {len(row)} columns, the first line has {self._num_columns}")
        elif not name:
            self._problems.add(self._path, line, "names no image")
        else:
            value = {column: row[position].strip() for column, position in self._columns.items()}
            self.first_lines.setdefault(name, line)
            self._read_size(value, name, line)
            boxes = self.boxes.setdefault(name, [])
            if value["class"] or any(value[corner] for corner in _CORNERS):
                box = self._read_box(value, line)
                if box is not None:
                    boxes.append(box)
        if len(self._problems) > before:
            self.broken.add(name)

    def _read_size(self, value: dict[str, str], name: str, line: int) -> None:
        """The size of the image if the line has one; all lines of an image must agree."""
        stated = [value.get(side, "") for side in ("height", "width")]
        if not any(stated) or stated == ["0", "0"]:
            return
        numbers = [parse_number(side) for side in stated]
        if any(number is None or number < 1 or number != int(number) for number in numbers):
            self._problems.add(self._path, line, f"width '{stated[1]}' and height '{stated[0]}' are not a size in pixels")
            return
        size = (int(numbers[0]), int(numbers[1]))
        known = self.sizes.setdefault(name, size)
        if known != size:
            self._problems.add(self._path, line, f"{name} is {size[1]} x {size[0]} here and {known[1]} x {known[0]} in an earlier line")

    def _read_box(self, value: dict[str, str], line: int) -> Box | None:
        before = len(self._problems)

        def add(text):
            self._problems.add(self._path, line, text)

        if not value["class"]:
            add("box has no class")
        elif self._classes is not None and value["class"] not in self._classes:
            add(f"class '{value['class']}' is not in --classes {','.join(self._classes)}")
        corners = [parse_number(value[corner]) for corner in _CORNERS]
        for corner, number in zip(_CORNERS, corners):
            if number is None:
                add(f"{corner} is '{value[corner]}', not a number")
        if len(self._problems) == before:
            left, top, right, bottom = corners
            if right < left:
                add(f"xmax {right:g} lies before xmin {left:g}")
            if bottom < top:
                add(f"ymax {bottom:g} lies before ymin {top:g}")
        if len(self._problems) > before:
            return None
        return Box(value["class"], (left, top, right - left, bottom - top))


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
        if not any(corners) or any(parse_number(corner) is not None for corner in corners):
            return _RETINANET, False
    missing = [column for column in COLUMNS if column not in columns and column not in _OPTIONAL]
    if missing:
        raise UserError(
            f"{path}:1: has no column {', '.join(missing)}; expected a header like {','.join(COLUMNS)}"
            " or lines path,x1,y1,x2,y2,class without one"
        )
    return columns, True


def _split_of(path: Path) -> str:
    """train_labels.csv is train, valid/_annotations.csv is val."""
    found = re.match(r"(train|val|test)(?:id|idation|ing)?(?![a-z])", path.stem.lower())
    folder = split_name(path.absolute().parent.name)
    return found[1] if found else folder if folder in USUAL else "train"
