"""The formats of `ttfnet predict --save`: each writes into the output folder while the call runs, so that a kill loses nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ttfnet_tf.boxes import xyxy_to_xywh
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_text
from ttfnet_tf.formats.yolo_labels import label_line
from ttfnet_tf.inference.drawings import SparingWriter, append_text
from ttfnet_tf.inference.save.documents import About, Entry, coco
from ttfnet_tf.inference.save.labelling import cvat, fiftyone, label_studio
from ttfnet_tf.json_text import json_text

# Format -> (name of the file, function of the images so far).
DOCUMENTS: dict[str, tuple[str, Callable[[Sequence[Entry], About], str]]] = {
    "coco": ("detections.coco.json", coco),
    "cvat": ("detections.cvat.xml", cvat),
    "labelstudio": ("detections.labelstudio.json", label_studio),
    "fiftyone": ("detections.fiftyone.json", fiftyone),
}
NO_DRAWINGS = "none"
LINES = ("csv", "jsonl")  # that grow line by line; of videos too
FORMATS = (*DOCUMENTS, "yolo", *LINES)
CSV_COLUMNS = ("file", "x1", "y1", "x2", "y2", "score", "class_id", "class_name", "width", "height")
_LABELS, _CLASSES = "labels", "labels/classes.txt"


class Format:
    """Writes the detections of images in one format.

    Attributes:
        files: names in the output folder that it writes whatever the images hold.
    """

    files: tuple[str, ...] = ()

    def __init__(self, folder: Path, about: About):
        self.folder, self.about = folder, about

    def start(self) -> None:
        """Writes what is there before the first image."""

    def place(self, file: Path, free_name: Callable[[str], str]) -> dict[str, str]:
        """Names of its own files for an image, as keys of the entry in detections.json, each one of `drawings.OF_IMAGE`.

        Args:
            file: the image.
            free_name: from a name in the output folder to one like it that is free.
        """
        return {}

    def add(self, entry: Entry) -> None:
        """Writes the detections of an image."""
        raise NotImplementedError

    def finish(self) -> None:
        """Completes the files."""


class _Lines(Format):
    """detections.jsonl or detections.csv."""

    def __init__(self, folder: Path, about: About, kind: str):
        super().__init__(folder, about)
        self.files = (f"detections.{kind}",)
        self._path, self._is_csv = folder / self.files[0], kind == "csv"

    def start(self) -> None:
        write_text(self._path, csv_line(CSV_COLUMNS) if self._is_csv else "")

    def add(self, entry: Entry) -> None:
        size = (entry["width"], entry["height"])
        if self._is_csv:
            text = "".join(csv_line((entry["file"], *detection_cells(one), *size)) for one in entry["detections"])
        else:
            text = json_text({key: entry[key] for key in ("file", "height", "width", "detections")}) + "\n"
        append_text(self._path, text)


class _Document(Format):
    """One document for all images, written again from time to time."""

    def __init__(self, folder: Path, about: About, kind: str):
        super().__init__(folder, about)
        name, self._text = DOCUMENTS[kind]
        self.files = (name,)
        self._entries: list[Entry] = []
        self._writer = SparingWriter(self._write)

    def add(self, entry: Entry) -> None:
        self._entries.append(entry)
        self._writer.write_if_due()

    def finish(self) -> None:
        self._write()

    def _write(self) -> None:
        write_text(self.folder / self.files[0], self._text(self._entries, self.about))


class _Yolo(Format):
    """labels/classes.txt, and labels/<image>.txt with a line `class cx cy w h` for each detection, in fractions of the image."""

    files = (_CLASSES,)

    def start(self) -> None:
        write_text(self.folder / _CLASSES, "".join(f"{' '.join(name.split())}\n" for name in self.about.class_names))

    def place(self, file: Path, free_name: Callable[[str], str]) -> dict[str, str]:
        return {"labels": free_name(f"{_LABELS}/{file.stem}.txt")}

    def add(self, entry: Entry) -> None:
        number_of = {class_id: number for number, class_id in enumerate(self.about.category_ids)}
        size = (entry["height"], entry["width"])
        boxes = xyxy_to_xywh([one["box"] for one in entry["detections"]])
        lines = [label_line(number_of[one["class_id"]], box.tolist(), size)[0] for one, box in zip(entry["detections"], boxes)]
        write_text(self.folder / entry["labels"], "".join(f"{line}\n" for line in lines if line))


def make_format(kind: str, folder: Path, about: About) -> Format:
    """A format of `FORMATS` that writes into a folder."""
    if kind == "yolo":
        return _Yolo(folder, about)
    return _Document(folder, about, kind) if kind in DOCUMENTS else _Lines(folder, about, kind)


def check_formats(values: Sequence[str]) -> tuple[str, ...]:
    """The formats that an option names, each once.

    Args:
        values: each a format or several with commas between.

    Raises:
        UserError: one is unknown.
    """
    kinds = dict.fromkeys(kind.strip() for value in values for kind in value.split(","))
    for kind in kinds:
        if kind not in (*FORMATS, NO_DRAWINGS):
            raise UserError(f"--save {kind}: must be {', '.join(FORMATS)} or {NO_DRAWINGS}, or several with commas between")
    return tuple(kinds)


def detection_cells(one: Mapping[str, Any]) -> tuple:
    """x1, y1, x2, y2, score, class_id and class_name of a detection of `Detections.to_json`."""
    return (*(f"{value:.2f}" for value in one["box"]), f"{one['score']:.4f}", one["class_id"], one["class_name"])


def csv_line(cells: Sequence) -> str:
    """One line of CSV with its end."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue().encode("utf-8", "replace").decode("utf-8")  # a name in another encoding
