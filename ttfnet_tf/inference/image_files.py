"""Finds the images and videos behind names, folders and patterns of a command line, by what the files hold."""

from __future__ import annotations

import functools
import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ttfnet_tf.data.image_headers import foreign_format, image_format
from ttfnet_tf.data.images import IMAGE_SUFFIXES
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.drawings import is_annotated, outputs_in

_START, _END = 400, 32  # bytes of a file that say its format
_SETTING = re.compile(r"[a-z_]+(\.[a-z_]+)+=")


@dataclass(frozen=True)
class Failure:
    """A source without detections."""

    source: str
    reason: str  # one line that names the source


@dataclass
class Sources:
    """What the sources of a command line hold."""

    images: list[Path] = field(default_factory=list)  # in the order of the sources, each once, sorted within a folder or pattern
    videos: list[Path] = field(default_factory=list)  # of folders and patterns that hold no image
    failures: list[Failure] = field(default_factory=list)  # sources that gave nothing
    notes: list[str] = field(default_factory=list)  # a line for every folder and pattern of which files were skipped


def find_images(sources: Sequence[str]) -> Sources:
    """Finds the files behind names, folders (not their sub-folders) and patterns such as `photos/**/*.jpg`.

    A file that is named in full is taken as it is. In folders and patterns the content decides, so that names do not matter; a file
    whose name says image is taken even if it is broken, to be reported. Hidden files, such as `._a.jpg` of macOS, are skipped, and so
    are drawings that `ttfnet predict` has written. Everything
    that is skipped is counted in a note.

    Raises:
        UserError: a source is a setting.
    """
    files: dict[Path, Path] = {}  # resolved -> as named
    found = Sources()
    drawings = functools.cache(outputs_in)
    skipped: list[str] = []
    for source in sources:
        path, videos = Path(source), len(found.videos)
        if not os.path.lexists(source.replace("\0", "")) and _SETTING.match(source):
            raise UserError(f"{source}: no such file, and settings are not taken here; name images or videos")
        if path.is_dir():
            given = _sort(source, path.iterdir(), found, drawings)
            problem = f"{source}: no image in this folder (sub-folders: name '{source}/**/*')"
        elif path.exists() or not glob.has_magic(source):
            given = [path] if path.is_file() else []
            if given and path.name in drawings(path.parent):
                skipped.append(source)
                continue
            problem = f"{source}: no such file"
        else:
            given = _sort(source, (Path(name) for name in glob.glob(source, recursive=True)), found, drawings)
            problem = f"{source}: no image matches"
        if not given and len(found.videos) == videos:
            found.failures.append(Failure(source, problem))
        for file in given:
            files.setdefault(file.resolve(), file)
    if skipped:
        found.notes.append(
            f"skipped {len(skipped)} drawing{'s' if len(skipped) > 1 else ''} that predict has written, such as {skipped[0]}"
        )
        if not files and not found.failures and not found.videos:
            found.failures.append(Failure(skipped[0], f"{skipped[0]}: is a drawing that predict has written"))
    found.images = list(files.values())
    return found


def content_of(path: Path) -> str | None:
    """What a file is by its content: "an image", "a video", another known format such as "a HEIC image", or None."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            start = file.read(_START)
            file.seek(max(0, os.path.getsize(path) - _END))
            end = file.read(_END)
    except (OSError, ValueError):
        return None
    return "an image" if image_format(start if len(start) < _START else start + end) else foreign_format(start)


def _sort(source: str, paths: Iterable[Path], found: Sources, drawings: Callable[[Path], set[str]]) -> list[Path]:
    """The images among some files; notes the others, and takes the videos where there is no image."""
    images, videos, skipped = [], [], Counter[str]()
    for path in sorted(paths):
        if path.is_dir():
            continue
        if path.name.startswith("."):
            skipped["hidden file"] += 1
            continue
        if path.name in drawings(path.parent) and path.suffix.lower() in IMAGE_SUFFIXES:
            skipped["drawing"] += 1
            continue
        if is_annotated(path):
            skipped["annotated video"] += 1
            continue
        content = content_of(path)
        if content == "an image" or path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
        elif content == "a video":
            videos.append(path)
        else:
            skipped[content.split(" ", 1)[1] if content else f"{path.suffix.lower() or 'other'} file"] += 1
    if not images:
        found.videos += videos
    elif videos:
        skipped["video"] += len(videos)
    if skipped:
        counts = ", ".join(f"{count} {what}{'s' if count > 1 else ''}" for what, count in sorted(skipped.items()))
        advice = "; convert such images to JPEG or PNG" if any(what.endswith("image") for what in skipped) else ""
        found.notes.append(f"{source}: skipped {counts}{advice}")
    return images
