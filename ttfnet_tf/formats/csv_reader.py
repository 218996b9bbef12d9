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
from ttfnet_tf.formats.source_files import actual, files_like, image_size, is_file, parse_number, read_text
from ttfnet_tf.formats.split_names import USUAL, choose_splits, split_name, split_rank

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
_USUAL_NAME = re.compile(r"(train|val|test)(?:id|idation|ing)?(?![a-z])")
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
    """Reads one table, or those of a folder that `tables_of` finds. A line without class and corners is an image without objects.

    Args:
        source: the file or folder; tables are separated by commas, semicolons or tabs.
        images: folder that file names are relative to; default that of each file.
        split: name of the split of a file; default train, val or test if the file name begins so or the folder is called so, else
            "train". Of a folder: the split to read; default all.
        classes: their order; default alphabetical.
        problems: gets a line for every mistake; images with mistakes are skipped.
        progress: shows progress over a list.

    Raises:
        UserError: the file cannot be read, is not CSV or lacks a column.
    """
    notes: Counter[str] = Counter()
    if source.is_dir():
        tables = choose_splits(tables_of(source), split, source)
        if not tables:
            raise UserError(f"{source}: holds no table for train, val or test; name one CSV file as SOURCE")
    else:
        tables = {split or _split_of(source): source}
    splits = [
        Split(name, _read_table(path, images, classes, problems, progress, notes), images or path.parent) for name, path in tables.items()
    ]
    number_images(splits)
    return DataSet(number_classes(splits, classes), splits, notes)


def tables_of(folder: Path) -> dict[str, Path]:
    """The tables of a folder by their split: train/_annotations.csv as Roboflow writes it, or train_labels.csv and the like."""
    usual = files_like(folder, "*/_annotations.csv")
    tables = usual or [path for path in files_like(folder, "*.csv", "*.tsv") if _USUAL_NAME.match(path.stem.lower())]
    found: dict[str, Path] = {}
    for path in tables:
        other = found.setdefault(_split_of(path), path)
        if other != path:
            raise UserError(f"{path}: is split '{_split_of(path)}' by its name, as {other} is; name one of them as SOURCE")
    return dict(sorted(found.items(), key=lambda pair: split_rank(pair[0])))


def _read_table(
    source: Path, images: Path | None, classes: Sequence[str] | None, problems: Problems, progress: Progress, notes: Counter[str]
) -> list[ImageRecord]:
    """The images of one table."""
    root = images or source.parent
    rows = _read_rows(source)
    if not rows:
        raise UserError(f"{source}: is empty")
    columns, has_header = _find_columns(rows[0][1], source)
    table = _Table(source, columns, len(rows[0][1]), classes, problems)
    for line, row in progress("lines", rows[has_header:]):
        table.add(line, row)
    records = []
    for name in progress("images", [name for name in table.boxes if name not in table.broken]):
        path = actual(root / name)
        if name not in table.sizes:
            try:
                table.sizes[name] = image_size(path)
            except UserError as error:
                hint = "" if images else "; name the folder with --images"
                problems.add(source, table.first_lines[name], f"has no size, and the image does not give one: {error}{hint}")
                continue
        elif not is_file(path):
            notes["images not found; their sizes are those of the table"] += 1
        records.append(ImageRecord(path, table.sizes[name], table.boxes[name]))
    return records


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
    if "\0" in text:  # Python 3.10 refuses it itself, later ones read it
        raise UserError(f"{path}:{text[: text.index(chr(0))].count(chr(10)) + 1}: has a NUL byte, which no table has; write the file again")
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
    found = _USUAL_NAME.match(path.stem.lower())
    folder = split_name(path.absolute().parent.name)
    return found[1] if found else folder if folder in USUAL else "train"
