"""The format of a source, detected by its files."""

from __future__ import annotations

import re
from pathlib import Path

from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.csv_reader import tables_of
from ttfnet_tf.formats.cvat_reader import is_cvat
from ttfnet_tf.formats.kitti_reader import LABEL_FOLDERS, LISTS
from ttfnet_tf.formats.source_files import files_like

FORMATS = ("voc", "yolo", "csv", "coco", "labelme", "cvat", "labelstudio", "via", "kitti")
_BY_SUFFIX = {".csv": "csv", ".tsv": "csv", ".yaml": "yolo", ".yml": "yolo", ".xml": "cvat"}
_LOOKED_AT = 65536  # bytes at the beginning of a JSON file, which may have megabytes
# What the beginning of a JSON file says; COCO otherwise.
_JSON_SIGNS = (
    ("labelstudio", re.compile(rb'\s*\[\s*\{(?=.*"(data|completions|annotator|annotation_id|lead_time|original_width)"\s*:)', re.DOTALL)),
    ("via", re.compile(rb'\s*\{.*"(_via_\w+|regions|shape_attributes|rev_timestamp|vid_list)"\s*:', re.DOTALL)),
    ("labelme", re.compile(rb'\s*\{.*"(shapes|imagePath|imageData)"\s*:', re.DOTALL)),
    # One task or annotation in a file; "images" and "categories" are COCO's.
    (
        "labelstudio",
        re.compile(
            rb'\s*\{(?!.*"(images|categories)"\s*:\s*\[)(?=.*"(result|completions|annotator|annotation_id|lead_time|original_width)"\s*:)',
            re.DOTALL,
        ),
    ),
)


def detect_format(source: Path) -> str:
    """One of FORMATS.

    Raises:
        UserError: the file or folder looks like none of them, or like several.
    """
    choose = f"name its format with --from {'|'.join(FORMATS)}"
    if source.is_file():
        suffix = source.suffix.lower()
        if suffix != ".json" and suffix not in _BY_SUFFIX:
            raise UserError(f"{source}: is of an unknown format; {choose}")
        return _of_json(source) if suffix == ".json" else _BY_SUFFIX[suffix]
    found = []
    xml = files_like(source, "**/*.xml")
    is_kitti = any(next(source.glob(pattern), None) for pattern in LABEL_FOLDERS)
    if (source / "Annotations").is_dir() or xml or ((source / LISTS).is_dir() and not is_kitti):
        found.append("cvat" if xml and all(map(is_cvat, xml[:2])) else "voc")
    if any(next(source.glob(pattern), None) for pattern in ("*.yaml", "*.yml", "labels", "*/labels", "classes.txt", "obj.names")):
        found.append("yolo")
    if is_kitti and "voc" not in found:
        found.append("kitti")
    if files_like(source, "annotations/*.json", "*/_annotations.coco.json"):
        found.append("coco")
    if not found and tables_of(source):
        found.append("csv")
    if not found and (tables := files_like(source, "*.csv", "*.tsv")):
        raise UserError(f"{source}: holds CSV files; name one of them as SOURCE, e.g. {tables[0]}")
    if not found:  # weaker signs
        found = [kind for kind, pattern in (("coco", "*.json"), ("yolo", "*.txt")) if files_like(source, pattern)]
        found = _by_content(source, found)
    if len(found) != 1:
        looks = "like " + " and ".join(found) if found else "like no known format"
        raise UserError(f"{source}: looks {looks}; {choose}")
    return found[0]


def _by_content(source: Path, found: list[str]) -> list[str]:
    """The weak signs, with JSON files of another format than COCO told apart."""
    files = files_like(source, "*.json") or ([] if found else files_like(source, "**/*.json"))
    kind = _of_json(files[0]) if files else "coco"
    if kind == "via":
        raise UserError(f"{source}: holds a JSON file of {kind}; name it as SOURCE, e.g. {files[0]}")
    return [kind] if kind in ("labelme", "labelstudio") else found


def _of_json(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            start = file.read(_LOOKED_AT)
    except OSError:
        return "coco"
    return next((kind for kind, sign in _JSON_SIGNS if sign.match(start.removeprefix(b"\xef\xbb\xbf"))), "coco")
