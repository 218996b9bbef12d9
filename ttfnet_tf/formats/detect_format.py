"""The format of a source, detected by its files."""

from __future__ import annotations

from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.csv_reader import tables_of
from ttfnet_tf.formats.source_files import files_like

FORMATS = ("voc", "yolo", "csv", "coco")
_BY_SUFFIX = {".csv": "csv", ".tsv": "csv", ".json": "coco", ".yaml": "yolo", ".yml": "yolo"}


def detect_format(source: Path) -> str:
    """One of FORMATS.

    Raises:
        UserError: the file or folder looks like none of them, or like several.
    """
    choose = f"name its format with --from {'|'.join(FORMATS)}"
    if source.is_file():
        if source.suffix.lower() not in _BY_SUFFIX:
            raise UserError(f"{source}: is of an unknown format; {choose}")
        return _BY_SUFFIX[source.suffix.lower()]
    found = []
    if any((source / name).is_dir() for name in ("Annotations", "ImageSets")) or files_like(source, "**/*.xml"):
        found.append("voc")
    if any(next(source.glob(pattern), None) for pattern in ("*.yaml", "*.yml", "labels", "*/labels", "classes.txt", "obj.names")):
        found.append("yolo")
    if files_like(source, "annotations/*.json", "*/_annotations.coco.json"):
        found.append("coco")
    if not found and tables_of(source):
        found.append("csv")
    if not found and (tables := files_like(source, "*.csv", "*.tsv")):
        raise UserError(f"{source}: holds CSV files; name one of them as SOURCE, e.g. {tables[0]}")
    if not found:  # weaker signs
        found = [kind for kind, pattern in (("coco", "*.json"), ("yolo", "*.txt")) if files_like(source, pattern)]
    if len(found) != 1:
        looks = "like " + " and ".join(found) if found else "like no known format"
        raise UserError(f"{source}: looks {looks}; {choose}")
    return found[0]
