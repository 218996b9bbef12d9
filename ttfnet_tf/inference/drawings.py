"""Which files in a folder `ttfnet predict` has written: it may overwrite them, and never detects on them.

detections.json names those of the last call: the drawing and other files of each image under "images", and files about all of them under
"files"; those of calls before it are under "earlier_drawings". While a call is running, and after a kill, `.drawings.jsonl` names those
that detections.json may not have yet: a name is written there before its file is. Crops are in a crops.jsonl of their own.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ttfnet_tf.errors import UserError
from ttfnet_tf.files import cannot_write, remove, remove_left_over, write_json, write_text
from ttfnet_tf.json_text import json_text, parse_json, read_json
from ttfnet_tf.outputs import marked

RECORD, CROPS = "detections.json", "crops.jsonl"
OF_IMAGE = ("drawing", "labels")  # keys of an image in detections.json that name a file
_COMMAND = "ttfnet predict"
_NAMES = ".drawings.jsonl"
_WRITING = 0.05  # fraction of the time that may be spent on documents that grow while a call is running


def outputs_in(folder: Path) -> set[str]:
    """Names of the files in a folder that `ttfnet predict` has written, as far as its records say; empty where no call has written."""
    names = {name.partition("/")[2] for name in crops_in(folder.parent) or () if name.partition("/")[0] == folder.name}
    names |= _names_so_far(folder)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, UserError):
        names |= names_of(read_json(folder / RECORD))
    return names


def names_of(content: Any) -> set[str]:
    """Names of files of the same folder in the content of a detections.json.

    Raises:
        KeyError, TypeError, ValueError: another command has written it.
    """
    if isinstance(content, dict) and content.get("written_by") == _COMMAND:
        names = {image[key] for image in content["images"] for key in OF_IMAGE if key in image}
    else:  # of a version before --save
        names = {image["drawing"] for image in content["images"]}
    names |= {*content.get("earlier_drawings", ()), *content.get("files", ())}
    if not all(isinstance(name, str) for name in names):
        raise ValueError
    return names


def crops_in(folder: Path) -> set[str] | None:
    """Names of the crops in a folder, such as "cat/a_1.png", as its crops.jsonl says; None if that is of another program."""
    names = set()
    try:
        lines = (folder / CROPS).read_bytes().splitlines(keepends=True)
    except (FileNotFoundError, NotADirectoryError):
        return names
    except OSError:
        return None
    try:
        for line in lines:
            if line.endswith(b"\n"):  # half a line is what a kill leaves
                content = parse_json(line)
                names.add(content["crop"])
                if not ("earlier" in content or {"file", "box", "score"} <= content.keys()):
                    return None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    is_ours = names or not lines or lines[0].startswith(b'{"crop"')
    return names if is_ours and all(isinstance(name, str) for name in names) else None


def is_own_record(record: Path, *, empty: bool = True) -> bool:
    """Whether an earlier call wrote this .jsonl file about a video.

    Args:
        record: the file.
        empty: what to answer for one without a line, which a kill before the first frame leaves.
    """
    try:
        with open(record, encoding="utf-8") as file:
            line = file.readline()
        return {"frame", "time", "detections"} <= set(parse_json(line)) if line else empty
    except (OSError, ValueError, TypeError):
        return False


def is_annotated(video: Path) -> bool:
    """Whether a video was drawn by an earlier call, as the record beside it says."""
    return video.suffix == ".mp4" and is_own_record(video.with_suffix(".jsonl"), empty=False)


def append_text(path: Path, text: str) -> None:
    """Adds whole lines to the end of a file at once.

    Raises:
        UserError: it cannot be written.
    """
    try:
        with open(path, "ab") as file:
            file.write(text.encode("utf-8"))
    except OSError as error:
        raise cannot_write(path, error) from None


class SparingWriter:
    """Writes a growing document again and again, in a twentieth of the time at most."""

    def __init__(self, write: Callable[[], None]):
        self._write, self._next = write, 0.0

    def write_if_due(self) -> None:
        """Writes it, unless that was done a short time ago."""
        if (start := time.monotonic()) >= self._next:
            self._write()
            end = time.monotonic()
            self._next = end + (end - start) / _WRITING


class DrawingRecord:
    """Writes detections.json from the first image on, so that a kill loses nothing.

    Args:
        folder: of the drawings; must exist.
        earlier: names of files of earlier calls.
        about: what the file says beside the images.
        files: names of files about all images that this call is going to write.
    """

    def __init__(self, folder: Path, earlier: Iterable[str], about: Mapping[str, Any], files: Sequence[str] = ()):
        self.folder, self.earlier, self.about, self.files = folder, set(earlier), about, list(files)
        self.images: list[Mapping[str, Any]] = []
        self._failed: Sequence[Mapping[str, str]] = ()
        self._writer = SparingWriter(lambda: self._write({"unfinished": True}))
        remove_left_over(folder)
        write_text(folder / _NAMES, "".join(f"{json_text(name)}\n" for name in sorted({*self.earlier, *files})))

    def add(self, image: Mapping[str, Any], failed: Sequence[Mapping[str, str]]) -> None:
        """Adds an image; call it before its files are written.

        Raises:
            UserError: the folder cannot be written.
        """
        append_text(self.folder / _NAMES, "".join(f"{json_text(image[key])}\n" for key in OF_IMAGE if key in image))
        self.images.append(image)
        self._failed = failed
        self._writer.write_if_due()

    def finish(self, failed: Sequence[Mapping[str, str]]) -> None:
        """Writes detections.json for the last time."""
        self._failed = failed
        self._write({})
        remove(self.folder / _NAMES)

    def _write(self, more: Mapping[str, Any]) -> None:
        names = self.earlier - {image[key] for image in self.images for key in OF_IMAGE if key in image} - set(self.files)
        earlier = sorted(name for name in names if (self.folder / name).exists())
        content = {**self.about, **more, **({"files": self.files} if self.files else {}), "images": self.images, "failed": self._failed}
        content = marked(_COMMAND, {**content, "earlier_drawings": earlier} if earlier else content)
        write_json(self.folder / RECORD, content)


def _names_so_far(folder: Path) -> set[str]:
    """The names of a call that is running or was killed; half a line at the end is none."""
    names = set()
    with contextlib.suppress(OSError, ValueError):
        for line in (folder / _NAMES).read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n") and isinstance(name := parse_json(line), str):
                names.add(name)
    return names
