"""Detects on image files; writes a drawing of every image, one detections.json, and what else is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import new_file
from ttfnet_tf.inference.detections_json import image_entry, make_folder, read_own
from ttfnet_tf.inference.draw import class_colour, draw_boxes
from ttfnet_tf.inference.drawings import RECORD, DrawingRecord, names_of, outputs_in
from ttfnet_tf.inference.image_files import Failure
from ttfnet_tf.inference.save.crops import Crops, check_crops
from ttfnet_tf.inference.save.documents import About, common_folder
from ttfnet_tf.inference.save.formats import FORMATS, NO_DRAWINGS, Format, make_format
from ttfnet_tf.web import name_of, without_password

_DRAWABLE = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})  # others become .png


@dataclass(frozen=True)
class Saving:
    """What is written beside detections.json.

    Attributes:
        formats: of `save.formats.FORMATS`; NO_DRAWINGS: no drawing of each image.
        crops: folder for the crops of the detections.
    """

    formats: Sequence[str] = ()
    crops: Path | None = None

    @property
    def draws(self) -> bool:
        """Whether images or videos are drawn."""
        return NO_DRAWINGS not in self.formats


def predict_images(
    detect: Callable,
    images: Sequence[Path | str],
    folder: str | Path,
    *,
    colour_of: dict[int, int],
    class_names: Sequence[str],
    about: dict,
    saving: Saving = Saving(),
    failures: Sequence[Failure] = (),
    batch_size: int = 1,
    max_pixels: int | None = None,
    on_failure: Callable[[str], None] = print,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[int, int]:
    """Detects on every image; writes drawings, detections.json and the formats of `saving` into `folder`.

    Only files of an earlier call are overwritten, of a killed one too; where names collide, a file gets a number.

    Args:
        detect: `Detector.batch`.
        images: files, and addresses of files.
        folder: for the results; made if missing.
        colour_of: category id -> index of the class, which decides its colour.
        class_names: in the order of these indices.
        about: what detections.json says beside the images, e.g. the run and the score threshold.
        saving: what else is written.
        failures: sources that were not found; detections.json lists them too.
        batch_size: images of one call.
        max_pixels: of the largest image, see `read_rgb`.
        on_failure: gets one line for each image that cannot be read.
        on_batch: called with the number of images done so far.

    Returns:
        Images done, and detections in them.

    Raises:
        UserError: a folder cannot be written to, or holds a file of another program that would be overwritten.
    """
    folder = Path(folder)
    results = _Results(folder, saving, colour_of, About(class_names, list(colour_of), common_folder(images)), about)
    failed = [{"source": one.source, "reason": one.reason} for one in failures]
    try:
        for start in range(0, len(images), batch_size):
            files, arrays = [], []
            for file in images[start : start + batch_size]:
                try:
                    arrays.append(read_rgb(file, max_pixels=max_pixels))
                    files.append(file)
                except UserError as error:
                    failed.append({"source": without_password(str(file)), "reason": str(error)})
                    on_failure(str(error))
            for file, array, found in zip(files, arrays, detect(arrays, batch_size=batch_size)):
                results.add(file, array, found, failed)
            if on_batch is not None:
                on_batch(min(start + batch_size, len(images)))
    finally:  # after Ctrl-C too
        results.finish(failed)
    return results.images, results.detections


def prepare_output(folder: str | Path, saving: Saving = Saving()) -> set[str]:
    """Makes the output folder; returns the names of the files that an earlier call left there, which may be overwritten.

    Raises:
        UserError: the folder cannot be made, or a file that would be overwritten is not from `ttfnet predict`.
    """
    folder = Path(folder)
    make_folder(folder)
    read_own(folder, "predict", names_of)
    old = outputs_in(folder)
    for kind in FORMATS:
        for name in make_format(kind, folder, About((), ())).files if kind in saving.formats else ():
            if name not in old and os.path.lexists(folder / name):
                raise UserError(f"{folder / name}: exists and was not written by ttfnet predict; name another folder with --out")
    if saving.crops is not None:
        check_crops(saving.crops)
    return old


def drawing_path(image: Path, folder: Path, is_taken: Callable[[Path], bool]) -> Path:
    """`folder`/<name of the image>, or <name>_2, _3, ... if that is taken."""
    suffix = image.suffix if image.suffix.lower() in _DRAWABLE else ".png"
    path, number = folder / f"{image.stem}{suffix}", 1
    while is_taken(path):
        number += 1
        path = folder / f"{image.stem}_{number}{suffix}"
    return path


class _Results:
    """Writes all results of images, one image after the other."""

    def __init__(self, folder: Path, saving: Saving, colour_of: dict[int, int], about: About, record: dict):
        self._old = prepare_output(folder, saving)
        self._taken: set[Path] = set()
        self._folder, self._saving, self._colour_of = folder, saving, colour_of
        self._formats: list[Format] = [make_format(kind, folder, about) for kind in saving.formats if kind != NO_DRAWINGS]
        fixed = [name for one in self._formats for name in one.files]
        self._taken |= {(folder / name).resolve() for name in (RECORD, *fixed)}
        self._record = DrawingRecord(folder, self._old, record, fixed)
        self._mine = {(folder / name).resolve() for name in self._old}
        for one in self._formats:
            one.start()
        self._crops = None if saving.crops is None else Crops(saving.crops, about.class_names, about.category_ids)
        self.images = self.detections = 0

    def add(self, source: Path | str, image: np.ndarray, found, failed: Sequence) -> None:
        """Writes the results of one image; its names are on record before its files are there."""
        names, shown = {}, without_password(str(source))
        file = source if isinstance(source, Path) else Path(name_of(source))
        if self._saving.draws:
            drawing = drawing_path(file, self._folder, self._is_taken)
            self._taken.add(drawing.resolve())
            names["drawing"] = drawing.name
        for one in self._formats:
            names |= one.place(file, self._free_name)
        entry = image_entry(shown, found, **names)
        self._record.add(entry, failed)
        self.images, self.detections = self.images + 1, self.detections + len(found)
        if self._saving.draws:
            save_drawing(drawing, image, found, self._colour_of)
        for one in self._formats:
            one.add(entry)
        if self._crops is not None:
            self._crops.add(image, shown, entry["detections"], file.name)

    def finish(self, failed: Sequence) -> None:
        """Completes all files."""
        for one in self._formats:
            one.finish()
        if self._crops is not None:
            self._crops.finish()
        self._record.finish(failed)

    def _free_name(self, name: str) -> str:
        path, number = self._folder / name, 1
        while self._is_taken(path):
            number += 1
            path = (self._folder / name).with_stem(f"{Path(name).stem}_{number}")
        self._taken.add(path.resolve())
        return path.relative_to(self._folder).as_posix()

    def _is_taken(self, path: Path) -> bool:
        return path.resolve() in self._taken or (path.exists() and path.resolve() not in self._mine)


def save_drawing(path: Path, image: np.ndarray, found, colour_of: dict[int, int]) -> None:
    """Draws the detections of one image into a file."""
    labels = [f"{one.class_name} {one.score:.2f}" for one in found]
    drawing = draw_boxes(image, found.boxes, labels, [class_colour(colour_of[one.class_id]) for one in found])
    with new_file(path, sync=False) as file:
        Image.fromarray(drawing).save(file, format=Image.registered_extensions()[path.suffix.lower()], quality=92)
