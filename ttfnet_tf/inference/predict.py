"""Detection on files, folders and patterns: a drawing of every image and one JSON of all detections."""

from __future__ import annotations

import glob
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ttfnet_tf.data.images import IMAGE_SUFFIXES, read_rgb
from ttfnet_tf.errors import UserError
from ttfnet_tf.files import write_json
from ttfnet_tf.inference.draw import class_colour, draw_boxes

# What a folder or pattern is searched for; a file named in full is tried whatever its name.
_DRAWABLE = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})  # others become .png
JSON_NAME = "detections.json"


@dataclass(frozen=True)
class Failure:
    """A source that gave no detections."""

    source: str
    reason: str  # one line that names the source


def find_images(sources: Sequence[str]) -> tuple[list[Path], list[Failure]]:
    """Files behind names, folders (not their sub-folders) and patterns such as `photos/**/*.jpg`.

    Returns:
        The files in the order of the sources, each once, sorted within a folder or pattern; and the sources that gave none.
    """
    files: dict[Path, Path] = {}  # resolved -> as named
    failures = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            found = _images_only(path.iterdir())
            problem = f"{source}: no image in this folder (sub-folders: name '{source}/**/*')"
        elif path.exists() or not glob.has_magic(source):
            found = [path] if path.is_file() else []
            problem = f"{source}: no such file"
        else:
            found = _images_only(Path(name) for name in glob.glob(source, recursive=True))
            problem = f"{source}: no image matches"
        if not found:
            failures.append(Failure(source, problem))
        for file in found:
            files.setdefault(file.resolve(), file)
    return list(files.values()), failures


def make_folder(folder: str | Path) -> None:
    """Makes the output folder if it is not there.

    Raises:
        UserError: it cannot be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); name another folder with --out") from None


def prepare_output(folder: str | Path) -> set[Path]:
    """Makes the output folder; returns the drawings that an earlier prediction left there, which may be written over.

    Raises:
        UserError: the folder cannot be made, or its detections.json is not ours.
    """
    folder = Path(folder)
    make_folder(folder)
    record = folder / JSON_NAME
    if not record.exists():
        return set()
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
        return {(folder / image["drawing"]).resolve() for image in content["images"]}
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError(f"{record}: is there already and was not written by predict; name another folder with --out") from None


def drawing_path(image: Path, folder: Path, is_taken: Callable[[Path], bool]) -> Path:
    """`folder`/<name of the image>, or <name>_2, _3, ... if that is taken."""
    suffix = image.suffix if image.suffix.lower() in _DRAWABLE else ".png"
    path, number = folder / f"{image.stem}{suffix}", 1
    while is_taken(path):
        number += 1
        path = folder / f"{image.stem}_{number}{suffix}"
    return path


def predict_files(
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

    No file is written over but the drawings and the JSON of an earlier call; where names collide, a drawing gets a number.

    Args:
        detect: `Detector.batch`.
        images: files.
        folder: for the results; made if missing.
        colour_of: category id -> position of the class, which decides its colour.
        about: what the JSON says beside the images, e.g. the run and the score threshold.
        failures: sources that could not be found; go into the JSON too.
        batch_size: images of one call.
        on_failure: gets one line for each image that cannot be read.
        on_batch: called with the number of images done so far.

    Returns:
        Images done, and detections in them.

    Raises:
        UserError: the folder cannot be written to.
    """
    folder = Path(folder)
    ours = prepare_output(folder)
    written: set[Path] = set()
    done: list[dict] = []
    failed = list(failures)

    def is_taken(path: Path) -> bool:
        return path.resolve() in written or (path.exists() and path.resolve() not in ours) or path.name == JSON_NAME

    try:
        for start in range(0, len(images), batch_size):
            files, arrays = [], []
            for file in images[start : start + batch_size]:
                try:
                    arrays.append(read_rgb(file))
                    files.append(file)
                except UserError as error:
                    failed.append(Failure(str(file), str(error)))
                    on_failure(str(error))
            for file, array, found in zip(files, arrays, detect(arrays, batch_size=batch_size)):
                path = drawing_path(file, folder, is_taken)
                written.add(path.resolve())
                _save(path, array, found, colour_of)
                height, width = found.size
                done.append({"file": str(file), "drawing": path.name, "height": height, "width": width, "detections": found.to_json()})
            if on_batch is not None:
                on_batch(min(start + batch_size, len(images)))
    finally:  # after Ctrl-C too: the record is what lets a second call write over these drawings
        record = {**about, "images": done, "failed": [{"source": one.source, "reason": one.reason} for one in failed]}
        write_json(folder / JSON_NAME, record)
    return len(done), sum(len(image["detections"]) for image in done)


def _save(path: Path, image: np.ndarray, found, colour_of: dict[int, int]) -> None:
    labels = [f"{one.class_name} {one.score:.2f}" for one in found]
    drawing = draw_boxes(image, found.boxes, labels, [class_colour(colour_of[one.class_id]) for one in found])
    try:
        Image.fromarray(drawing).save(path, quality=92)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error}); name another folder with --out") from None


def _images_only(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
