"""Detects on image files; writes a drawing of every image and one detections.json."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ttfnet_tf.data.images import read_rgb
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import new_file
from ttfnet_tf.inference.detections_json import JSON_NAME, image_entry, make_folder, read_own
from ttfnet_tf.inference.draw import class_colour, draw_boxes
from ttfnet_tf.inference.drawings import DrawingRecord, drawings_in, names_of
from ttfnet_tf.inference.image_files import Failure

_DRAWABLE = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})  # others become .png


def predict_images(
    detect: Callable,
    images: Sequence[Path],
    folder: str | Path,
    *,
    colour_of: dict[int, int],
    about: dict,
    failures: Sequence[Failure] = (),
    batch_size: int = 1,
    on_failure: Callable[[str], None] = print,
    on_batch: Callable[[int], None] | None = None,
) -> tuple[int, int]:
    """Detects on every image; writes drawings and detections.json into `folder`.

    Only drawings of an earlier call are overwritten, of a killed one too; where names collide, a drawing gets a number.

    Args:
        detect: `Detector.batch`.
        images: files.
        folder: for the results; made if missing.
        colour_of: category id -> index of the class, which decides its colour.
        about: what detections.json says beside the images, e.g. the run and the score threshold.
        failures: sources that were not found; detections.json lists them too.
        batch_size: images of one call.
        on_failure: gets one line for each image that cannot be read.
        on_batch: called with the number of images done so far.

    Returns:
        Images done, and detections in them.

    Raises:
        UserError: the folder cannot be written to.
    """
    folder = Path(folder)
    old = prepare_output(folder)
    drawings = _Drawings(folder, old, colour_of)
    record = DrawingRecord(folder, [path.name for path in old], about)
    failed = [{"source": one.source, "reason": one.reason} for one in failures]
    try:
        for start in range(0, len(images), batch_size):
            files, arrays = [], []
            for file in images[start : start + batch_size]:
                try:
                    arrays.append(read_rgb(file))
                    files.append(file)
                except UserError as error:
                    failed.append({"source": str(file), "reason": str(error)})
                    on_failure(str(error))
            for file, array, found in zip(files, arrays, detect(arrays, batch_size=batch_size)):
                path = drawings.place(file)
                record.add(image_entry(file, found, drawing=path.name), failed)
                drawings.save(path, array, found)
            if on_batch is not None:
                on_batch(min(start + batch_size, len(images)))
    finally:  # after Ctrl-C too
        record.finish(failed)
    return len(record.images), sum(len(image["detections"]) for image in record.images)


def prepare_output(folder: str | Path) -> set[Path]:
    """Makes the output folder; returns the drawings that an earlier call left there, which may be overwritten.

    Raises:
        UserError: the folder cannot be made, or its detections.json is not from `ttfnet predict`.
    """
    folder = Path(folder)
    make_folder(folder)
    read_own(folder, "predict", names_of)
    return {(folder / name).resolve() for name in drawings_in(folder)}


def drawing_path(image: Path, folder: Path, is_taken: Callable[[Path], bool]) -> Path:
    """`folder`/<name of the image>, or <name>_2, _3, ... if that is taken."""
    suffix = image.suffix if image.suffix.lower() in _DRAWABLE else ".png"
    path, number = folder / f"{image.stem}{suffix}", 1
    while is_taken(path):
        number += 1
        path = folder / f"{image.stem}_{number}{suffix}"
    return path


class _Drawings:
    """Writes drawings into a folder, each under a free name."""

    def __init__(self, folder: Path, old: set[Path], colour_of: dict[int, int]):
        self.folder, self.old, self.colour_of = folder, old, colour_of
        self.written: set[Path] = set()

    def place(self, file: Path) -> Path:
        """Where the drawing of an image goes."""
        path = drawing_path(file, self.folder, self._is_taken)
        self.written.add(path.resolve())
        return path

    def save(self, path: Path, image: np.ndarray, found) -> None:
        """Draws the detections of one image."""
        labels = [f"{one.class_name} {one.score:.2f}" for one in found]
        drawing = draw_boxes(image, found.boxes, labels, [class_colour(self.colour_of[one.class_id]) for one in found])
        with new_file(path, sync=False) as file:
            Image.fromarray(drawing).save(file, format=Image.registered_extensions()[path.suffix.lower()], quality=92)

    def _is_taken(self, path: Path) -> bool:
        return path.resolve() in self.written or (path.exists() and path.resolve() not in self.old) or path.name == JSON_NAME
