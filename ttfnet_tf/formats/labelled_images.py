"""Images of labelling tools, collected one by one: their files are found, their sizes checked, and their splits filled."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from ttfnet_tf.data.file_names import FolderIndex, file_name_fault
from ttfnet_tf.errors import UserError
from ttfnet_tf.formats.json_nodes import Mistake
from ttfnet_tf.formats.numbering import number_classes, number_images
from ttfnet_tf.formats.records import Box, DataSet, ImageRecord, Problems, Split
from ttfnet_tf.formats.source_files import actual, common_folder, files_like, image_size, is_file
from ttfnet_tf.formats.split_names import USUAL, choose_splits, split_name, split_rank
from ttfnet_tf.json_text import short_json

NOT_FOUND = "images not found; their names and sizes are those of the annotations"


class ImageFinder:
    """The files that names in annotations mean.

    Args:
        folders: where they may be, the likeliest first; the first is also where a missing image would be.
    """

    def __init__(self, folders: Sequence[Path]):
        self._folders = [folder for folder in folders if folder.is_dir()] or list(folders)
        self._indexes = [FolderIndex(folder) for folder in self._folders]

    def exact(self, name: str) -> Path | None:
        """The file of exactly that name in one of the folders."""
        paths = (actual(folder / name.replace("\\", "/")) for folder in self._folders)
        return next((path for path in paths if is_file(path)), None)

    def find(self, name: str) -> Path | None:
        """The file; None if there is none, or more than one could be meant."""
        if (path := self.exact(name)) is not None:
            return path
        if file_name_fault(name):
            return None
        for folder, index in zip(self._folders, self._indexes):
            if (near := index.find(name)) is not None:
                return folder / near[0]
        return None

    def missing(self, name: str) -> Path:
        """The path of an image that was not found."""
        return self._folders[0] / name.replace("\\", "/")


class LabelledImages:
    """The images of one export.

    Args:
        finder: finds the files.
        classes: the only class names allowed, or None.
        problems: gets a line for an image that is not taken.
        notes: of the data set.
    """

    def __init__(self, finder: ImageFinder, classes: Sequence[str] | None, problems: Problems, notes: Counter[str]):
        self.finder, self.problems, self.notes = finder, problems, notes
        self._classes = classes
        self._images: dict[str, list[ImageRecord]] = {}
        self._first: dict[tuple[str, Path], str] = {}

    def add(self, split: str, name: str, size: tuple[int, int] | None, boxes: Sequence[Box], place: str, path: Path | None = None) -> None:
        """Adds an image.

        Args:
            split: its name.
            name: of the image in the annotations.
            size: (height, width) as annotated; None asks the image.
            boxes: all of them.
            place: file and key of the image, for messages.
            path: of the image, if the caller has found it.

        Raises:
            Mistake: the image cannot be taken; the message does not name the file.
        """
        path = path or self.finder.find(name)
        size = self._size(name, path, size)
        wrong = next((box.label for box in boxes if self._classes is not None and box.label not in self._classes), None)
        if wrong is not None:
            raise Mistake(f"class {short_json(wrong)} is not in --classes {','.join(self._classes or ())}")
        path = path or self.finder.missing(name)
        plain = Path(os.path.normpath(path))  # without ".." in the printed folder
        path = plain if is_file(plain) else path
        earlier = self._first.setdefault((split, path), place)
        if earlier != place:
            raise Mistake(f"is about {short_json(name)}, as {earlier} is")
        self._images.setdefault(split, []).append(ImageRecord(path, size, list(boxes)))

    def _size(self, name: str, path: Path | None, stated: tuple[int, int] | None) -> tuple[int, int]:
        if path is None:
            if stated is None:
                raise Mistake(f"the size of {short_json(name)} is unknown, because there is no such image; name its folder with --images")
            self.notes[NOT_FOUND] += 1
            return stated
        try:
            size = image_size(path)
        except UserError as error:
            raise Mistake(str(error)) from None
        if stated is not None and stated != size:
            raise Mistake(
                f"{short_json(name)} is {stated[1]} x {stated[0]} pixels in the annotations, but {path} has {size[1]} x {size[0]};"
                " the boxes would be in wrong places"
            )
        return size

    def data_set(self, source: Path, images: Path | None, split: str | None, classes: Sequence[str] | None) -> DataSet:
        """Everything that was added; `split` chooses one of several splits, or names the only one."""
        found = {name: self._images[name] for name in sorted(self._images, key=split_rank)}
        if split is not None and len(found) == 1:
            found = {split: next(iter(found.values()))}
        elif found:
            found = choose_splits(found, split, source)
        splits = [Split(name, records, images or common_folder(records)) for name, records in found.items()]
        number_images(splits)
        return DataSet(number_classes(splits, classes), splits, self.notes)


def folder_of(source: Path) -> Path:
    """The folder of a file, or the folder itself."""
    return source if source.is_dir() else source.parent


def files_by_split(source: Path, pattern: str, split: str | None) -> dict[str, list[Path]]:
    """Files below a folder by the folders train, val and test in it; all are of one split where there are none, or `source` is a file."""
    if not source.is_dir():
        return {split or "train": [source]}
    folders = {split_name(child.name.lower()): child for child in sorted(source.iterdir()) if split_name(child.name.lower()) in USUAL}
    found = {name: paths for name in USUAL if name in folders and (paths := files_like(folders[name], f"**/{pattern}"))}
    if found and not files_like(source, pattern):
        return choose_splits(found, split, source)
    return {split or "train": files_like(source, f"**/{pattern}")}


def name_in_url(value: str) -> str:
    """The name of an image in a URL or a path of a server: s3://bucket/a.jpg is a.jpg, /data/local-files/?d=b/a.jpg is b/a.jpg."""
    try:
        parts = urlsplit(value)
        inner = parse_qs(parts.query).get("d")
    except ValueError:  # such as a port that is none
        return value
    if inner and parts.path.rstrip("/").endswith("local-files"):
        return inner[0].lstrip("/")
    if len(parts.scheme) > 1:  # one letter is a drive of Windows
        return unquote(parts.path.lstrip("/")) or value
    if value.startswith("/data/"):  # what a server of Label Studio calls its files
        return unquote(parts.path.removeprefix("/data/"))
    return value
