"""Finds the images and videos behind names, folders and patterns of a command line, by what the files hold."""

from __future__ import annotations

import functools
import glob
import os
import re
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ttfnet_tf.data.heif import can_read_heif
from ttfnet_tf.data.image_headers import foreign_format, image_format, is_heif
from ttfnet_tf.data.images import IMAGE_SUFFIXES
from ttfnet_tf.errors import UserError
from ttfnet_tf.inference.drawings import is_annotated, outputs_in

_START, _END = 400, 32  # bytes of a file that say its format
_NAMED = 3  # files of a kind that a note names
_SETTING = re.compile(r"[a-z_]+(\.[a-z_]+)+=")


@dataclass(frozen=True)
class Failure:
    """A source without detections."""

    source: str
    reason: str  # one line that names the source


@dataclass
class Sources:
    """What the sources of a command line hold."""

    images: list[Path | str] = field(
        default_factory=list
    )  # in the order of the sources, each once, sorted within a folder; a str is an address
    videos: list[Path | str] = field(default_factory=list)  # of folders and patterns that hold no image; and addresses
    web_files: set[str] = field(default_factory=set)  # addresses of videos that are files and no live streams
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
    if image_format(start if len(start) < _START else start + end) or (is_heif(start) and can_read_heif()):
        return "an image"
    return foreign_format(start)


def _sort(source: str, paths: Iterable[Path], found: Sources, drawings: Callable[[Path], set[str]]) -> list[Path]:
    """The images among some files; notes the others, and takes the videos where there is no image."""
    images, videos, skipped = [], [], defaultdict[str, list[str]](list)
    for path in sorted(paths):
        if path.is_dir():
            continue
        if path.name.startswith("."):
            skipped["hidden file"].append(path.name)
            continue
        if path.name in drawings(path.parent) and path.suffix.lower() in IMAGE_SUFFIXES:
            skipped["drawing"].append(path.name)
            continue
        if is_annotated(path):
            skipped["annotated video"].append(path.name)
            continue
        content = content_of(path)
        if content == "an image" or path.suffix.lower() in IMAGE_SUFFIXES:
            images.append(path)
        elif content == "a video":
            videos.append(path)
        else:
            skipped[content.split(" ", 1)[1] if content else f"{path.suffix.lower() or 'other'} file"].append(path.name)
    if not images:
        found.videos += videos
    elif videos:
        skipped["video"] += [video.name for video in videos]
    if skipped:
        parts = [f"{len(names)} {what}{'s' if len(names) > 1 else ''} ({_some(names)})" for what, names in sorted(skipped.items())]
        advice = "; convert such images to JPEG or PNG" if any(what.endswith("image") for what in skipped) else ""
        advice = "; pip install 'ttfnet-tf[heic]' reads HEIC images" if "HEIC image" in skipped else advice
        found.notes.append(f"{source}: skipped {', '.join(parts)}{advice}")
    return images


def _some(names: Sequence[str]) -> str:
    """The first names of a list."""
    return ", ".join([*names[:_NAMED], *(["..."] if len(names) > _NAMED else [])])
