"""Finds the image files behind names, folders and patterns of a command line."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ttfnet_tf.data.images import IMAGE_SUFFIXES


@dataclass(frozen=True)
class Failure:
    """A source without detections."""

    source: str
    reason: str  # one line that names the source


def find_images(sources: Sequence[str]) -> tuple[list[Path], list[Failure]]:
    """Finds the files behind names, folders (not their sub-folders) and patterns such as `photos/**/*.jpg`.

    A file that is named in full is taken whatever its suffix.

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


def _images_only(paths: Iterable[Path]) -> list[Path]:
    return sorted(path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
